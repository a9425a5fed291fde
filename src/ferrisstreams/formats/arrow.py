"""Arrow tables: columns found by name and cast to their declared types; a column that the table lacks is NULL."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord
from ferrisstreams.duck.engine import Engine, column
from ferrisstreams.errors import ConfigError, InternalError
from ferrisstreams.formats.expressions import call, data_type
from ferrisstreams.formats.reading import RAW, Check
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.formats.times import TimeFormat, time_formats
from ferrisstreams.formats.typed_rows import TypedColumn, TypedRows, typed_column
from ferrisstreams.schema import Column, Schema

T = exp.DataType.Type

_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_numbers = itertools.count()


class ArrowDecoder:
    """Timestamps may also be text or numbers, with the same settings as elsewhere. NaN and infinity are values."""

    def __init__(self, engine: Engine, schema: Schema, settings: DecodeSettings) -> None:
        self._connection = engine.work
        self._schema = schema
        self._event_time = settings.event_time
        self._plain, self._event = time_formats(settings, engine.work)
        self._name = f"_memory_{next(_numbers)}"
        self._arrow_schema: pa.Schema | None = None
        self._rows: TypedRows | None = None
        self._scan = exp.select()

    def scan(self, fetch: Fetch) -> exp.Select:
        self._read(fetch)
        return self._scan

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        return self._read(fetch).diagnose(fetch)

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        return self._read(fetch).raw(fetch, rows)

    def _read(self, fetch: Fetch) -> TypedRows:
        """Make the fetch readable; the statement is kept as long as the tables look alike."""
        if not isinstance(fetch.records, pa.Table):
            raise InternalError("this format reads Arrow tables")
        self._connection.register(self._name, fetch.records)
        if self._rows is None or not fetch.records.schema.equals(self._arrow_schema):
            found = dict(self._connection.types(exp.select("*").from_(self._name)))
            columns = [self._column(declared, found.get(declared.name)) for declared in self._schema]
            self._rows = TypedRows(self._connection, columns, exp.to_table(self._name).as_(RAW))
            self._scan = self._rows.scan()
            self._arrow_schema = fetch.records.schema
        return self._rows

    def _column(self, declared: Column, found: str | None) -> TypedColumn:
        kind = data_type(declared.type)
        null_code = "E2109" if declared.name == self._event_time else None if declared.nullable else "E2105"
        if found is None:
            return typed_column(declared.name, kind, exp.cast(exp.null(), "INTEGER"), null_code)
        raw = column(declared.name, RAW)
        given = data_type(found)
        if given == kind and kind.this not in _TIMES:
            checks = (Check(declared.name, raw.copy().is_(exp.null()), null_code),) if null_code else ()
            return TypedColumn(declared.name, raw, raw, f"of type {declared.type}", checks)
        if kind.this in _TIMES:
            return self._time_column(declared, kind, given, null_code)
        return typed_column(declared.name, kind, raw, null_code)

    def _time_column(
        self, declared: Column, kind: exp.DataType, given: exp.DataType, null_code: str | None
    ) -> TypedColumn:
        raw = column(declared.name, RAW)
        if given.is_type(T.DATE, T.TIMESTAMP_S, T.TIMESTAMP_MS, T.TIMESTAMP_NS, *_TIMES):
            result = typed_column(declared.name, kind, raw, null_code)
            finite = Check(declared.name, exp.not_(call("isfinite", raw.copy())), "E2104")
            value = raw if given == kind else result.value
            if given.this == T.TIMESTAMPTZ and kind.this != T.TIMESTAMPTZ:
                value = call("make_timestamp", call("epoch_us", raw.copy()))
            return TypedColumn(declared.name, value, raw, result.described, (*result.checks, finite))
        time = self._event if declared.name == self._event_time else self._plain
        if not given.is_type(*exp.DataType.TEXT_TYPES) and time.raw_type in ("TIMESTAMPTZ", "VARCHAR"):
            what = f'column "{declared.name}" is {given.sql("duckdb")} in the table'
            raise ConfigError(
                f"{what}, and a plain number is not a {declared.type}",
                "E3004",
                f"set {time.key} to epoch_seconds, epoch_millis or epoch_micros",
            )
        return _converted(declared.name, kind, time, null_code)


def _converted(name: str, kind: exp.DataType, time: TimeFormat, null_code: str | None) -> TypedColumn:
    """A timestamp from text or a number."""
    result = typed_column(name, data_type(time.raw_type), column(name, RAW), null_code)
    tried = exp.TryCast(this=column(name, RAW), to=data_type(time.raw_type))
    checks = (*result.checks, Check(name, time.failure(tried), "E2104"))
    value = exp.Cast(this=time.value(result.value), to=kind)
    return TypedColumn(name, value, column(name, RAW), time.described, checks)
