"""How a declared column is read: the type that the engine's reader takes, the value that it becomes, what is checked.

The plain statement and the diagnosis are built of the same checks, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Fetch, RawRecord
from ferrisstreams.connectors.framing import Framing
from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.errors import InternalError, SqlError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.expressions import any_of, call, data_type, each, number, text, unless_null
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.formats.times import TimeFormat, time_formats
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Column, Schema

T = exp.DataType.Type

#: The alias of the engine's reader in a statement: `_raw."price"` is the value as read.
RAW = "_raw"
#: A number with so many digits goes through a double unharmed.
DOUBLE_DIGITS = 15

_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_NON_FINITE = (T.DOUBLE, T.FLOAT, T.DATE)
_LEAVES = {
    *_TIMES,
    *_NON_FINITE,
    *(T.TINYINT, T.SMALLINT, T.INT, T.BIGINT, T.INT128, T.UTINYINT, T.USMALLINT, T.UINT, T.UBIGINT, T.UINT128),
    *(T.BOOLEAN, T.DECIMAL, T.TEXT, T.VARCHAR, T.VARBINARY, T.TIME, T.INTERVAL, T.UUID, T.ENUM, T.JSON),
}


@dataclass(frozen=True, slots=True)
class Check:
    """`condition` over the raw columns is true for a row that fails, with `code`. `null` marks a missing value."""

    column: str
    condition: exp.Expr
    code: str


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """`inexact` is true where the raw value may have lost digits in the reader (wide decimals)."""

    name: str
    type: str
    raw_type: str
    value: exp.Expr
    checks: tuple[Check, ...]
    required: bool
    described: str
    inexact: exp.Expr | None = None

    @property
    def raw(self) -> exp.Column:
        return column(self.name, RAW)


def read_columns(
    schema: Schema, settings: DecodeSettings, connection: Connection, through_double: bool
) -> tuple[ReadColumn, ...]:
    """`through_double`: the reader takes decimal numbers through a double.

    Raises SqlError E1102 for a type that the format cannot hold, ConfigError E3002 for a time format that is none.
    """
    plain, event = time_formats(settings, connection)
    reader = _TypeReader(settings.format, through_double)
    return tuple(
        reader.column(each_column, event if each_column.name == settings.event_time else plain, settings.event_time)
        for each_column in schema
    )


def guard(conditions: Sequence[exp.Expr], mentioned: Sequence[exp.Expr]) -> exp.Expr:
    """A WHERE condition that raises where one of `conditions` holds.

    It mentions every column, so that the engine reads and checks them all, whatever the statement around it uses.
    """
    alarm = call("error", exp.cast(call("row", *mentioned), "VARCHAR"))
    failed = any_of(conditions) or exp.false()
    return exp.Case(ifs=[exp.If(this=failed, true=exp.cast(alarm, "BOOLEAN"))], default=exp.true())


def select_rows(columns: Sequence[ReadColumn]) -> exp.Select:
    """`_row` and the values of the columns; over what, the caller says."""
    ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
    return exp.select(exp.alias_(ordinal, ROW), *select_values(columns))


def select_values(columns: Sequence[ReadColumn]) -> list[exp.Expr]:
    """The declared columns, of the raw ones."""
    return [exp.alias_(c.value.copy(), c.name, quoted=True) for c in columns]


def scan_nothing(columns: Sequence[ReadColumn]) -> exp.Select:
    """A scan that raises: for a block that the engine's reader would take in another way than its records alone."""
    nulls = [exp.alias_(exp.cast(exp.null(), c.type, dialect="duckdb"), c.name, quoted=True) for c in columns]
    alarm = exp.cast(call("error", text("a block that must be diagnosed")), "BOOLEAN")
    return exp.select(exp.alias_(exp.cast(number(0), "BIGINT"), ROW), *nulls).where(alarm)


def raw_records(fetch: Fetch, framing: Framing, rows: Sequence[int]) -> list[RawRecord]:
    """The records with these ordinals: lines but for their newline, messages as they are."""
    if fetch.messages is not None:
        return [fetch.messages.record(row) for row in rows]
    data = fetched_block(fetch).read()
    spans = list(framing.spans(data))
    found = ((data[slice(*spans[row])], fetch.offset + spans[row][0]) for row in rows)
    return [RawRecord(record.removesuffix(b"\n"), at, f"{fetch.origin} byte {at}") for record, at in found]


def fetched_block(fetch: Fetch) -> MemoryFile:
    if not isinstance(fetch.records, MemoryFile):
        raise InternalError("this format reads bytes")
    return fetch.records


