"""The last part of a fused statement: rows to bytes, or to an Arrow table for sinks in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.batch import Payload
from ferrisstreams.compile.results import Tally
from ferrisstreams.compile.rows import FAILING, FILTERED, KEPT, LATE
from ferrisstreams.duck.engine import column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.log import OUTCOME, TIME

LINE = "_line"


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement made: the payload, the tally, and how many kept rows could not be encoded."""

    payload: Payload
    tally: Tally
    unencodable: int


class Reduction(Protocol):
    """How projected rows become a payload."""

    def reduce(self, rows: exp.Select) -> exp.Select:
        """The statement's last part."""

    def read(self, table: pa.Table) -> Written:
        """Its result."""

    def unencodable(self, rows: exp.Select) -> exp.Select:
        """`_row` and the row as JSON of the kept rows that could not be encoded."""


class Lines:
    """One text a row, joined by newlines inside the engine: no Python object a row."""

    def __init__(self, line: exp.Expression, names: tuple[str, ...], timed: bool) -> None:
        self._line = line
        self._names = names
        self._timed = timed

    def reduce(self, rows: exp.Select) -> exp.Select:
        seen = exp.Max(this=column(TIME)) if self._timed else exp.cast(exp.Null(), "BIGINT")
        return exp.select(
            exp.alias_(function("string_agg", column(LINE), exp.func("chr", exp.Literal.number(10))), "data"),
            exp.alias_(exp.Count(this=column(LINE)), "lines"),
            *[exp.alias_(_count(value), f"n{value}") for value in (KEPT, LATE, FILTERED)],
            exp.alias_(seen, "seen"),
        ).from_(self._encoded(rows).subquery("encoded"))

    def read(self, table: pa.Table) -> Written:
        data, lines, kept, late, filtered, seen = (column[0].as_py() for column in table.columns)
        payload = Payload(data.encode() + b"\n" if data is not None else b"", lines)
        return Written(payload, Tally(kept=kept, late=late, filtered=filtered, seen_us=seen), kept - lines)

    def unencodable(self, rows: exp.Select) -> exp.Select:
        failed = exp.and_(column(OUTCOME).eq(KEPT), exp.Is(this=column(LINE), expression=exp.Null()))
        return (
            exp.select(column(ROW), json_of(self._names))
            .from_(self._encoded(rows).subquery("encoded"))
            .where(failed)
            .order_by(ROW)
        )

    def _encoded(self, rows: exp.Select) -> exp.Select:
        line = exp.Case().when(column(OUTCOME).eq(KEPT), self._line.copy())
        return exp.select("*", exp.alias_(line, LINE)).from_(rows.subquery("rows"))


class Tables:
    """Typed columns as they are, for sinks in memory: every row can be written."""

    def __init__(self, names: tuple[str, ...], timed: bool) -> None:
        self._names = names
        self._timed = timed

    def reduce(self, rows: exp.Select) -> exp.Select:
        system = [OUTCOME, TIME] if self._timed else [OUTCOME]
        return exp.select(*[column(name) for name in (*system, *self._names)]).from_(rows.subquery("rows"))

    def read(self, table: pa.Table) -> Written:
        outcomes = table.column(OUTCOME).to_pylist()
        times = table.column(TIME).to_pylist() if self._timed else []
        kept = [index for index, outcome in enumerate(outcomes) if outcome == KEPT]
        rows = table.select(list(self._names)).take(pa.array(kept, pa.int64()))
        counts = {value: outcomes.count(value) for value in (KEPT, LATE, FILTERED, FAILING)}
        seen = max((time for time in times if time is not None), default=None)
        tally = Tally(kept=counts[KEPT], late=counts[LATE], filtered=counts[FILTERED], seen_us=seen)
        return Written(Payload(rows, rows.num_rows), tally, 0)

    def unencodable(self, rows: exp.Select) -> exp.Select:
        return exp.select(column(ROW), json_of(self._names)).from_(rows.subquery("rows")).where(exp.false())


def json_of(names: tuple[str, ...]) -> exp.Expression:
    """A row's columns as one JSON text, for dead letters of output rows."""
    fields = [exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=column(name)) for name in names]
    return exp.cast(function("to_json", exp.Struct(expressions=fields)), "VARCHAR")


def _count(outcome: int) -> exp.Expression:
    condition = exp.Where(this=column(OUTCOME).eq(outcome))
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=condition)
