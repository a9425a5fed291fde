"""Both laws for one combination: engine, reference model and DuckDB agree on the answer; the ledgers agree."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pyarrow as pa

from ferrisstreams.errors import FerrisError
from ferrisstreams.runtime.faults import FAULT_POINTS
from ferrisstreams.testing.compare import final_rows, fold_by_key, lost_rows
from ferrisstreams.testing.doubles import Cuts, Records
from ferrisstreams.testing.execute import Prepared, Ran, execute, prepare
from ferrisstreams.testing.schedules import CrashPoint, Schedule, all_schedules
from tests.model.aggregates import Value
from tests.model.reference import Cumulate, Hop, Model, Row, Session, fold
from tests.oracle import oracle
from tests.properties.combination import EPOCH, Combination, record
from tests.properties.draw import Draw

ValueRow = tuple[Value, ...]

#: Of an averaged decimal, which is a float in DuckDB.
_AVERAGE_TOLERANCE = 1e-6


class DisagreementError(AssertionError):
    """Two of engine, model and DuckDB differ."""


def check(combination: Combination, schedules: Sequence[Schedule], on_record_time: bool = False) -> None:
    """Raises `DisagreementError`, with the query, the records and both answers.

    `on_record_time`: the rows' event time is that of the messages which they come as.
    """
    model, accepted = play(combination, Model(combination.query, list(combination.inputs)), combination.inputs)
    expected = sorted(fold(model.state.output).values(), key=repr) if combination.calls else stateless(model)
    batch = batch_answer(combination, accepted)
    if not same_rows(expected, batch, loose=True):
        raise DisagreementError(shown(combination, "model", expected, "DuckDB", batch))
    try:
        prepared = prepared_on_record_time(combination) if on_record_time else prepare(combination.case())
    except FerrisError as error:
        raise DisagreementError(shown(combination, "model", expected, "engine", str(error))) from error
    for schedule in schedules:
        check_schedule(combination, prepared, schedule, model)


def prepared_on_record_time(combination: Combination) -> Prepared:
    """The combination over a topic whose messages have the event time."""
    case = combination.case()
    (stream,) = case.streams
    declaration = stream.declaration.replace("WATERMARK FOR ts AS ts", "WATERMARK FOR _timestamp AS _timestamp")
    stream = replace(stream, declaration=f"{declaration} WITH ('connector' = 'kafka')")
    query = case.query.replace("(ts, INTERVAL", "(_timestamp, INTERVAL")
    prepared = prepare(replace(case, streams=(stream,), query=query))
    messages = {
        name: tuple(
            replace(message, timestamp_ms=_milliseconds(row))
            for message, row in zip((prepared.records.messages or {})[name], rows, strict=True)
        )
        for name, rows in combination.inputs.items()
    }
    return replace(prepared, streams={stream.name: replace(prepared.records, messages=messages)})


def _milliseconds(row: Row | None) -> int | None:
    time = row["ts"] if row is not None else 0
    return None if time is None else int(str(time)) // 1000


def check_grown(combination: Combination, schedule: Schedule, part: int) -> None:
    """The job ends with the first `part` tenths of each partition, and then goes on with the rest.

    Windows get one partition. With more, a partition that ends early lets the others carry the watermark on, and which
    rows it grew by are late depends on how the partitions took turns.
    """
    if combination.query.window is not None:
        name, rows = max(combination.inputs.items(), key=lambda each: len(each[1]))
        combination = replace(combination, inputs={name: rows})
    beginnings = {name: rows[: len(rows) * part // 10] for name, rows in combination.inputs.items()}
    model, _ = play(combination, Model(combination.query, list(combination.inputs)), beginnings)
    play(combination, model, combination.inputs)
    prepared = prepare(combination.case())
    counts = {name: len(rows) for name, rows in beginnings.items()}
    lines = {name: lines[: counts[name]] for name, lines in prepared.records.partitions.items()}
    check_schedule(combination, prepared, schedule, model, replace(prepared.records, partitions=lines))


def check_schedule(
    combination: Combination, prepared: Prepared, schedule: Schedule, model: Model, first: Records | None = None
) -> None:
    ran = execute(prepared, schedule, first)
    expected = sorted(fold(model.state.output).values(), key=repr) if combination.calls else stateless(model)
    columns, rows = final_rows(prepared, ran)
    if first is not None and combination.calls and combination.query.window is None:
        rows = fold_by_key(columns, rows, prepared.key or ())  # each end gives the whole result again
    got = str(ran.error) if ran.error else [tuple(map(plain, row)) for row in rows]
    if isinstance(got, str) or not same_rows(expected, got):
        raise DisagreementError(shown(combination, "model", expected, f"engine, {schedule}", got))
    lost = lost_rows(prepared, ran) if first is None else None
    if lost:
        raise DisagreementError(shown(combination, "model", expected, f"engine, {schedule}", lost))
    wrong = ledger_difference(model.state.ledger, ran, depends_on_cut=prepared.changes)
    if wrong:
        raise DisagreementError(shown(combination, "model's ledger", wrong, f"engine, {schedule}", ran.ledger))
    in_order = [change.row for change in model.state.output]
    if combination.query.window and not prepared.changes and not in_same_order(in_order, got):
        raise DisagreementError(shown(combination, "model's order", in_order, f"engine, {schedule}", got))


def draw_schedules(draw: Draw, partitions: int, count: int) -> list[Schedule]:
    """Calm ones and, for every other, one with random cuts and up to two crashes."""
    calm = [schedule for schedule in all_schedules(partitions) if not schedule.crashes]
    return [draw.pick(calm) if n % 2 == 0 else _crashing(draw) for n in range(count)]


def _crashing(draw: Draw) -> Schedule:
    crashes = tuple(CrashPoint(draw.pick(FAULT_POINTS), 1 + draw.below(5)) for _ in range(1 + draw.below(2)))
    settings = {"commit.policy": draw.pick(("per_batch", "hybrid", "per_record"))}
    cuts = Cuts(draw.below(1000), 1 + draw.below(5), poll_ms=draw.pick((400.0, 1_100.0)), rests=draw.below(4) == 3)
    return Schedule("random crash", settings, cuts, crashes, tiny=draw.below(2) == 1)


# -- the model


def play(
    combination: Combination, model: Model, inputs: Mapping[str, Sequence[Row | None]]
) -> tuple[Model, list[tuple[Row, int, int, int]]]:
    """The model at the end, and the rows that it took, with partition, position and below what they were late."""
    query = combination.query
    accepted = []
    for place, (name, rows) in enumerate(inputs.items()):
        for position in range(model.state.positions[name], len(rows)):
            row = rows[position]
            bound = max(model.state.seen[name] - query.delay - query.lateness, model.state.closed_through)
            if model.take(name, row) in ("absorbed", "emitted"):
                assert row is not None
                accepted.append((row, place, position, bound))
        model.finish(name)
        model.end_batch()
    model.end()
    return model, accepted


def stateless(model: Model) -> list[ValueRow]:
    return [change.row for change in model.state.output]


# -- DuckDB


_MODE = re.compile(r"\bmode\(((?:[^()]|\([^()]*\))*)\)")

_TYPES = {
    "ts": pa.int64(),
    "k": pa.string(),
    "j": pa.int64(),
    "v": pa.int64(),
    "x": pa.float64(),
    "d": pa.decimal128(10, 2),
    "t": pa.string(),
    "f": pa.bool_(),
}


def batch_answer(combination: Combination, accepted: list[tuple[Row, int, int, int]]) -> list[ValueRow]:
    """The same query as a batch query over the rows that were taken."""
    query = combination.query
    ordered = sorted(accepted, key=lambda each: (each[0]["ts"], each[1], each[2])) if query.calls else accepted
    columns = {name: pa.array([each[0][name] for each in ordered], type_) for name, type_ in _TYPES.items()}
    bound = pa.array([each[3] for each in ordered], pa.int64())
    with oracle() as con:
        con.register("taken", pa.table({**columns, "_bound": bound}))
        con.execute(f"CREATE TABLE s AS {_windows(combination)}")
        bounds = ["window_start", "window_end"] if query.window else []
        items = ", ".join([*bounds, *combination.keys, *combination.calls])
        groups = ", ".join([*bounds, *combination.keys])
        sql = f"SELECT {items} FROM s"
        if query.calls:
            sql += f" GROUP BY {groups}" if groups else ""
            sql += f" HAVING {combination.having}" if combination.having else ""
        # A row that was taken fails nowhere, but DuckDB casts what FILTER leaves out too. Ties of mode need an order.
        sql = _MODE.sub(r"mode(\1 ORDER BY _n)", sql.replace("CAST(", "TRY_CAST("))
        table = con.sql(sql).to_arrow_table()
    return [tuple(map(plain, row)) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def _windows(combination: Combination) -> str:
    match combination.query.window:
        case None:
            return "SELECT *, row_number() OVER () AS _n FROM taken"
        case Hop(size, slide, origin):
            steps = f"range(0, {size}, {slide})"
            starts = f"list_transform({steps}, lambda step: ts - (ts - {origin}) % {slide} - step)"
            rows = f"SELECT *, unnest({starts}) AS window_start, row_number() OVER () AS _n FROM taken"
            rows = f"SELECT *, window_start + {size} AS window_end FROM ({rows})"
            return f"SELECT * FROM ({rows}) WHERE ts < window_end AND window_end > _bound"
        case Cumulate(size, step, origin):
            first, longest = f"ts - (ts - {origin}) % {step} + {step}", f"ts - (ts - {origin}) % {size} + {size}"
            ends = f"range({first}, {longest} + 1, {step})"
            rows = f"SELECT *, unnest({ends}) AS window_end, row_number() OVER () AS _n FROM taken"
            rows = f"SELECT *, ts - (ts - {origin}) % {size} AS window_start FROM ({rows})"
            return f"SELECT * FROM ({rows}) WHERE window_end > _bound"
        case Session(gap):
            part = f"PARTITION BY {', '.join(combination.keys)}" if combination.keys else ""
            numbered = "SELECT *, row_number() OVER () AS _n FROM taken"
            first = f"SELECT *, coalesce(ts - lag(ts) OVER ({part} ORDER BY _n) >= {gap}, true) AS _f FROM ({numbered})"
            runs = f"SELECT *, sum(_f::INT) OVER ({part} ORDER BY _n ROWS UNBOUNDED PRECEDING) AS _r FROM ({first})"
            whole = ", ".join([*combination.keys, "_r"])
            ends = f"min(ts) OVER w AS window_start, max(ts) OVER w + {gap} AS window_end"
            return f"SELECT *, {ends} FROM ({runs}) WINDOW w AS (PARTITION BY {whole}) ORDER BY _n"


# -- comparing


def plain(value: object) -> Value:
    """A value as the model has it."""
    match value:
        case datetime():
            return (value - EPOCH) // (datetime(1970, 1, 1, 0, 0, 0, 1) - EPOCH)
        case Decimal() if value.as_tuple().exponent == 0:
            return int(value)
        case list():
            return [plain(each) for each in value]
        case _:
            return value


def same(one: Value, other: Value, loose: bool = False) -> bool:
    """Floats to 1e-9; with `loose` a decimal is near enough to a float."""
    match one, other:
        case (float() | int() | Decimal(), float() | int() | Decimal()) if not isinstance(one, bool):
            if isinstance(one, float) and isinstance(other, float):
                return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
            if isinstance(one, float) or isinstance(other, float):
                return loose and math.isclose(one, other, rel_tol=1e-9, abs_tol=_AVERAGE_TOLERANCE)
            return one == other
        case list(), list():
            return len(one) == len(other) and all(same(a, b, loose) for a, b in zip(one, other, strict=True))
        case _:
            return type(one) is type(other) and bool(one == other)


def in_same_order(expected: Sequence[ValueRow], got: Sequence[ValueRow]) -> bool:
    return len(expected) == len(got) and all(
        all(same(a, b) for a, b in zip(one, other, strict=True)) for one, other in zip(expected, got, strict=True)
    )


def same_rows(expected: Sequence[ValueRow], got: Sequence[ValueRow], loose: bool = False) -> bool:
    """The same rows in any order."""
    left = list(got)
    for row in expected:
        found = next(
            (
                n
                for n, other in enumerate(left)
                if len(row) == len(other) and all(map(same, row, other, [loose] * len(row)))
            ),
            None,
        )
        if found is None:
            return False
        left.pop(found)
    return not left


def ledger_difference(expected: Mapping[str, int], ran: Ran, depends_on_cut: bool) -> dict[str, int]:
    free = ("produced", "written") if depends_on_cut else ()
    return {
        name: expected.get(name, 0)
        for name, count in ran.ledger.items()
        if name not in free and expected.get(name, 0) != count
    }


def shown(combination: Combination, one: str, first: object, other: str, second: object) -> str:
    case = combination.case()
    records = {name: [record(row, n) for n, row in enumerate(rows)] for name, rows in combination.inputs.items()}
    lines = ["\n    ".join([f"{name}:", *(line.decode() for line in texts)]) for name, texts in records.items()]
    return "\n".join(
        [case.query, str(dict(case.settings)), case.streams[0].declaration, *lines, f"{one}:", *listed(first),
         f"{other}:", *listed(second)]
    )  # fmt: skip


def listed(value: object) -> list[str]:
    return [f"    {each}" for each in value] if isinstance(value, list) else [f"    {value}"]
