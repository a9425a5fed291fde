"""The changes between two states of the same groups."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.operators.log import START, STOP, LogShape, same

#: How a change is called: a new row, the old and the new value of a row, a row that disappeared.
OP = "_op"
INSERTED, REPLACED, REPLACEMENT, DISAPPEARED = "+I", "-U", "+U", "-D"

_BEFORE, _AFTER = "_before", "_after"


def as_inserts(rows: exp.Select) -> exp.Select:
    """Every row as a new one."""
    return exp.select(exp.alias_(exp.Literal.string(INSERTED), OP), "*").from_(rows.subquery("inserted", copy=False))


def differences(before: exp.Select, after: exp.Select, shape: LogShape, bounds: Sequence[str]) -> exp.Select:
    """What turns `before` into `after`: rows of either with `_op`, an old value right before its new one.

    Rows of the same keys and `bounds` of the window (none without one) are the same row; equal values make no change.
    """
    names = [*((START, STOP) if bounds else ()), *shape.keys, *(p.name for p in shape.aggregates.partials)]
    identity = [*bounds, *shape.keys]
    sides = [
        _side(_BEFORE, _AFTER, names, identity, (REPLACED, DISAPPEARED)),
        _side(_AFTER, _BEFORE, names, identity, (REPLACEMENT, INSERTED)),
    ]
    order = [column(name) for name in (*((STOP, START) if bounds else ()), *shape.keys)]
    minus_first = exp.Ordered(this=column(OP), desc=True)
    changed = exp.select("*").from_(exp.union(*sides, distinct=False).subquery("changed"))
    with_before = changed.order_by(*order, minus_first).with_(_BEFORE, as_=before, materialized=True, copy=False)
    return with_before.with_(_AFTER, as_=after, materialized=True, copy=False)


def _side(mine: str, other: str, names: Sequence[str], identity: Sequence[str], ops: tuple[str, str]) -> exp.Select:
    equal = exp.select("1").from_(exp.to_table(other).as_("o")).where(same(names, "m", "o"))
    known = exp.select("1").from_(exp.to_table(other).as_("o")).where(same(identity, "m", "o"))
    op = exp.Case().when(exp.Exists(this=known), exp.Literal.string(ops[0])).else_(exp.Literal.string(ops[1]))
    return (
        exp.select(exp.alias_(op, OP), *[column(name, "m") for name in names])
        .from_(exp.to_table(mine).as_("m"))
        .where(exp.Not(this=exp.Exists(this=equal)))
    )