@dataclass(frozen=True, slots=True)
class _TypeReader:
    format: str
    through_double: bool

    def column(self, declared: Column, time: TimeFormat, event_time: str | None) -> ReadColumn:
        kind = data_type(declared.type)
        self._require_known(kind, declared)
        raw = column(declared.name, RAW)
        checks = []
        if declared.name == event_time:
            checks.append(Check(declared.name, raw.copy().is_(exp.null()), "E2109"))
        elif not declared.nullable:
            checks.append(Check(declared.name, raw.copy().is_(exp.null()), "E2105"))
        if (failure := self._failure(kind, raw, time)) is not None:
            checks.append(Check(declared.name, failure, "E2104"))
        raw_type = self._raw_type(kind, time)
        return ReadColumn(
            name=declared.name,
            type=declared.type,
            raw_type=raw_type.sql("duckdb"),
            value=self._value(kind, raw, time) if raw_type != kind else raw,
            checks=tuple(checks),
            required=bool(checks) and checks[0].code != "E2104",
            described=time.described if kind.this in _TIMES else f"of type {declared.type}",
            inexact=self._inexact(kind, raw),
        )

    def _require_known(self, kind: exp.DataType, declared: Column, nested: bool = False) -> None:
        if kind.this in (T.ARRAY, T.LIST, T.STRUCT, T.MAP) and self.format == "json":
            for inner in _inner(kind):
                self._require_known(inner, declared, nested=True)
            if kind.this == T.MAP and kind.expressions[0].this not in (T.TEXT, T.VARCHAR):
                raise _refused(declared, "JSON has text keys only", "declare MAP(VARCHAR, …)")
            return
        if kind.this not in _LEAVES:
            hint = "declare VARCHAR and cast it in the query"
            if kind.this in (T.TIMESTAMP_S, T.TIMESTAMP_MS, T.TIMESTAMP_NS):
                hint = "declare TIMESTAMP, which has microseconds"
            raise _refused(declared, f"the format {self.format} cannot hold {kind.sql('duckdb')}", hint)
        if nested and self.through_double and _is_wide(kind):
            hint = f"declare a DECIMAL of at most {DOUBLE_DIGITS} digits there, or VARCHAR and cast it in the query"
            raise _refused(declared, f"a nested {kind.sql('duckdb')} would lose digits", hint)

    def _raw_type(self, kind: exp.DataType, time: TimeFormat) -> exp.DataType:
        if kind.this in _TIMES:
            return data_type(time.raw_type)
        if kind.this == T.VARBINARY:
            return data_type("VARCHAR")
        result = kind.copy()
        for place, inner in enumerate(result.expressions):
            if isinstance(inner, exp.DataType):
                result.expressions[place] = self._raw_type(inner, time)
                result.set("expressions", result.expressions)
            elif isinstance(inner, exp.ColumnDef):
                inner.set("kind", self._raw_type(inner.args["kind"], time))
        return result

    def _value(self, kind: exp.DataType, raw: exp.Expr, time: TimeFormat) -> exp.Expr:
        if self._raw_type(kind, time) == kind:
            return raw
        if kind.this in _TIMES:
            value = time.value(raw.copy())
            return exp.cast(value, "TIMESTAMPTZ", dialect="duckdb") if kind.this == T.TIMESTAMPTZ else value
        if kind.this == T.VARBINARY:
            return call("from_base64", raw.copy())
        match kind.this:
            case T.STRUCT:
                pairs = [
                    exp.PropertyEQ(
                        this=exp.to_identifier(name, quoted=True),
                        expression=self._value(inner, _part(raw, name), time),
                    )
                    for name, inner in _fields(kind)
                ]
                return unless_null(raw, exp.Struct(expressions=pairs))
            case T.MAP:
                inner = kind.expressions[1]
                values = each("list_transform", call("map_values", raw.copy()), lambda x: self._value(inner, x, time))
                return unless_null(raw, call("map", call("map_keys", raw.copy()), values))
        return each("list_transform", raw.copy(), lambda x: self._value(kind.expressions[0], x, time))

    def _failure(self, kind: exp.DataType, raw: exp.Expr, time: TimeFormat) -> exp.Expr | None:
        """A condition that is true where the raw value, though read, is none of the type."""
        if kind.this in _TIMES:
            return time.failure(raw.copy())
        if kind.this in _NON_FINITE:
            return exp.not_(call("isfinite", raw.copy()))
        if kind.this == T.VARBINARY:
            undone = exp.Try(this=call("from_base64", raw.copy())).is_(exp.null())
            return exp.and_(exp.not_(raw.copy().is_(exp.null())), undone)
        match kind.this:
            case T.STRUCT:
                parts = (self._failure(inner, _part(raw, name), time) for name, inner in _fields(kind))
                return any_of(part for part in parts if part is not None)
            case T.MAP:
                return self._any_failure(kind.expressions[1], call("map_values", raw.copy()), time)
            case T.ARRAY | T.LIST:
                return self._any_failure(kind.expressions[0], raw.copy(), time)
        return None

    def _any_failure(self, kind: exp.DataType, values: exp.Expr, time: TimeFormat) -> exp.Expr | None:
        if self._failure(kind, exp.column("x"), time) is None:
            return None

        def fails(x: exp.Expr) -> exp.Expr:
            return exp.func("COALESCE", self._failure(kind, x, time), exp.false())

        return exp.GT(this=call("len", each("list_filter", values, fails)), expression=number(0))

    def _inexact(self, kind: exp.DataType, raw: exp.Expr) -> exp.Expr | None:
        if not (self.through_double and _is_wide(kind)):
            return None
        scale = int(kind.expressions[1].name)
        limit = text(f"1e{DOUBLE_DIGITS - scale}")
        size = exp.cast(call("abs", raw.copy()), "DOUBLE")
        return exp.GTE(this=size, expression=exp.cast(limit, "DOUBLE"))


def _is_wide(kind: exp.DataType) -> bool:
    return kind.this == T.DECIMAL and int(kind.expressions[0].name) > DOUBLE_DIGITS


def _fields(kind: exp.DataType) -> list[tuple[str, exp.DataType]]:
    return [(field.this.name, field.args["kind"]) for field in kind.expressions]


def _inner(kind: exp.DataType) -> list[exp.DataType]:
    if kind.this == T.STRUCT:
        return [inner for _, inner in _fields(kind)]
    return list(kind.expressions)


def _part(raw: exp.Expr, name: str) -> exp.Expr:
    return call("struct_extract", raw.copy(), text(name))


def _refused(declared: Column, why: str, hint: str) -> SqlError:
    return SqlError(f'column "{declared.name}" {declared.type}: {why}', "E1102", hint)
