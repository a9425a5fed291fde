"""The last part of a fused statement: rows to bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from ferrisstreams.batch import Payload, integer
from ferrisstreams.compile.results import Tally
from ferrisstreams.compile.rows import FILTERED, KEPT, LATE
from ferrisstreams.duck.engine import Connection, Statement, column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.log import OUTCOME, TIME

LINE = "_line"

Parameters = Mapping[str, int | str]

_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement made: the payload, the tally, and how many kept rows could not be encoded.

    `lines` are the rows of the fetch that the payload's rows are made of, where that was asked for.
    """

    payload: Payload
    tally: Tally
    unencodable: int
    lines: Sequence[int] | None = None


class Reduction(Protocol):
    """How projected rows become a payload."""

    def reduce(self, rows: exp.Select) -> exp.Select:
        """The statement's last part."""

    def run(self, work: Connection, statement: Statement, parameters: Parameters) -> Written:
        """Run the statement."""

    def unencodable(self, rows: exp.Select) -> exp.Select:
        """`_row` and the row as JSON of the kept rows that could not be encoded."""


class Lines:
    """One text a row, joined by newlines inside the engine: no Python object a row, no text that is encoded again."""

    #: Values in the statement's row.
    width = 6

    def __init__(self, line: exp.Expression, names: tuple[str, ...], timed: bool) -> None:
        self.line = line
        self.names = names
        self.timed = timed

    def reduce(self, rows: exp.Select) -> exp.Select:
        seen = exp.Max(this=column(TIME)) if self.timed else exp.cast(exp.Null(), "BIGINT")
        lines = function("string_agg", column(LINE), exp.func("chr", exp.Literal.number(10)))
        return exp.select(
            exp.alias_(function("encode", lines), "data"),
            exp.alias_(exp.Count(this=column(LINE)), "lines"),
            *[exp.alias_(_count(value), f"n{value}") for value in (KEPT, LATE, FILTERED)],
            exp.alias_(seen, "seen"),
        ).from_(self._encoded(rows).subquery("encoded", copy=False))

    def run(self, work: Connection, statement: Statement, parameters: Parameters) -> Written:
        return self.written(work.rows(statement, parameters)[0])

    @staticmethod
    def written(row: Sequence[object]) -> Written:
        """What the statement's row says."""
        data, *counts, seen = row
        lines, kept, late, filtered = (integer(count) for count in counts)
        seen_us = integer(seen) if seen is not None else None
        payload = Payload(data + b"\n" if isinstance(data, bytes) else b"", lines)
        return Written(payload, Tally(kept=kept, late=late, filtered=filtered, seen_us=seen_us), kept - lines)

    def unencodable(self, rows: exp.Select) -> exp.Select:
        failed = exp.and_(column(OUTCOME).eq(KEPT), exp.Is(this=column(LINE), expression=exp.Null()))
        return (
            exp.select(column(ROW), json_of(self.names))
            .from_(self._encoded(rows).subquery("encoded"))
            .where(failed)
            .order_by(ROW)
        )

    def _encoded(self, rows: exp.Select) -> exp.Select:
        line = exp.Case().when(column(OUTCOME).eq(KEPT), self.line.copy())
        return exp.select("*", exp.alias_(line, LINE)).from_(rows.subquery("rows", copy=False))


def json_of(names: tuple[str, ...], table: str | None = None, labels: Mapping[str, str] = _NO_LABELS) -> exp.Expression:
    """A row's columns as one JSON text, for dead letters and messages; `labels` has the keys that are not the names."""
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(labels.get(name, name), quoted=True), expression=column(name, table))
        for name in names
    ]
    return exp.cast(function("to_json", exp.Struct(expressions=fields)), "VARCHAR")


def _count(outcome: int) -> exp.Expression:
    condition = exp.Where(this=column(OUTCOME).eq(outcome))
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=condition)
