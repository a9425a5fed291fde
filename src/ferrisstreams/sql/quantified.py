"""Comparisons with the elements of a list: `x = ANY(list)`, `x <> ALL(list)`.

The engine reads them as subqueries, over which it cannot try whether a row fails. Here a list is compared element by
element.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from sqlglot import exp

from ferrisstreams.formats.expressions import call
from ferrisstreams.plan.expressions import QUANTIFIED, written_comparison
from ferrisstreams.schema import Schema
from ferrisstreams.sql.calls import call_name
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import type_of

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


def compare_elements(holder: exp.Expression) -> None:
    """Replace quantified comparisons inside `holder`, inner ones first."""
    for comparison in reversed(list(holder.find_all(*_COMPARISONS, bfs=False))):
        values = _quantified(comparison.expression)
        if values is not None:
            comparison.replace(_elementwise(comparison, *values))


def check_list(context: Context, node: exp.Expr, schema: Schema) -> None:
    """Refuse a comparison with what is not a list, if `node` is a rewritten one. Raises `SqlError`."""
    if node.meta_get(QUANTIFIED) is None:
        return
    values = written_comparison(node).expression.this
    kind = type_of(context, values, schema)
    if not kind.endswith("]") and kind != '"NULL"':
        message = f"{node.meta_get(QUANTIFIED)} needs a list, and this is {kind}"
        raise context.error(values, message, "E1102", "write x = y, or x IN (y, z)")


def element_comparisons(tree: exp.Expr) -> Iterator[exp.Expression]:
    """Of a rewritten comparison, what is compared for the list's first element; else nothing."""
    if tree.meta_get(QUANTIFIED) is not None:
        written = written_comparison(tree)
        first = exp.Anonymous(this="list_extract", expressions=[written.expression.this, exp.Literal.number(1)])
        written.set("expression", first)
        yield written


def _quantified(operand: exp.Expr) -> tuple[exp.Expr, str] | None:
    """The list behind ANY, SOME or ALL, and the word."""
    if isinstance(operand, exp.Any):
        return operand.this.unnest(), "ANY"
    name = (call_name(operand) or "").upper()
    return (operand.expressions[0], name) if name in ("ALL", "SOME") and len(operand.expressions) == 1 else None


def _elementwise(comparison: exp.Expr, values: exp.Expr, word: str) -> exp.Expression:
    """In the logic of three values: what decides, else NULL where an element gave NULL, else the answer for no element
    (which a list that is NULL has too). The list's answers are made once, and so is what is compared with them."""
    every = word == "ALL"
    names = {name.name for name in comparison.find_all(exp.Identifier)}
    unused = (exp.to_identifier(name, quoted=True) for n in count() if (name := f"_item{n}") not in names)
    item, left, answers = next(unused), next(unused), next(unused)
    compared = comparison.copy()
    compared.set("expression", item.copy())
    once = not isinstance(comparison.this, exp.Column | exp.Literal | exp.Identifier)
    if once:
        compared.set("this", left.copy())
    inner = call("list_transform", values.copy(), _lambda(item, compared))
    given = exp.Array(expressions=[comparison.this.copy() if once else inner])
    made = call("list_transform", given, _lambda(left, inner)) if once else given
    decides = call("list_contains", answers.copy(), exp.Boolean(this=not every))
    unknown = exp.NEQ(this=call("len", answers.copy()), expression=call("list_count", answers.copy()))
    verdict = exp.Case(
        ifs=[exp.If(this=decides, true=exp.Boolean(this=not every)), exp.If(this=unknown, true=exp.null())],
        default=exp.Boolean(this=every),
    )
    result = call("list_extract", call("list_transform", made, _lambda(answers, verdict)), exp.Literal.number(1))
    result.meta[QUANTIFIED] = word
    result.update_positions(comparison)
    return result


def _lambda(variable: exp.Expr, body: exp.Expr) -> exp.Lambda:
    return exp.Lambda(this=body, expressions=[variable.copy()], colon=True)
