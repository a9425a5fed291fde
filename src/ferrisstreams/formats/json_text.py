"""Rows as JSON text.

Timestamps are ISO 8601 in UTC with `Z`, without a fraction when it is zero and else with six digits; decimals are
numbers with all their digits; bytes are base64; DATE, TIME, INTERVAL and UUID are text. Keys stand in the order of the
columns.
"""

from __future__ import annotations

import json

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.errors import SqlError
from ferrisstreams.formats.expressions import any_of, call, data_type, each, number, text, unless_null
from ferrisstreams.formats.json_marks import is_non_finite, marked, unmarked
from ferrisstreams.schema import Schema

T = exp.DataType.Type

_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_COARSE_TIMES = (T.TIMESTAMP_S, T.TIMESTAMP_MS)
_INTEGERS = (
    *(T.TINYINT, T.SMALLINT, T.INT, T.BIGINT, T.INT128),
    *(T.UTINYINT, T.USMALLINT, T.UINT, T.UBIGINT, T.UINT128, T.BIGNUM),
)
_BARE = (*_INTEGERS, T.DECIMAL, T.BOOLEAN)
_QUOTED = (T.DATE, T.TIME, T.TIMETZ, T.TIME_NS, T.INTERVAL, T.UUID, T.BIT)
_TEXTS = (T.TEXT, T.VARCHAR, T.ENUM)
_SECOND_US = 1_000_000


class JsonLinesEncoder:
    def line(self, schema: Schema) -> exp.Expression:
        """Raises SqlError E1102 for a type that JSON cannot hold."""
        kinds = [(c.name, data_type(c.type)) for c in schema]
        line = _object([(name, json_text(kind, column(name))) for name, kind in kinds])
        failures = (unencodable(kind, column(name)) for name, kind in kinds)
        failed = any_of(failure for failure in failures if failure is not None)
        return line if failed is None else exp.Case(ifs=[exp.If(this=failed, true=exp.null())], default=line)

    def header(self, schema: Schema) -> bytes:
        return b""


def json_text(kind: exp.DataType, value: exp.Expr) -> exp.Expr:
    """The value as JSON text, `null` for NULL."""
    return exp.func("COALESCE", _text(kind, value), text("null"))


def unencodable(kind: exp.DataType, value: exp.Expr) -> exp.Expr | None:
    """A condition that is true for values that JSON has no text for; None when there are none of this type."""
    if kind.this in (T.DOUBLE, T.FLOAT, T.DATE, *_TIMES, *_COARSE_TIMES):
        return exp.not_(exp.func("COALESCE", call("isfinite", value.copy()), exp.true()))
    if kind.this == T.JSON:
        written = exp.func("LOWER", exp.cast(value.copy(), "VARCHAR"))
        named = exp.or_(*(call("contains", written.copy(), text(name)) for name in ("nan", "inf")))
        return exp.func("COALESCE", exp.and_(named, is_non_finite(call("json", marked(value)))), exp.false())
    match kind.this:
        case T.STRUCT:
            parts = (unencodable(inner, _field(value, name)) for name, inner in _fields(kind))
            return any_of(part for part in parts if part is not None)
        case T.ARRAY | T.LIST:
            return _any_unencodable(kind.expressions[0], value.copy())
        case T.MAP:
            return _any_unencodable(kind.expressions[1], call("map_values", value.copy()))
    return None


def iso_text(kind: exp.DataType, value: exp.Expr, quote: str = "") -> exp.Expr:
    """A timestamp as ISO 8601 text in UTC; NULL stays NULL."""
    local = call("make_timestamp", call("epoch_us", value.copy())) if kind.this == T.TIMESTAMPTZ else value
    fraction = exp.Mod(this=call("epoch_us", value.copy()), expression=number(_SECOND_US))
    whole = call("strftime", local.copy(), text(f"{quote}%Y-%m-%dT%H:%M:%SZ{quote}"))
    exact = call("strftime", local.copy(), text(f"{quote}%Y-%m-%dT%H:%M:%S.%fZ{quote}"))
    return exp.Case(ifs=[exp.If(this=fraction.eq(number(0)), true=whole)], default=exact)


