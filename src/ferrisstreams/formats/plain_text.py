"""Single values as text: as in JSON, without the quotes around text; lists, structs and maps as JSON text."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.errors import SqlError
from ferrisstreams.formats.expressions import call
from ferrisstreams.formats.json_text import iso_text, json_text

T = exp.DataType.Type

_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_NESTED = (T.STRUCT, T.ARRAY, T.LIST, T.MAP)


def plain_text(kind: exp.DataType, value: exp.Expr, what: str) -> exp.Expr:
    """The value as VARCHAR, NULL for NULL; bytes as base64.

    Raises SqlError E1102 for a type that has no text; `what` is being written, for the message.
    """
    if kind.this in _TIMES:
        return iso_text(kind, value)
    if kind.this == T.VARBINARY:
        return call("to_base64", value)
    if kind.this in _NESTED:
        present = exp.If(this=value.copy().is_(exp.null()).not_(), true=json_text(kind, value))
        return exp.Case(ifs=[present])
    if kind.this in (T.UNION, T.VARIANT, T.GEOMETRY):
        hint = "leave the column out, or cast it to VARCHAR"
        raise SqlError(f"a value of type {kind.sql('duckdb')} cannot be written as {what}", "E1102", hint)
    return exp.cast(value, "VARCHAR")
