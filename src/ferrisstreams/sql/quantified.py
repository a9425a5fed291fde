"""Comparisons with the elements of a list: `x = ANY(list)`, `x <> ALL(list)`.

The engine reads them as subqueries, over which it cannot try whether a row fails. Here a list is compared element by
element.
"""

from __future__ import annotations

from itertools import count

from sqlglot import exp

from ferrisstreams.sql.calls import call_name

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


def compare_elements(holder: exp.Expression) -> None:
    """Replace quantified comparisons inside `holder`, inner ones first."""
    for comparison in reversed(list(holder.find_all(*_COMPARISONS, bfs=False))):
        values = _quantified(comparison.expression)
        if values is not None:
            comparison.replace(_elementwise(comparison, *values))


def _quantified(operand: exp.Expr) -> tuple[exp.Expr, bool] | None:
    """The list behind ANY, SOME or ALL, and whether all of its elements count."""
    if isinstance(operand, exp.Any):
        return operand.this.unnest(), False
    name = (call_name(operand) or "").lower()
    if name in ("all", "some") and len(operand.expressions) == 1:
        return operand.expressions[0], name == "all"
    return None


def _elementwise(comparison: exp.Expr, values: exp.Expr, every: bool) -> exp.Expression:
    """In the logic of three values: what decides, else NULL where an element gave NULL, else the answer for no element
    (which a list that is NULL has too)."""
    names = {name.name for name in comparison.find_all(exp.Identifier)}
    item = exp.to_identifier(next(name for n in count() if (name := f"_item{n}") not in names), quoted=True)
    compared = comparison.copy()
    compared.set("expression", item.copy())
    made = exp.func("list_transform", values.copy(), exp.Lambda(this=compared, expressions=[item], colon=True))
    decides = exp.func("list_contains", made, exp.Boolean(this=not every))
    unknown = exp.NEQ(this=exp.func("len", made.copy()), expression=exp.func("list_count", made.copy()))
    return exp.Paren(
        this=exp.Case(
            ifs=[exp.If(this=decides, true=exp.Boolean(this=not every)), exp.If(this=unknown, true=exp.null())],
            default=exp.Boolean(this=every),
        )
    )
