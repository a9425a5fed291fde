"""An aggregate call taken apart: its name, its arguments, DISTINCT, FILTER and ORDER BY."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp


@dataclass(frozen=True, slots=True)
class Call:
    """`tree` is the call without its FILTER; `arguments` are its plain arguments (without DISTINCT and ORDER BY)."""

    name: str
    tree: exp.Expression
    arguments: tuple[exp.Expression, ...]
    distinct: bool
    ordered: bool
    condition: exp.Expression | None

    def guarded(self, argument: exp.Expression) -> exp.Expression:
        """The argument on rows that pass the FILTER, NULL on others: it is not evaluated there."""
        if self.condition is None:
            return argument.copy()
        return exp.Case().when(self.condition.copy(), argument.copy())


#: Names under which DuckDB knows the same aggregate.
_SAME = {
    "mean": "avg", "favg": "favg", "countif": "count_if", "arbitrary": "first", "first_value": "first",
    "last_value": "last", "argmin": "arg_min", "min_by": "arg_min", "argmax": "arg_max", "max_by": "arg_max",
    "stddev": "stddev_samp", "variance": "var_samp", "array_agg": "list", "listagg": "string_agg",
    "group_concat": "string_agg",
}  # fmt: skip


def take_apart(tree: exp.Expression) -> Call:
    """The parts of one aggregate call."""
    condition = None
    if isinstance(tree, exp.Filter):
        condition = tree.expression.this
        tree = tree.this
    if isinstance(tree, exp.IgnoreNulls):
        tree = tree.this
    name = tree.sql("duckdb").split("(", 1)[0].strip().strip('"').lower()
    arguments: list[exp.Expression] = []
    distinct = ordered = isinstance(tree, exp.WithinGroup)
    for part in _direct(tree):
        inner = part
        if isinstance(inner, exp.Order):
            ordered, inner = True, inner.this
        if isinstance(inner, exp.Distinct):
            distinct = True
            arguments.extend(inner.expressions)
        elif isinstance(inner, exp.Expression):
            arguments.append(inner)
    if isinstance(tree, exp.WithinGroup):
        distinct = False
    return Call(_SAME.get(name, name), tree, tuple(arguments), distinct, ordered, condition)


def _direct(tree: exp.Expression) -> list[exp.Expression]:
    parts: list[exp.Expression] = []
    for value in tree.args.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, exp.Expression) and not isinstance(item, exp.Star):
                parts.append(item)
    return parts


#: Parts of a call that are not arguments themselves but hold some.
_SYNTAX = (exp.Order, exp.Ordered, exp.Distinct, exp.WithinGroup, exp.Filter, exp.Where, exp.IgnoreNulls)


def replace_arguments(tree: exp.Expression, replace: Callable[[exp.Expression], exp.Expression]) -> exp.Expression:
    """A copy of the call with every argument (also in FILTER and ORDER BY) that is of a row replaced."""
    root = tree.copy()
    _descend(root, replace, is_call=not isinstance(root, _SYNTAX))
    return root


def _descend(node: exp.Expression, replace: Callable[[exp.Expression], exp.Expression], is_call: bool) -> None:
    for key, value in list(node.args.items()):
        if isinstance(value, list):
            node.set(key, [_replaced(item, node, replace, is_call) for item in value])
        elif isinstance(value, exp.Expression):
            node.set(key, _replaced(value, node, replace, is_call))


def _replaced(
    part: object, parent: exp.Expression, replace: Callable[[exp.Expression], exp.Expression], is_call: bool
) -> object:
    if not isinstance(part, exp.Expression):
        return part
    wraps_call = (
        not is_call and isinstance(parent, exp.Filter | exp.WithinGroup | exp.IgnoreNulls) and (part is parent.this)
    )
    if isinstance(part, _SYNTAX) or wraps_call:
        _descend(part, replace, is_call or (wraps_call and not isinstance(part, _SYNTAX)))
        return part
    return replace(part) if is_of_row(part) else part


def is_of_row(part: exp.Expression) -> bool:
    """Whether a part reads a column, or fails a row that comes to it: constants must stay in a call."""
    if part.find(exp.Column) is not None:
        return True
    return any(call.name.lower() in ("error", "assert_true") for call in part.find_all(exp.Anonymous))
