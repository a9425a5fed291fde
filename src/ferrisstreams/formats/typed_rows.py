"""Rows that are columns already (Arrow tables, generated rows): casts and checks, plain and in diagnosis form."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord, Rejected, integer
from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.diagnosis import column_fault, create_table
from ferrisstreams.formats.expressions import call, number
from ferrisstreams.formats.reading import RAW, Check, guard

_WHICH, _JSON = "_which", "_json"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """`value` and `checks` are over the columns of the source, which stands under the alias `_raw`."""

    name: str
    value: exp.Expr
    shown: exp.Expr
    described: str
    checks: tuple[Check, ...] = ()


def typed_column(name: str, kind: exp.DataType, raw: exp.Expr, null_code: str | None) -> TypedColumn:
    """A column whose value is cast to its type; a value that cannot be is a fault. `null_code`: what NULL is then."""
    checks = [] if null_code is None else [Check(name, raw.copy().is_(exp.null()), null_code)]
    uncast = exp.TryCast(this=raw.copy(), to=kind.copy()).is_(exp.null())
    checks.append(Check(name, exp.and_(raw.copy().is_(exp.null()).not_(), uncast), "E2104"))
    value = exp.Cast(this=raw.copy(), to=kind.copy())
    return TypedColumn(name, value, raw, f"of type {kind.sql('duckdb')}", tuple(checks))


class TypedRows:
    """One source's rows: `source` is what stands behind FROM, with the alias `_raw`."""

    def __init__(self, connection: Connection, columns: Sequence[TypedColumn], source: exp.Expr) -> None:
        self._connection = connection
        self._columns = columns
        self._source = source
        number_ = next(_numbers)
        self._judged, self._good = f"_judged_typed_{number_}", f"_good_typed_{number_}"

    def scan(self) -> exp.Select:
        ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
        found = exp.select(exp.alias_(ordinal, ROW), *self._values()).from_(self._source)
        conditions = [check.condition.copy() for c in self._columns for check in c.checks]
        return found.where(guard(conditions, [number(0)])) if conditions else found

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        outcomes = [(place, check) for place, c in enumerate(self._columns) for check in c.checks]
        which = [exp.If(this=check.condition.copy(), true=number(i)) for i, (_, check) in enumerate(outcomes)]
        ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
        everything = exp.Column(this=exp.Star(), table=exp.to_identifier(RAW))
        fault = exp.Case(ifs=which) if which else exp.cast(exp.null(), "INTEGER")
        judged = exp.select(exp.alias_(ordinal, ROW), fault.as_(_WHICH), _as_json().as_(_JSON), everything)
        judged = judged.from_(self._source)
        self._connection.execute(create_table(self._judged, judged))
        source = exp.to_table(self._judged).as_(RAW)
        fine = column(_WHICH, RAW).is_(exp.null())
        good = exp.select(column(ROW, RAW), *self._values()).from_(source).where(fine).order_by(column(ROW, RAW))
        self._connection.execute(create_table(self._good, good))
        return Diagnosis(self._good, self._rejected(fetch, source, outcomes))

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        """The rows as JSON."""
        ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
        all_rows = exp.select(exp.alias_(ordinal, ROW), _as_json().as_(_JSON)).from_(self._source).subquery("_all")
        wanted = column(ROW).isin(*(number(row) for row in rows))
        query = exp.select(column(ROW), column(_JSON)).from_(all_rows).where(wanted).order_by(column(ROW))
        found = self._connection.rows(query) if rows else []
        offsets = [fetch.offset + integer(row) for row, _ in found]
        return [
            RawRecord(str(value).encode(), offset, f"{fetch.origin} row {offset}")
            for offset, (_, value) in zip(offsets, found, strict=True)
        ]

    def _values(self) -> list[exp.Expr]:
        return [exp.alias_(c.value.copy(), c.name, quoted=True) for c in self._columns]

    def _rejected(self, fetch: Fetch, source: exp.Expr, outcomes: Sequence[tuple[int, Check]]) -> list[Rejected]:
        shown = [
            exp.If(
                this=column(_WHICH, RAW).eq(number(i)),
                true=exp.cast(call("to_json", self._columns[place].shown.copy()), "VARCHAR"),
            )
            for i, (place, _) in enumerate(outcomes)
        ]
        if not shown:
            return []
        wrong = column(_WHICH, RAW).is_(exp.null()).not_()
        query = exp.select(column(ROW, RAW), column(_WHICH, RAW), exp.Case(ifs=shown), column(_JSON, RAW))
        rejected = []
        for row, which, value, text in self._connection.rows(
            query.from_(source).where(wrong).order_by(column(ROW, RAW))
        ):
            place, check = outcomes[integer(which)]
            fault = column_fault(self._columns[place].name, self._columns[place].described, check.code, str(value))
            offset = fetch.offset + integer(row)
            rejected.append(
                Rejected(
                    value=str(text).encode(),
                    code=fault.code,
                    message=fault.message,
                    stage="decode",
                    partition=fetch.partition,
                    offset=offset,
                    position=f"{fetch.origin} row {offset}",
                    row=integer(row),
                )
            )
        return rejected


def _as_json() -> exp.Expr:
    return exp.cast(call("to_json", exp.column(RAW)), "VARCHAR")
