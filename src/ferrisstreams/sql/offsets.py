"""Text that becomes a TIMESTAMP: its offset from UTC is applied, as the columns of a source apply it.

The engine's own cast drops an offset without a word. It does not by way of TIMESTAMPTZ, which the casts of a query go,
and a text beside a TIMESTAMP, which the engine would cast by itself, is cast here.
"""

from __future__ import annotations

import re

from sqlglot import exp

from ferrisstreams.plan.expressions import BY_INSTANT
from ferrisstreams.schema import Schema
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import type_of

T = exp.DType

_TIMESTAMPS = (T.TIMESTAMP, T.TIMESTAMPNTZ, T.DATETIME, T.TIMESTAMP_S, T.TIMESTAMP_MS, T.TIMESTAMP_NS)
_TEXTS = ("VARCHAR", "JSON")
_ZONED = re.compile(
    r"\s*\d{4,}-\d{1,2}-\d{1,2}[ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)? *([+-]\d{1,2}(:?\d{2}){0,2}|[A-Za-z_/]{3,})\s*"
)
#: What makes one type of all its operands.
_ALIKE = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Sub,
    exp.Coalesce, exp.Greatest, exp.Least, exp.Nullif, exp.DateDiff, exp.TimestampDiff,
)  # fmt: skip
_ALIKE_CALLS = frozenset(("date_diff", "datediff", "date_sub", "datesub", "age", "ifnull"))


def apply_offsets(context: Context, schema: Schema, holder: exp.Expression) -> None:
    """Let every cast to TIMESTAMP in a resolved expression, written or not, apply an offset in the text."""
    for literal in list(holder.find_all(exp.Literal)):
        if literal.is_string and _ZONED.fullmatch(literal.name) and _stands_beside_time(context, schema, literal):
            cast = exp.Cast(this=literal.copy(), to=exp.DataType(this=T.TIMESTAMP))
            cast.update_positions(literal)
            literal.replace(cast)
    for cast in list(holder.find_all(exp.Cast)):
        if _has_timestamp(cast.to) and _may_have_offset(schema, cast.this):
            inner = type(cast)(this=cast.this.copy(), to=_zoned(cast.to))
            inner.meta[BY_INSTANT] = True
            cast.this.replace(inner)


def _has_timestamp(kind: exp.DataType) -> bool:
    return any(found.this in _TIMESTAMPS for found in kind.find_all(exp.DataType))


def _zoned(kind: exp.DataType) -> exp.DataType:
    result = kind.copy()
    for found in result.find_all(exp.DataType):
        if found.this in _TIMESTAMPS:
            found.set("this", T.TIMESTAMPTZ)
    return result


def _may_have_offset(schema: Schema, node: exp.Expr) -> bool:
    """False for a literal without an offset, and for a column of another type than text."""
    if isinstance(node, exp.Literal) and node.is_string:
        return _ZONED.fullmatch(node.name) is not None
    found = schema.get(node.name) if isinstance(node, exp.Column) else None
    return found is None or any(kind in found.type for kind in _TEXTS)


def _stands_beside_time(context: Context, schema: Schema, literal: exp.Literal) -> bool:
    """Whether the engine would make a TIMESTAMP of the text, because of what stands beside it."""
    node: exp.Expr = literal
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    parent = node.parent
    if isinstance(parent, exp.Case | exp.If):
        case = parent.parent if isinstance(parent, exp.If) and isinstance(parent.parent, exp.Case) else parent
        return _is_time(context, schema, case)
    alike = isinstance(parent, _ALIKE) or (isinstance(parent, exp.Anonymous) and parent.name.lower() in _ALIKE_CALLS)
    if parent is None or not alike:
        return False
    return any(_is_time(context, schema, other) for other in parent.iter_expressions() if other is not node)


def _is_time(context: Context, schema: Schema, node: exp.Expr) -> bool:
    if isinstance(node, exp.Literal | exp.Var | exp.Null) or not isinstance(node, exp.Expression):
        return False
    if isinstance(node, exp.Column) and (found := schema.get(node.name)) is not None:
        return found.type.startswith("TIMESTAMP") and "ZONE" not in found.type
    if node.find_ancestor(exp.Lambda, exp.Comprehension) is not None:
        return False
    kind = type_of(context, node, schema)
    return kind.startswith("TIMESTAMP") and "ZONE" not in kind
