"""Aggregates that the engine does not compute: of which only the type is asked, or whose value is NULL by its type.

What they are given may fail for a row, which must not fail for it here. The calls stay, over NULL.
"""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.duck.engine import BindError, DataError
from ferrisstreams.plan.expressions import WRITTEN, typed_as
from ferrisstreams.sql.calls import call_name, gives_null, is_aggregate
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import type_of, typed_select
from ferrisstreams.sql.lambdas import Region

_JOINS = ("string_agg", "listagg", "group_concat")
_NULL = '"NULL"'

#: Calls that compute not all of their arguments for each row.
_CONDITIONAL = ("if", "ifnull", "coalesce", "nullif", "try")


def leave_uncomputed(context: Context, region: Region) -> None:
    """Give NULL to the aggregates of the region that the engine does not compute. Raises `SqlError`."""
    for call in [node for node in region.walk() if is_aggregate(context, node)]:
        assert isinstance(call, exp.Expression)
        if call_name(call) in _JOINS and len(call.expressions) == 2 and gives_null(context, call.expressions[1]):
            joined = call.expressions[0]
            joined = joined.expressions[0] if isinstance(joined, exp.Distinct) else joined
            _replace(joined, typed_as(exp.null(), "VARCHAR"))
            continue
        if isinstance(call, exp.Count) and _is_only_counted(context, call):
            _replace(_counted(call), exp.Literal.number(1))
            continue
        whole: exp.Expression = call.parent if isinstance(call.parent, exp.Filter) else call
        if _is_typed_alone(whole) or _is_null(context, region, whole):
            kind = type_of(context, call, region.schema)
            given = exp.Anonymous(this="any_value", expressions=[typed_as(exp.null(), kind)])
            given.update_positions(call)
            given.meta[WRITTEN] = whole.copy()
            whole.replace(given)


def _replace(value: exp.Expr, given: exp.Expression) -> None:
    given.meta[WRITTEN] = value.copy()
    value.replace(given)


def _counted(call: exp.Count) -> exp.Expr:
    value: exp.Expr = call.this.this if isinstance(call.this, exp.Order) else call.this
    return value


def _is_only_counted(context: Context, call: exp.Count) -> bool:
    """Whether a constant fails, and the engine counts rows without it."""
    value = _counted(call)
    if isinstance(value, exp.Star | exp.Literal | exp.Distinct) or not isinstance(value, exp.Expression):
        return False
    if value.find(exp.Column) is not None or _is_computed(context, exp.select(value.copy())):
        return False
    return _is_computed(context, exp.select(exp.Count(this=value.copy())))


def _is_computed(context: Context, select: exp.Select) -> bool:
    try:
        context.connection.materialize("_trials", select)
    except (BindError, DataError):
        return False
    return True


def _is_typed_alone(call: exp.Expr) -> bool:
    node = call.parent
    while node is not None and not (call_name(node) == "typeof" and len(node.expressions) == 1):
        node = node.parent
    return node is not None


def _is_null(context: Context, region: Region, call: exp.Expression) -> bool:
    """Whether the operation over the call is NULL by the call's type: asked with a value that fails where computed."""
    outer = call.parent
    while isinstance(outer, exp.Paren):
        outer = outer.parent
    operations = (exp.Bracket, exp.Dot, exp.Anonymous, exp.Binary)
    if call.find(exp.Null) is None or not isinstance(outer, operations) or isinstance(outer, exp.Connector):
        return False
    if call_name(outer) in _CONDITIONAL or type_of(context, call, region.schema) != _NULL:
        return False
    failing = exp.Anonymous(this="error", expressions=[exp.Literal.string("")])
    call.replace(failing)
    assert isinstance(outer, exp.Expression)
    answered = _is_computed(context, typed_select([outer], region.schema))
    failing.replace(call)
    return answered
