"""The parts of an expression that have names of their own: bodies of lambdas, and what their variables are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.calls import call_name
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import type_of
from ferrisstreams.sql.quantified import check_list

#: A list's type in the engine's words, and that of its elements.
_LIST = re.compile(r"(.*)\[\d*\]", re.DOTALL)
_REDUCES = ("list_reduce", "array_reduce", "reduce")


@dataclass(frozen=True, slots=True)
class Region:
    """`holder`: an expression whose parts are described over `schema`. Those inside its lambdas are other regions."""

    holder: exp.Expression
    schema: Schema

    def walk(self) -> Iterator[exp.Expr]:
        for part in self.holder.iter_expressions():
            if not (isinstance(self.holder, exp.Lambda) and part.arg_key == "expressions"):
                yield from part.walk(prune=_is_lambda)


def regions(context: Context, schema: Schema, holder: exp.Expression) -> list[Region]:
    """The expression and the bodies of its lambdas, inner ones first. Raises `SqlError`."""
    outer = Region(holder, schema)
    found: list[Region] = []
    for node in outer.walk():
        check_list(context, node, schema)
        if isinstance(node, exp.Lambda):
            names = [name.name for name in node.expressions]
            types = _variables(context, schema, node)
            found += regions(context, _with(schema, names, types), node)
        elif isinstance(node, exp.Comprehension):
            types = [_element(context, schema, node.args["iterator"]), "BIGINT"]
            found += regions(context, _with(schema, variables_of(node), types), node)
    return [*found, outer]


def variables_of(node: exp.Comprehension) -> list[str]:
    """The names of an element and, if it has one, of its position."""
    position = node.args.get("position")
    return [node.expression.name, *([position.name] if position is not None else [])]


def _is_lambda(node: exp.Expr) -> bool:
    return isinstance(node, exp.Lambda | exp.Comprehension)


def _variables(context: Context, schema: Schema, node: exp.Lambda) -> list[str | None]:
    """The types of a lambda's variables; None where they are not known."""
    call = node.parent
    values = [part for part in call.iter_expressions() if part is not node] if call is not None else []
    element = _element(context, schema, values[0]) if values else None
    if call is not None and call_name(call) in _REDUCES:
        start = values[1] if len(values) > 1 else None
        first = element if start is None or not isinstance(start, exp.Expression) else type_of(context, start, schema)
        return [first, element, "BIGINT"]
    return [element, "BIGINT"]


def _element(context: Context, schema: Schema, values: exp.Expr) -> str | None:
    if not isinstance(values, exp.Expression):
        return None
    found = _LIST.fullmatch(type_of(context, values, schema))
    return None if found is None else found[1]


def _with(schema: Schema, names: list[str], types: list[str | None]) -> Schema:
    """The schema with variables, which hide columns of their names."""
    lower = {name.lower() for name in names}
    variables = [Column(name, kind, True) for name, kind in zip(names, types, strict=False) if kind is not None]
    return Schema(tuple(item for item in schema if item.name.lower() not in lower) + tuple(variables))
