"""Which values go to Arrow and come back as they were."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.plan.expressions import type_tree

_TYPE = exp.DType

#: Types that come back from Arrow as they went.
_PLAIN = frozenset({
    *(_TYPE.BOOLEAN, _TYPE.TINYINT, _TYPE.SMALLINT, _TYPE.INT, _TYPE.BIGINT),
    *(_TYPE.UTINYINT, _TYPE.USMALLINT, _TYPE.UINT, _TYPE.UBIGINT, _TYPE.FLOAT, _TYPE.DOUBLE, _TYPE.DECIMAL),
    *(_TYPE.VARCHAR, _TYPE.TEXT, _TYPE.VARBINARY, _TYPE.DATE, _TYPE.TIMESTAMPNTZ, _TYPE.TIMESTAMPTZ, _TYPE.STRUCT),
})  # fmt: skip

#: Types that go as text.
_AS_TEXT = frozenset({_TYPE.INT128, _TYPE.UINT128, _TYPE.UUID})


def carried_type(type_: str) -> str | None:
    """The type as which values are held in Arrow; None: they cannot be."""
    tree = type_tree(type_)
    if tree.this in _AS_TEXT:
        return "VARCHAR"
    return type_ if all(part.this in _PLAIN for part in tree.find_all(exp.DataType)) else None
