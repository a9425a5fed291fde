"""UNION ALL at random: under any cut, any order of the sources and any crash the batch answer of DuckDB."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ferrisstreams.testing.case import Case, Expectation, RawRecords, StreamInput
from ferrisstreams.testing.chance import Chance
from ferrisstreams.testing.compare import final_rows
from ferrisstreams.testing.execute import execute, prepare
from ferrisstreams.testing.schedules import all_schedules
from tests.oracle import oracle
from tests.properties.laws import plain, same_rows

SEEDS, SEEDS_FULL = 10, 400
BEGIN = datetime(2024, 1, 1)
#: More than any row is out of order, so that none is late.
DELAY_S = 20
WINDOW_S = 7

CALLS = ("count(*)", "sum(v)", "max(v)", "count(DISTINCT v)", "median(v)", "min(k)", "sum(v) FILTER (WHERE v > 3)")
MADE = ("v", "v + 1", "-v", "CASE WHEN k = 'a' THEN v END", "10")
KEYS = ("k", "upper(k)", "'all'", "k || k")
CONDITIONS = ("", "", " WHERE v > 2", " WHERE k <> 'b'", " WHERE v IS NOT NULL AND k IS NOT NULL")


@dataclass(frozen=True)
class Union:
    """A query over a union, and the same over tables, where a window is `bucket`."""

    query: str
    answer: str
    branches: int


def draw_union(chance: Chance, streams: Sequence[str]) -> Union:
    read = [chance.pick(streams) for _ in range(2 + chance.below(2))]
    branches = [
        f"SELECT ts, {chance.pick(KEYS)} AS k, {chance.pick(MADE)} AS v FROM {name}{chance.pick(CONDITIONS)}"
        for name in read
    ]
    union = " UNION ALL ".join(branches)
    around = chance.pick(CONDITIONS)
    shape = chance.pick(("rows", "groups", "windows", "windows", "all", "mixed", "mixed", "changing"))
    if shape in ("mixed", "changing"):
        return draw_mixed(chance, read, changing=shape == "changing")
    if shape == "rows":
        text = f"SELECT k, v, v * 2 AS w FROM ({union}) AS u{around}" if around or chance.below(2) else union
        return Union(text, text, len(branches))
    calls = ", ".join(f"{chance.pick(CALLS)} AS c{at}" for at in range(1 + chance.below(3)))
    if shape == "windows":
        bucket = f"time_bucket(INTERVAL '{WINDOW_S}' SECOND, ts, TIMESTAMP '1970-01-01')"
        rest = f"{calls} FROM ({union}) AS u{around} GROUP BY k, "
        window = f"TUMBLE(ts, INTERVAL '{WINDOW_S}' SECOND)"
        return Union(
            f"SELECT window_start, k, {rest}{window}", f"SELECT {bucket} AS b, k, {rest}{bucket}", len(branches)
        )
    emit = chance.pick((" EMIT FINAL", " EMIT CHANGES"))
    if shape == "all":
        text = f"SELECT {calls} FROM ({union}) AS u{around}"
        return Union(text + " EMIT FINAL", text, len(branches))
    text = f"SELECT k, {calls} FROM ({union}) AS u{around} GROUP BY k"
    return Union(text + emit, text, len(branches))


def draw_mixed(chance: Chance, read: Sequence[str], changing: bool) -> Union:
    """Rows, groups and windows of several streams, or groups that change, side by side."""
    texts, answers = [], []
    for name in read:
        shape = chance.pick(("groups", "rows") if changing else ("rows", "groups", "windows", "all"))
        rest = f"FROM {name}{chance.pick(CONDITIONS)}"
        call = chance.pick(("count(*)", "sum(v)", "max(v)", "count(DISTINCT v)"))
        match shape:
            case "rows":
                text = answer = f"SELECT k, v AS n {rest}"
            case "all":
                text = answer = f"SELECT 'all' AS k, {call} AS n {rest}"
            case "groups":
                text = answer = f"SELECT k, {call} AS n {rest} GROUP BY k"
            case _:
                bucket = f"time_bucket(INTERVAL '{WINDOW_S}' SECOND, ts, TIMESTAMP '1970-01-01')"
                text = f"SELECT k, {call} AS n {rest} GROUP BY k, TUMBLE(ts, INTERVAL '{WINDOW_S}' SECOND)"
                answer = f"SELECT k, {call} AS n {rest} GROUP BY k, {bucket}"
        texts.append(text)
        answers.append(answer)
    if not any(" GROUP BY " in text or "'all'" in text for text in texts):
        changing, emit = False, ""
    else:
        emit = "" if changing else " EMIT FINAL"
    query = " UNION ALL ".join(texts) + emit
    if changing:
        query = f"CREATE STREAM o WITH ('changelog' = 'retract') AS {query}"
    return Union(query, " UNION ALL ".join(answers), len(read))


def draw_rows(chance: Chance) -> list[tuple[datetime, str | None, int | None]]:
    clock, rows = 0.0, []
    for _ in range(chance.below(40)):
        clock += chance.pick((0.0, 0.5, 1.0, 6.0))
        at = BEGIN + timedelta(seconds=max(0.0, clock - chance.pick((0.0, 0.5, 4.0))))
        rows.append((at, chance.pick(("a", "b", "c", None)), chance.pick((0, 1, 3, 9, None))))
    return rows


def stream_of(name: str, rows: Sequence[tuple[datetime, str | None, int | None]], partitions: int) -> StreamInput:
    lines = [json.dumps({"ts": at.replace(tzinfo=UTC).isoformat(), "k": k, "v": v}).encode() for at, k, v in rows]
    records = {str(place): RawRecords("json", tuple(lines[place::partitions])) for place in range(partitions)}
    watermark = f"WATERMARK FOR ts AS ts - INTERVAL '{DELAY_S}' SECOND"
    return StreamInput(name, f"{name} (ts TIMESTAMP, k VARCHAR, v BIGINT, {watermark})", records)


def batch_answer(union: Union, streams: dict[str, list[tuple[datetime, str | None, int | None]]]) -> list[object]:
    with oracle() as con:
        for name, rows in streams.items():
            con.execute(f"CREATE TABLE {name} (ts TIMESTAMP, k VARCHAR, v BIGINT)")
            if rows:
                con.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", rows)
        return [*con.execute(union.answer).fetchall()]


def check(seed: int, schedules: int) -> None:
    chance = Chance(seed, "unions")
    names = ("one", "two", "three")[: 1 + chance.below(3)]
    streams = {name: draw_rows(chance) for name in names}
    union = draw_union(chance, names)
    inputs = tuple(stream_of(name, rows, chance.pick((1, 2))) for name, rows in streams.items())
    settings = {"failure_strategy": "LogAndContinue"}
    prepared = prepare(Case(Path("unions.test"), 1, "unions", inputs, settings, union.query, Expectation()))
    expected = [tuple(map(plain, row)) for row in batch_answer(union, streams)]  # type: ignore[call-overload]
    read = Counter[str]()
    for name, records in prepared.streams.items():
        scans = union.query.count(f"FROM {name}")
        read[name] = scans * sum(map(len, records.partitions.values()))
    for schedule in chance.sample(all_schedules(prepared.partitions), schedules):
        ran = execute(prepared, schedule)
        told = f"{union.query}\n{streams}\n{schedule}\nexpected {expected}\n"
        assert ran.error is None, f"{told}{ran.error}"
        got = [tuple(map(plain, row)) for row in final_rows(prepared, ran)[1]]
        assert same_rows(expected, got), f"{told}got {got}"
        assert ran.ledger["read"] == read.total(), told
        assert ran.ledger["late"] == 0, told


SOME = [pytest.param(seed, marks=[pytest.mark.full] if seed >= SEEDS else []) for seed in range(SEEDS_FULL)]


@pytest.mark.parametrize("seed", SOME)
def test_unions_give_the_batch_answer(seed: int, request: pytest.FixtureRequest) -> None:
    check(seed, 6 if request.config.getoption("--full") else 2)
