"""Aggregates over the results of aggregates, at random: under any cut and any crash the batch answer of DuckDB.

The windows of the batch answer are put beside the rows here, and not by what is tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from ferrisstreams.testing.case import Case, Expectation, RawRecords, StreamInput
from ferrisstreams.testing.chance import Chance
from ferrisstreams.testing.compare import final_rows
from ferrisstreams.testing.execute import Prepared, execute, prepare
from ferrisstreams.testing.schedules import Schedule, all_schedules
from tests.oracle import oracle
from tests.properties.laws import plain, same_rows

SEEDS, SEEDS_FULL = 10, 400
ROWS_MAX = 60
DELAY_S = 5
BEGIN = datetime(2024, 1, 1)

#: Of the rows of the stream, and of the results, whose columns are `bs`, `be`, `k`, `a` and `b`.
FIRST_CALLS = (
    ("count(*)", "sum(v)"),
    ("count(v)", "max(v)"),
    ("sum(v)", "count(DISTINCT v)"),
    ("min(v)", "median(v)"),
)
CALLS = (
    *("count(*)", "sum(a)", "max(b)", "min(a)", "avg(a)", "count(DISTINCT a)", "median(b)"),
    *("first(a)", "last(b)", "list(a ORDER BY a, b, k)", "sum(a) FILTER (WHERE b > 3)", "max(be)", "arg_max(k, a)"),
)
#: Those that tell rows apart by their place, which is that of the results in order.
ORDERED = ("first(a)", "last(b)", "arg_max(k, a)")


@dataclass(frozen=True)
class Window:
    """A window function of SQL, in seconds, and the windows of a time."""

    kind: str
    size: int
    slide: int
    origin: int = 0

    def sql(self, time: str) -> str:
        def seconds(length: int) -> str:
            return f"INTERVAL '{length}' SECOND"

        lengths = {
            "TUMBLE": (self.size,),
            "HOP": (self.slide, self.size),
            "CUMULATE": (self.slide, self.size),
            "SESSION": (self.size,),
        }[self.kind]
        offset = (self.origin,) if self.origin else ()
        return f"{self.kind}({', '.join([time, *map(seconds, (*lengths, *offset))])})"

    def of(self, time: float) -> Iterator[tuple[int, int]]:
        if self.kind == "CUMULATE":
            start = int((time - self.origin) // self.size) * self.size + self.origin
            yield from (
                (start, end) for end in range(start + self.slide, start + self.size + 1, self.slide) if end > time
            )
            return
        start = int((time - self.origin) // self.slide) * self.slide + self.origin
        while start + self.size > time:
            yield start, start + self.size
            start -= self.slide


def draw_window(chance: Chance, kinds: Sequence[str]) -> Window:
    kind = chance.pick(kinds)
    if kind in ("TUMBLE", "SESSION"):
        size = chance.pick((3, 4, 7, 10))
        return Window(kind, size, size, chance.pick((0, 0, 1, 2)) if kind == "TUMBLE" else 0)
    slide = chance.pick((2, 3))
    return Window(kind, slide * chance.pick((2, 3)), slide, chance.pick((0, 0, 1)))


@dataclass(frozen=True)
class Levels:
    """A query of two levels, with its batch answer over a table of the stream's rows and their windows."""

    query: str
    answer: str
    first: Window | None
    second: Window | None
    #: The bound of the first windows that the second are over.
    time: str | None
    settings: dict[str, str]


