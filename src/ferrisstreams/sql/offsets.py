"""Text that becomes a TIMESTAMP, a DATE or a TIME: its offset from UTC is applied, as columns of TIMESTAMP apply it.

The engine's own cast drops an offset without a word. It does not by way of TIMESTAMPTZ and TIMETZ, which the casts of a
query go, and a text beside a time, which the engine would cast by itself, is cast here.
"""

from __future__ import annotations

import re

from sqlglot import exp

from ferrisstreams.formats.nested import CONTAINERS, each_leaf, with_leaves
from ferrisstreams.formats.times import time_in_utc
from ferrisstreams.plan.expressions import BY_INSTANT, SORTED, UNSORTED
from ferrisstreams.schema import Schema
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import type_of
from ferrisstreams.sql.lambdas import Region

T = exp.DType

_TIMESTAMPS = (T.TIMESTAMP, T.TIMESTAMPNTZ, T.DATETIME, T.TIMESTAMP_S, T.TIMESTAMP_MS, T.TIMESTAMP_NS, T.DATE)
_TEXTS = ("VARCHAR", "JSON")
_ZONED = re.compile(
    r"\s*(\d{4,}-\d{1,2}-\d{1,2}[ T])?\d{1,2}:\d{2}(:\d{2}(\.\d+)?)? *"
    r"([+-]\d{1,2}(:?\d{2}){0,2}|[zZ]|[A-Za-z_/]{3,})\s*"
)
#: What makes one type of all its operands.
_ALIKE = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Sub,
    exp.Coalesce, exp.Greatest, exp.Least, exp.Nullif, exp.DateDiff, exp.TimestampDiff,
)  # fmt: skip
_ALIKE_CALLS = frozenset(("date_diff", "datediff", "date_sub", "datesub", "age", "ifnull"))


def apply_offsets(context: Context, region: Region) -> None:
    """Let every cast to a time in a region of a resolved expression, written or not, apply an offset in the text."""
    schema = region.schema
    literals = [node for node in region.walk() if isinstance(node, exp.Literal)]
    for literal in literals:
        if literal.is_string and _ZONED.fullmatch(literal.name):
            kind = _time_beside(context, schema, literal)
            if kind is not None:
                made = exp.Cast(this=literal.copy(), to=exp.DataType(this=kind))
                made.update_positions(literal)
                literal.replace(made)
    casts = [node for node in region.walk() if isinstance(node, exp.Cast)]
    for cast in casts:
        if not _may_have_offset(schema, cast.this):
            continue
        if _has_time_in_parts(cast.to) and any(kind in type_of(context, cast.this, schema) for kind in _TEXTS):
            cast.this.replace(parts_in_utc(cast))
        elif _has_timestamp(cast.to) and (cast.to.this != T.DATE or _is_text(context, schema, cast.this)):
            inner = type(cast)(this=cast.this.copy(), to=_zoned(cast.to))
            inner.meta[BY_INSTANT] = True
            cast.this.replace(inner)
        elif cast.to.this == T.TIME and _is_text(context, schema, cast.this):
            cast.this.replace(_time_in_utc(cast, type_of(context, cast.this, schema)))


def _is_text(context: Context, schema: Schema, node: exp.Expr) -> bool:
    if isinstance(node, exp.Literal):
        return node.is_string
    if not isinstance(node, exp.Expression):
        return False
    return type_of(context, node, schema) in _TEXTS


def _time_in_utc(cast: exp.Cast, kind: str) -> exp.Expr:
    """The TIMETZ of the text, or the JSON of a text, that is cast, in UTC."""
    value = cast.this.copy()
    if kind == "JSON":
        value = exp.JSONExtractScalar(this=value, expression=exp.Literal.string("$"))
    made: exp.Expr = time_in_utc(value, type(cast)).this
    made.meta[BY_INSTANT] = True
    return made


def _has_time_in_parts(kind: exp.DataType) -> bool:
    return kind.this in CONTAINERS and any(found.this == T.TIME for found in kind.find_all(exp.DataType))


def parts_in_utc(cast: exp.Cast) -> exp.Expr:
    """What is cast to a type with parts, with its times of the types that hold an offset, or applied."""
    written = exp.Paren(this=cast.this.copy())
    written.meta[UNSORTED] = True
    texts = with_leaves(cast.to, lambda leaf: exp.DataType(this=T.VARCHAR) if leaf.this == T.TIME else leaf)
    read = type(cast)(this=written, to=_zoned(texts))
    made = each_leaf(
        cast.to,
        read,
        lambda leaf, value: time_in_utc(value.copy(), type(cast)) if leaf.this == T.TIME else value.copy(),
    )
    made.meta[SORTED] = True
    return made


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


def _time_beside(context: Context, schema: Schema, literal: exp.Literal) -> exp.DType | None:
    """What the engine would make of the text, because of what stands beside it, where that is a time."""
    node: exp.Expr = literal
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    parent = node.parent
    if isinstance(parent, exp.Case | exp.If):
        case = parent.parent if isinstance(parent, exp.If) and isinstance(parent.parent, exp.Case) else parent
        compared = case.args.get("this") if isinstance(parent, exp.If) and node.arg_key == "this" else None
        return _time_type(context, schema, case if compared is None else compared)
    alike = isinstance(parent, _ALIKE) or (isinstance(parent, exp.Anonymous) and parent.name.lower() in _ALIKE_CALLS)
    if parent is None or not alike:
        return None
    found = [_time_type(context, schema, other) for other in parent.iter_expressions() if other is not node]
    return next((kind for kind in (T.TIMESTAMP, T.DATE, T.TIME) if kind in found), None)


def _time_type(context: Context, schema: Schema, node: exp.Expr) -> exp.DType | None:
    if isinstance(node, exp.Literal | exp.Var | exp.Null) or not isinstance(node, exp.Expression):
        return None
    if isinstance(node, exp.Column) and (found := schema.get(node.name)) is not None:
        kind = found.type
    else:
        kind = type_of(context, node, schema)
    if kind.startswith("TIMESTAMP") and "ZONE" not in kind:
        return T.TIMESTAMP
    return {"DATE": T.DATE, "TIME": T.TIME}.get(kind)
