"""The columns of an aggregate, made of its merged results."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.compile.sources import ResultColumns
from ferrisstreams.duck.engine import column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import VALUE, VALUES, AggregatePlan, function
from ferrisstreams.operators.changes import OP
from ferrisstreams.operators.log import START, STOP, LogShape
from ferrisstreams.plan.expressions import typed_as
from ferrisstreams.plan.nodes import WINDOW_END, WINDOW_START, Aggregate
from ferrisstreams.schema import Schema


def result_columns(aggregate: Aggregate, shape: LogShape, with_op: bool, merged: exp.Select) -> ResultColumns:
    """The aggregate's own columns of merged results."""
    bounds = []
    if aggregate.window is not None:
        bounds = [
            exp.alias_(function("make_timestamp", column(START)), WINDOW_START),
            exp.alias_(function("make_timestamp", column(STOP)), WINDOW_END),
        ]
    keys = [
        exp.alias_(_typed(column(kept), aggregate.schema, key.name), key.name, quoted=True)
        for kept, key in zip(shape.keys, aggregate.keys, strict=True)
    ]
    op = [column(OP)] if with_op else []
    groups = exp.select(column(ROW), *op, *bounds, *keys).from_(merged.subquery("chunk"))
    one = aggregate.window is None and not aggregate.keys

    def results(plan: AggregatePlan) -> exp.Select:
        finals = [exp.alias_(named.expression.copy(), named.name, quoted=True) for named in plan.finals]
        return _values_select(groups, finals, one, merged) if plan.holistic else groups.select(*finals)

    names = aggregate.schema.names
    made, exact = results(shape.aggregates), results(shape.aggregates.exactly())
    return ResultColumns(groups, names[: len(names) - len(aggregate.calls)], made, names, exact)


def _values_select(groups: exp.Select, finals: Sequence[exp.Expr], one: bool, merged: exp.Select) -> exp.Select:
    """The groups with the real aggregates over the values that each has kept.

    `one`: there is a single group, which may be without any row. Its aggregates are over no value then, and only a
    SELECT without GROUP BY gives them. It stands first; a second row is the same group after a change.
    """
    unnested = exp.select(column(ROW), exp.alias_(function("unnest", column(VALUES)), VALUE))
    unnested = unnested.from_(merged.subquery("chunk"))
    rows = unnested.subquery("unnested")
    values: exp.Query = exp.select(column(ROW), *finals).from_(rows).group_by(column(ROW))
    if one:
        first = exp.select(exp.alias_(exp.cast(exp.Literal.number(0), "BIGINT"), ROW), *finals)
        first = first.from_(rows).where(column(ROW).eq(0))
        values = exp.union(first, exp.select("*").from_(values.subquery("v")).where(column(ROW).neq(0)), distinct=False)
    joined = exp.select("*").from_(groups.subquery("g")).join(values.subquery("v"), using=[ROW], join_type="inner")
    return joined.order_by(ROW)


def _typed(value: exp.Expression, schema: Schema, name: str) -> exp.Expression:
    found = schema.get(name)
    assert found is not None, name
    return typed_as(value, found.type)
