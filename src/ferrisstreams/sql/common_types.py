"""Which types can meet, in a UNION ALL or an equality of a join: those that hold values of one sort."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.plan.expressions import column
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import type_of

FLOATS = ("FLOAT", "DOUBLE")
UNTYPED = '"NULL"'

_KINDS = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", *FLOATS, "DECIMAL"), "number"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "number"),
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "time"),
    **dict.fromkeys(("VARCHAR", "ENUM"), "text"),
}


def fits(first: str, other: str) -> bool:
    """Whether one type can hold the values of both as what they are. The engine also makes text of anything, and reads
    numbers as times."""
    return first == other or UNTYPED in (first, other) or _kind(first) == _kind(other)


def common_type(context: Context, first: str, other: str) -> str | None:
    """The type in which the engine compares values of two; None where they do not fit, or where only a DOUBLE would
    hold both, and would round."""
    if first == other:
        return first
    if not fits(first, other):
        return None
    both = Schema((Column("_first", first), Column("_other", other)))
    found = type_of(context, exp.Anonymous(this="coalesce", expressions=[column("_first"), column("_other")]), both)
    return None if found == "DOUBLE" and not {first, other} & set(FLOATS) else found


def _kind(type_: str) -> str:
    if type_.endswith("]"):
        return f"list of {_kind(type_.rpartition('[')[0])}"
    name = type_.partition("(")[0]
    return _KINDS.get(name, name)
