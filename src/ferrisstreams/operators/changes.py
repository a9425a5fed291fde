"""The changes between two states of the same groups."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.operators.log import START, same

#: How a change is called: a new row, the old and the new value of a row, a row that disappeared.
OP = "_op"

_BEFORE, _AFTER = "_before", "_after"


def as_inserts(table: pa.Table) -> pa.Table:
    """Every row as a new one."""
    return table.add_column(0, OP, pa.array(["+I"] * table.num_rows, pa.string()))


def differences(
    work: Connection, before: pa.Table | None, after: pa.Table | None, keys: Sequence[str]
) -> pa.Table | None:
    """What turns `before` into `after`: rows of either with `_op`, an old value right before its new one.

    Rows of the same `keys` (and `_start`, when there is one) are the same row; equal values make no change.
    """
    known = after if after is not None else before
    if known is None:
        return None
    names = known.column_names
    identity = [name for name in names if name in (*keys, START)]
    work.register(_BEFORE, before if before is not None else known.slice(0, 0))
    work.register(_AFTER, after if after is not None else known.slice(0, 0))
    sides = [
        _side(_BEFORE, _AFTER, names, identity, ("-U", "-D")),
        _side(_AFTER, _BEFORE, names, identity, ("+U", "+I")),
    ]
    changed = exp.union(*sides, distinct=False)
    bounds = [name for name in ("_stop", START) if name in names]
    order = [column(name) for name in (*bounds, *keys)]
    minus_first = exp.Ordered(this=column(OP), desc=True)
    table = work.table(exp.select("*").from_(changed.subquery("changed")).order_by(*order, minus_first))
    work.unregister(_BEFORE)
    work.unregister(_AFTER)
    return table if table.num_rows else None


def _side(mine: str, other: str, names: Sequence[str], identity: Sequence[str], ops: tuple[str, str]) -> exp.Select:
    equal = exp.select("1").from_(exp.to_table(other).as_("o")).where(same(names, "m", "o"))
    known = exp.select("1").from_(exp.to_table(other).as_("o")).where(same(identity, "m", "o"))
    op = exp.Case().when(exp.Exists(this=known), exp.Literal.string(ops[0])).else_(exp.Literal.string(ops[1]))
    return (
        exp.select(exp.alias_(op, OP), *[column(name, "m") for name in names])
        .from_(exp.to_table(mine).as_("m"))
        .where(exp.Not(this=exp.Exists(this=equal)))
    )