def draw_levels(chance: Chance) -> Levels:
    first = None if chance.below(6) == 0 else draw_window(chance, ("TUMBLE", "HOP", "CUMULATE", "SESSION"))
    one, other = chance.pick(FIRST_CALLS)
    calls = [chance.pick(CALLS) for _ in range(1 + chance.below(3))]
    if first is None:
        calls = [call for call in calls if "be" not in call] or ["count(*)"]
    having = chance.pick(("", "", " WHERE a > 1", " WHERE b IS NOT NULL AND a + b <> 7"))
    key = chance.pick(((), ("k",), ("a % 3",)))
    bounds = "window_start AS bs, window_end AS be, " if first else ""
    groups = ", ".join([*([first.sql("ts")] if first else []), "k"])
    below = f"(SELECT {bounds}k, {one} AS a, {other} AS b FROM s GROUP BY {groups})"
    shapes = ["keys"]
    if first is not None:
        shapes += ["window"] * 2 + (["given"] if first.kind in ("TUMBLE", "HOP") else [])
    shape = chance.pick(shapes) if first is not None else "keys"
    second = time = None
    shown, grouped, batch = [*key], [*key], [*key]
    settings = {"failure_strategy": "LogAndContinue", "allowed.lateness": chance.pick(("0s", "0s", "3s"))}
    emit = ""
    if shape == "window":
        assert first is not None
        time = "be" if first.kind == "SESSION" else chance.pick(("bs", "be"))
        second = draw_window(chance, ("TUMBLE", "HOP", "CUMULATE", "SESSION"))
        shown = ["window_start", "window_end", *key]
        grouped = [second.sql(time), *key]
        batch = ["ws", "we", *key]
    elif shape == "given":
        shown = grouped = batch = ["bs", "be", *key]
    elif first is None or chance.below(2):
        emit = " EMIT FINAL"
    else:
        settings["changelog"] = chance.pick(("retract", "append")) if key or not calls else "retract"
    if not grouped and not first:
        emit = " EMIT FINAL"
    names = [f"{item} AS c{at}" for at, item in enumerate([*shown, *calls])]
    group = f" GROUP BY {', '.join(grouped)}" if grouped else ""
    place = _PLACE[time] if first else "k"
    in_order = [call.replace(")", f" ORDER BY {place})") if call in ORDERED else call for call in calls]
    answered = f"SELECT {', '.join([*batch, *in_order])} FROM results{having}"
    answered += f" GROUP BY {', '.join(batch)}" if batch else ""
    query = f"SELECT {', '.join(names)} FROM {below}{having}{group}{emit}"
    return Levels(query, f"{one} AS a, {other} AS b|{answered}", first, second, time, settings)


#: The order of results: that of their windows; above a window, that of its time first.
_PLACE = {None: "be, bs, k", "bs": "bs, be, k", "be": "be, bs, k"}


def draw_rows(chance: Chance) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    clock = 0.0
    for _ in range(1 + chance.below(ROWS_MAX)):
        clock += chance.pick((0.0, 0.25, 0.5, 1.0, 3.0, 11.0))
        rows.append(
            {
                "ts": max(0.0, clock - chance.pick((0.0, 0.0, 0.5, 2.0, 4.5))),
                "k": chance.pick(("a", "b", "c", None)),
                "v": chance.pick((0, 1, 2, 5, 9, None)),
            }
        )
    return rows


def sessions(rows: Sequence[tuple[float, tuple[object, ...]]], gap: int) -> Iterator[tuple[float, float, int]]:
    """Start and end of the session of each row, by its number; `rows` are times and what each has sessions of."""
    by_key: dict[str, list[tuple[float, int]]] = {}
    for number, (time, key) in enumerate(rows):
        by_key.setdefault(repr(key), []).append((time, number))
    for times in by_key.values():
        piece: list[tuple[float, int]] = []
        for each in [*sorted(times), None]:
            if each is not None and (not piece or each[0] - piece[-1][0] < gap):
                piece.append(each)
                continue
            yield from ((piece[0][0], piece[-1][0] + gap, number) for _, number in piece)
            piece = [each] if each is not None else []


