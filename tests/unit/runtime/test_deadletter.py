"""Letters and their limits, with sources of which much or everything fails."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.batch import Payload, Rejected
from ferrisstreams.connectors.registry import CONNECTORS
from ferrisstreams.errors import FerrisError
from ferrisstreams.runtime.deadletter import ConsecutiveLimit, DeadLetters, LetterContext, failing_ordinals, letter
from ferrisstreams.testing.doubles import CollectingSink

CONTEXT = LetterContext("app.job", "3", {"": CONNECTORS["file"]})


def rejected(row: int, value: bytes | None = b"{") -> Rejected:
    return Rejected(value, "E2101", "malformed", "decode", "in.jsonl", row, f"in.jsonl byte {row}", row=row)


def first_stop(limit: int, batches: Sequence[Sequence[bool]]) -> int | None:
    """After how many rows a limit on consecutive failures (True) stops the job."""
    judge, before = ConsecutiveLimit(limit, None), 0
    for batch in batches:
        try:
            judge.observe([at for at, failed in enumerate(batch) if failed], len(batch), before, 0)
        except FerrisError:
            return before + len(batch)
        before += len(batch)
    return None


@given(
    rows=st.lists(st.booleans(), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    limit=st.integers(1, 6),
)
def test_run_of_failures_stops_the_job_however_it_is_cut_into_batches(
    rows: list[bool], cuts: list[int], limit: int
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    batches = [rows[start:stop] for start, stop in pairwise(edges)]
    run, expected = 0, None
    for at, failed in enumerate(rows):
        run = run + 1 if failed else 0
        if run == limit:
            expected = at
            break
    stopped = first_stop(limit, batches)
    assert (stopped is None) == (expected is None)
    assert stopped is None or expected is None or stopped > expected


def test_records_too_large_to_load_count_as_rows_in_a_run() -> None:
    oversized = [replace(rejected(-1), truncated=True)]
    assert failing_ordinals(oversized) == [0]
    assert failing_ordinals([*oversized, rejected(0), rejected(2)]) == [0, 1, 3]
    limit = ConsecutiveLimit(3, None)
    for count in range(2):
        limit.observe(failing_ordinals(oversized), 1, count + 1, count + 1)
    with pytest.raises(FerrisError, match="3 rows in a row"):
        limit.observe(failing_ordinals(oversized), 1, 3, 3)


@pytest.mark.parametrize(
    ("read", "failed", "stops"), [(99, 99, False), (100, 50, False), (100, 51, True), (10**9, 0, False)]
)
def test_part_of_the_rows_that_failed_stops_the_job_once_it_says_something(read: int, failed: int, stops: bool) -> None:
    limit = ConsecutiveLimit(10**9, 0.5)
    if not stops:
        limit.observe([], 1, read, failed)
        return
    with pytest.raises(FerrisError) as raised:
        limit.observe([], 1, read, failed)
    assert raised.value.code == "E6002"


class Piecewise(CollectingSink):
    """Remembers how many rows a write had."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, payload: Payload) -> Sequence[Rejected]:
        self.sizes.append(payload.rows)
        return super().write(payload)


def test_letters_of_a_batch_are_never_all_text_at_once() -> None:
    sink = Piecewise()
    DeadLetters(sink, CONTEXT).write([rejected(row) for row in range(5_000)], 0)
    assert sum(sink.sizes) == len(sink.lines) == 5_000
    assert max(sink.sizes) <= 256


@given(
    value=st.none() | st.binary(max_size=50),
    key=st.none() | st.binary(max_size=9),
    headers=st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3),
)
def test_letter_keeps_key_value_and_headers_byte_for_byte(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    made = json.loads(json.dumps(letter(replace(rejected(7, value), key=key, headers=tuple(headers)), CONTEXT, 0)))
    unpacked = [base64.b64decode(text) if text is not None else None for text in (made["key"], made["value"])]
    assert unpacked == [key, value]
    kept = [
        (name, base64.b64decode(text) if text is not None else None) for name, text in made.get("record_headers", [])
    ]
    assert kept == headers


def test_letter_tells_how_often_its_row_was_tried_and_when() -> None:
    tried = letter(replace(rejected(0), attempts=4, first_failed_us=1_000_000), CONTEXT, 61_000_000)["headers"]
    once = letter(rejected(0), CONTEXT, 61_000_000)["headers"]
    assert isinstance(tried, dict)
    assert isinstance(once, dict)
    names = ("ferris.attempts", "ferris.first_failed_at", "ferris.last_failed_at", "ferris.job.version")
    assert [tried[name] for name in names] == ["4", "1970-01-01T00:00:01.000Z", "1970-01-01T00:01:01.000Z", "3"]
    assert [once[name] for name in names[:3]] == ["1", "1970-01-01T00:01:01.000Z", "1970-01-01T00:01:01.000Z"]