def _text(kind: exp.DataType, value: exp.Expr) -> exp.Expr:
    """The value as JSON text; NULL for NULL."""
    if kind.this in _BARE:
        return exp.cast(value, "VARCHAR")
    if kind.this in _QUOTED:
        return _join([text('"'), exp.cast(value, "VARCHAR"), text('"')])
    if kind.this in _TEXTS:
        return _json(exp.cast(value, "VARCHAR") if kind.this == T.ENUM else value)
    if kind.this in _TIMES:
        return iso_text(kind, value, '"')
    if kind.this in _COARSE_TIMES:
        return iso_text(kind, exp.cast(value, "TIMESTAMP"), '"')
    match kind.this:
        case T.DOUBLE:
            return _json(value)
        case T.FLOAT:  # through its shortest text: 0.1, not 0.10000000149011612
            return _json(exp.cast(exp.cast(value, "VARCHAR"), "DOUBLE"))
        case T.VARBINARY:
            return _join([text('"'), call("to_base64", value), text('"')])
        case T.JSON:
            return _json_document(value)
        case T.NULL:
            return exp.cast(exp.null(), "VARCHAR")
        case T.STRUCT:
            fields = [(name, json_text(inner, _field(value, name))) for name, inner in _fields(kind)]
            return unless_null(value, _object(fields))
        case T.ARRAY | T.LIST:
            items = each("list_transform", value.copy(), lambda x: json_text(kind.expressions[0], x))
            return unless_null(value, call("concat", text("["), _comma(items), text("]")))
        case T.MAP:
            return unless_null(value, _map(kind, value))
    hint = "leave the column out, or cast it to VARCHAR"
    if kind.sql("duckdb").startswith("TUPLE("):
        hint = "name its parts: {'a': x, 'b': y}, or write to_json(…)"
    raise SqlError(f"a value of type {kind.sql('duckdb')} cannot be written as JSON", "E1102", hint)


def _json_document(value: exp.Expr) -> exp.Expr:
    """JSON without white space between its parts. The engine writes other digits for some numbers than were written;
    where its text differs, they are kept from it."""
    written = exp.cast(call("json", value.copy()), "VARCHAR")
    same = exp.If(this=written.eq(exp.cast(value.copy(), "VARCHAR")), true=exp.cast(value.copy(), "VARCHAR"))
    return exp.Case(ifs=[same], default=unmarked(exp.cast(call("json", marked(value)), "VARCHAR")))


def _object(members: list[tuple[str, exp.Expr]]) -> exp.Expression:
    parts: list[exp.Expr] = []
    for place, (name, value) in enumerate(members):
        parts += [text(("," if place else "{") + _quoted(name) + ":"), value]
    return call("concat", *(parts or [text("{")]), text("}"))


def _map(kind: exp.DataType, value: exp.Expr) -> exp.Expr:
    entries = call("map_entries", value.copy())

    def member(entry: exp.Expr) -> exp.Expr:
        key = _json(exp.cast(_field(entry, "key"), "VARCHAR"))
        return call("concat", key, text(":"), json_text(kind.expressions[1], _field(entry, "value")))

    return call("concat", text("{"), _comma(each("list_transform", entries, member)), text("}"))


def _any_unencodable(kind: exp.DataType, values: exp.Expr) -> exp.Expr | None:
    if unencodable(kind, exp.column("x")) is None:
        return None
    found = each("list_filter", values, lambda x: unencodable(kind, x) or exp.false())
    return exp.func("COALESCE", exp.GT(this=call("len", found), expression=number(0)), exp.false())


def _fields(kind: exp.DataType) -> list[tuple[str, exp.DataType]]:
    return [(field.this.name, field.args["kind"]) for field in kind.expressions]


def _field(value: exp.Expr, name: str) -> exp.Expr:
    return call("struct_extract", value.copy(), text(name))


def _json(value: exp.Expr) -> exp.Expr:
    return exp.cast(call("to_json", value), "VARCHAR")


def _comma(items: exp.Expr) -> exp.Expr:
    return call("array_to_string", items, text(","))


def _join(parts: list[exp.Expr]) -> exp.Expr:
    """Parts one behind the other; NULL when one is."""
    result, *rest = parts
    for part in rest:
        result = exp.DPipe(this=result, expression=part, safe=False)
    return result


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
