"""The benchmark's records are of the promised size, and a wrong answer is found."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks.kafka.data import FIRST_MS, Answer, Data, Work, windows_of

DATA = Data("trades", 5000, 20, spacing_us=60_000)


def records(data: Data) -> list[dict[str, object]]:
    return [json.loads(value) for chunk in data.chunks() for _, value in chunk]


def right_answer(work: Work) -> list[bytes]:
    """The answer by a loop over the records; window starts as text, as some systems write them."""
    found = records(DATA)
    if work is Work.FILTER:
        bought = [row for row in found if row["side"] == "buy"]
        rows = [
            {
                "id": row["id"],
                "symbol": row["symbol"],
                "amount": float(str(row["price"])) * int(str(row["qty"])),
                "qty": row["qty"],
            }
            for row in bought
        ]
    else:
        counts: Counter[tuple[int, object]] = Counter()
        totals: Counter[tuple[int, object]] = Counter()
        for row in found:
            key = (int(str(row["ts"])) // 60_000 * 60_000, row["symbol"])
            counts[key] += 1
            totals[key] += int(str(row["qty"]))
        rows = [{"window_start": key[0], "symbol": key[1], "n": n, "total": totals[key]} for key, n in counts.items()]
    return [json.dumps(row).encode() for row in rows]


def test_records_have_six_fields_and_about_95_bytes() -> None:
    large = Data("trades", 201_000, 500, 1000)
    chunk = list(large.chunks())[-1]
    sizes = [len(value) for _, value in chunk]
    assert 85 <= min(sizes) <= max(sizes) <= 110
    assert all(len(json.loads(value)) == 6 and json.loads(value)["symbol"].encode() == key for key, value in chunk)


def test_as_many_keys_as_records_are_distinct() -> None:
    data = Data("trades", 5000, 5000, 1000)
    assert len({row["symbol"] for row in records(data)}) == 5000


def test_each_key_has_one_partition_and_all_are_used() -> None:
    data = Data("trades", 5000, 20, 1000, partitions=2)
    keys = {key for chunk in data.chunks() for key, _ in chunk}
    assert {data.partition_of(key) for key in keys} == {0, 1}
    assert {DATA.partition_of(key) for key in keys} == {0}


def test_closing_record_lies_behind_all_windows() -> None:
    last = max(int(str(row["ts"])) for row in records(DATA))
    assert json.loads(DATA.closing()[1])["ts"] > last + 2 * 60_000


@pytest.mark.parametrize("work", list(Work))
def test_right_answer_has_no_difference(work: Work) -> None:
    answer = right_answer(work)
    assert DATA.difference(work, answer) is None
    assert DATA.outputs(work) == len(answer)


@pytest.mark.parametrize("work", list(Work))
def test_wrong_answer_is_found(work: Work) -> None:
    answer = right_answer(work)
    n = len(answer)
    assert DATA.difference(work, answer[1:]) == f"1 of {n:,} rows are missing, 0 are wrong or repeated"
    assert DATA.difference(work, [answer[0], *answer]) == f"0 of {n:,} rows are missing, 1 are wrong or repeated"
    changed = json.loads(answer[0])
    changed["qty" if work is Work.FILTER else "total"] += 1
    wrong = [json.dumps(changed).encode(), *answer[1:]]
    assert DATA.difference(work, wrong) == f"1 of {n:,} rows are missing, 1 are wrong or repeated"
    assert "does not parse" in (DATA.difference(work, [b"{", *answer]) or "")
    assert DATA.difference(work, []) == f"{n:,} of {n:,} rows are missing, 0 are wrong or repeated"


@pytest.mark.parametrize("work", list(Work))
def test_part_of_an_answer_may_lack_rows_but_have_none_twice(work: Work) -> None:
    answer, part = right_answer(work), Answer(whole=False)
    assert DATA.difference(work, answer[:5], part) is None
    assert DATA.difference(work, [*answer[:5], answer[0]], part) is not None


def test_bare_records_are_compared_by_identity() -> None:
    given = [json.dumps(row).encode() for row in records(DATA) if row["side"] == "buy"]
    assert DATA.difference(Work.FILTER, given, Answer(identities_only=True)) is None
    assert DATA.difference(Work.FILTER, given[1:], Answer(identities_only=True)) is not None


@pytest.mark.parametrize("start", [FIRST_MS, "2024-01-01T00:00:00Z", "2024-01-01 00:00:00", "2024-01-01T00:00:00.000Z"])
def test_start_of_a_window_is_read_in_every_form(start: object) -> None:
    row = {"window_start": start, "symbol": "A", "n": 1, "total": 2}
    assert windows_of([json.dumps(row).encode()]) == [FIRST_MS]


@pytest.mark.parametrize(("start_ms", "wanted"), [(FIRST_MS, 0), (FIRST_MS + 60_000, 1000), (FIRST_MS + 1, 1)])
def test_record_of_a_window_is_its_first(start_ms: int, wanted: int) -> None:
    assert DATA.record_of_window(start_ms) == wanted