def in_windows(
    con: duckdb.DuckDBPyConnection, table: str, window: Window | None, time: str, key: str, start: str, end: str
) -> None:
    """Put the bounds of its windows beside each row of a table, once for each."""
    found = con.execute(f"SELECT epoch({time}), {key or 'NULL'}, * FROM {table}").fetchall()
    columns = [item[0] for item in con.description or []][2:]
    if window is None:
        return
    if window.kind == "SESSION":
        spans = list(sessions([(row[0], (row[1],)) for row in found], window.size))
    else:
        spans = [(*bounds, number) for number, row in enumerate(found) for bounds in window.of(row[0])]
    con.execute(f"CREATE TABLE bounds ({start} DOUBLE, {end} DOUBLE, number BIGINT)")
    if spans:
        con.executemany("INSERT INTO bounds VALUES (?, ?, ?)", spans)
    names = ", ".join(columns)
    con.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT make_timestamp(({start} * 1e6) :: BIGINT) AS {start},"
        f" make_timestamp(({end} * 1e6) :: BIGINT) AS {end}, {names} FROM"
        f" (SELECT *, row_number() OVER () - 1 AS number FROM {table}) JOIN bounds USING (number)"
    )
    con.execute("DROP TABLE bounds")


def batch_answer(levels: Levels, rows: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
    calls, answer = levels.answer.split("|")
    with oracle() as con:
        con.execute("CREATE TABLE s (ts TIMESTAMP, k VARCHAR, v BIGINT)")
        con.executemany("INSERT INTO s VALUES (?, ?, ?)", [(_time(row["ts"]), row["k"], row["v"]) for row in rows])
        in_windows(con, "s", levels.first, "ts", "k", "bs", "be")
        bounds = "bs, be, " if levels.first else ""
        con.execute(f"CREATE TABLE results AS SELECT {bounds}k, {calls} FROM s GROUP BY {bounds}k ORDER BY ALL")
        if levels.second is not None:
            assert levels.time is not None
            keys = answer.rpartition("GROUP BY ws, we")[2].strip(", ")
            where = answer.partition(" WHERE ")[2].partition(" GROUP BY")[0]
            if where:
                con.execute(f"DELETE FROM results WHERE ({where}) IS NOT TRUE")
            in_windows(con, "results", levels.second, levels.time, keys, "ws", "we")
        return con.execute(answer).fetchall()


def _time(seconds: object) -> datetime:
    return BEGIN + timedelta(seconds=float(str(seconds)))


def case(levels: Levels, rows: Sequence[dict[str, object]], partitions: int) -> Case:
    lines = [json.dumps({**row, "ts": _time(row["ts"]).replace(tzinfo=UTC).isoformat()}).encode() for row in rows]
    records = {str(place): RawRecords("json", tuple(lines[place::partitions])) for place in range(partitions)}
    watermark = f"WATERMARK FOR ts AS ts - INTERVAL '{DELAY_S}' SECOND"
    stream = StreamInput("s", f"s (ts TIMESTAMP, k VARCHAR, v BIGINT, {watermark})", records)
    return Case(Path("levels.test"), 1, "levels", (stream,), levels.settings, levels.query, Expectation())


def check(seed: int, schedules: int) -> None:
    chance = Chance(seed, "levels")
    levels, rows = draw_levels(chance), draw_rows(chance)
    partitions = chance.pick((1, 2))
    prepared = prepare(case(levels, rows, partitions))
    expected = [tuple(map(plain, row)) for row in batch_answer(levels, rows)]
    for schedule in chance.sample(all_schedules(partitions), schedules):
        assert_alike(levels, rows, expected, prepared, schedule)


def assert_alike(
    levels: Levels, rows: object, expected: list[tuple[object, ...]], prepared: Prepared, schedule: Schedule
) -> None:
    ran = execute(prepared, schedule)
    told = f"{levels.query}\n{levels.settings}\n{rows}\n{schedule}\nexpected {expected}\n"
    assert ran.error is None, f"{told}{ran.error}"
    got = [tuple(map(plain, row)) for row in final_rows(prepared, ran)[1]]
    assert same_rows(expected, got), f"{told}got {got}"


SOME = [pytest.param(seed, marks=[pytest.mark.full] if seed >= SEEDS else []) for seed in range(SEEDS_FULL)]


@pytest.mark.parametrize("seed", SOME)
def test_levels_give_the_batch_answer(seed: int, request: pytest.FixtureRequest) -> None:
    check(seed, 6 if request.config.getoption("--full") else 2)
