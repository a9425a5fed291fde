"""How a column of a text format is read: the type that the reader takes, the value that it becomes, what is checked.

The plain statement and the diagnosis are built of the same checks, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Fetch
from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.errors import InternalError, SqlError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.expressions import alias, any_of, call, data_type, number
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.formats.times import TimeFormat, date_of, time_formats, time_in_utc
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Column, Schema

T = exp.DataType.Type

#: The alias of the engine's reader in a statement: `_raw."price"` is the value as read.
RAW = "_raw"

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
    name: str
    type: str
    raw_type: str
    value: exp.Expr
    checks: tuple[Check, ...]
    described: str

    @property
    def raw(self) -> exp.Column:
        return column(self.name, RAW)


def read_columns(schema: Schema, settings: DecodeSettings, connection: Connection) -> tuple[ReadColumn, ...]:
    """Raises SqlError E1102 for a type that the format cannot hold, ConfigError E3002 for a wrong time format."""
    plain, event = time_formats(settings, connection)
    return tuple(
        _read_column(each_column, settings, event if each_column.name == settings.event_time else plain)
        for each_column in schema
    )


def guard(conditions: Sequence[exp.Expr], mentioned: Sequence[exp.Expr]) -> exp.Expr:
    """A WHERE condition that raises where one of `conditions` holds.

    It mentions every column, so that the engine reads and checks them all, whatever the statement around it uses.
    """
    alarm = call("error", exp.cast(call("row", *mentioned), "VARCHAR"))
    failed = any_of(conditions) or exp.false()
    return exp.Case(ifs=[exp.If(this=failed, true=exp.cast(alarm, "BOOLEAN"))], default=exp.true())


def select_rows(values: Sequence[tuple[str, exp.Expr]]) -> exp.Select:
    """`_row` and the values of columns under their names; over what, the caller says."""
    ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
    named = [alias(value.copy(), name) for name, value in values]
    return exp.select(exp.alias_(ordinal, ROW, copy=False), *named, copy=False)


def fetched_block(fetch: Fetch) -> MemoryFile:
    if not isinstance(fetch.records, MemoryFile):
        raise InternalError("this format reads bytes")
    return fetch.records


def missing_code(declared: Column, settings: DecodeSettings) -> str | None:
    """What NULL in a column is, where it may not be."""
    if settings.lacking:
        return None
    if declared.name == settings.event_time:
        return "E2109"
    return None if declared.nullable else "E2105"


def require_leaf(kind: exp.DataType, declared: Column, format_: str) -> None:
    """Raises SqlError E1102 for a type without parts that no text of the format stands for."""
    if kind.this in _LEAVES:
        return
    hint = "declare VARCHAR and cast it in the query"
    if kind.this in (T.TIMESTAMP_S, T.TIMESTAMP_MS, T.TIMESTAMP_NS):
        hint = "declare TIMESTAMP, which has microseconds"
    why = f"the format {format_} cannot hold {kind.sql('duckdb')}"
    raise SqlError(f'column "{declared.name}" {declared.type}: {why}', "E1102", hint)


def _read_column(declared: Column, settings: DecodeSettings, time: TimeFormat) -> ReadColumn:
    kind = data_type(declared.type)
    require_leaf(kind, declared, settings.format)
    raw = column(declared.name, RAW)
    checks = []
    if (missing := missing_code(declared, settings)) is not None:
        checks.append(Check(declared.name, raw.copy().is_(exp.null()), missing))
    if (failure := _failure(kind, raw, time)) is not None:
        checks.append(Check(declared.name, failure, "E2104"))
    raw_type = _raw_type(kind, time)
    return ReadColumn(
        name=declared.name,
        type=declared.type,
        raw_type=raw_type.sql("duckdb"),
        value=_value(kind, raw, time) if raw_type != kind else raw,
        checks=tuple(checks),
        described=time.described if kind.this in _TIMES else f"of type {declared.type}",
    )


def _raw_type(kind: exp.DataType, time: TimeFormat) -> exp.DataType:
    if kind.this in _TIMES:
        return data_type(time.raw_type)
    if kind.this == T.DATE:
        return data_type("TIMESTAMPTZ")
    return data_type("VARCHAR") if kind.this in (T.VARBINARY, T.TIME) else kind


def _value(kind: exp.DataType, raw: exp.Expr, time: TimeFormat) -> exp.Expr:
    if kind.this == T.VARBINARY:
        return call("from_base64", raw.copy())
    if kind.this == T.DATE:
        return date_of(raw.copy())
    if kind.this == T.TIME:
        return time_in_utc(raw.copy())
    value = time.value(raw.copy())
    return exp.cast(value, "TIMESTAMPTZ", dialect="duckdb") if kind.this == T.TIMESTAMPTZ else value


def _failure(kind: exp.DataType, raw: exp.Expr, time: TimeFormat) -> exp.Expr | None:
    """A condition that is true where the raw value, though read, is not of the type."""
    if kind.this in _TIMES:
        return time.failure(raw.copy())
    if kind.this in _NON_FINITE:
        return exp.not_(call("isfinite", raw.copy()))
    if kind.this in (T.VARBINARY, T.TIME):
        made = time_in_utc(raw.copy()) if kind.this == T.TIME else exp.Try(this=call("from_base64", raw.copy()))
        undone = made.is_(exp.null())
        return exp.and_(exp.not_(raw.copy().is_(exp.null())), undone)
    return None
