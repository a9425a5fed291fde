"""The few shapes that statements of formats are built of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from sqlglot import exp

from ferrisstreams.plan.expressions import parsed_type


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A function of the engine under its own name."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def data_type(name: str) -> exp.DataType:
    """The tree of a type's SQL text. The engine describes the type of a bare NULL as `"NULL"`, also inside others."""
    return parsed_type(_TYPE_OF_NULL.sub("NULL", name))


#: The name of a field is followed by its type.
_TYPE_OF_NULL = re.compile(r'"NULL"(?=\s*(?:[,)\[]|$))')


def text(value: str) -> exp.Expr:
    return exp.Literal.string(value)


def number(value: int) -> exp.Expr:
    return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))


def each(function: str, values: exp.Expr, body: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """A list function with a lambda: `list_transform(values, x -> body(x))`. Nested ones get names of their own."""
    depth = sum(1 for _ in body(exp.column("x")).find_all(exp.Lambda))
    name = exp.to_identifier(f"x{depth}")
    # An identifier, as the parser makes of variables: a column would be looked for in the query.
    return call(function, values, exp.Lambda(this=body(name.copy()), expressions=[name]))


def unless_null(value: exp.Expr, result: exp.Expr) -> exp.Case:
    """`result`, but NULL where `value` is."""
    return exp.Case(ifs=[exp.If(this=exp.not_(value.copy().is_(exp.null())), true=result)])


def both(*conditions: exp.Expr) -> exp.Expr:
    """AND of conditions, which stand nowhere else: they are not copied."""
    return exp.and_(*conditions, copy=False)


def either(*conditions: exp.Expr) -> exp.Expr:
    """OR of conditions, which stand nowhere else: they are not copied."""
    return exp.or_(*conditions, copy=False)


def any_of(conditions: Iterable[exp.Expr]) -> exp.Expr | None:
    """The same; None when there are none."""
    given = list(conditions)
    return either(*given) if given else None


def alias(value: exp.Expr, name: str) -> exp.Alias:
    """The value under a name; it is not copied."""
    return exp.Alias(this=value, alias=exp.to_identifier(name, quoted=True))


def select_from(relation: exp.Query, name: str, *items: exp.Expr) -> exp.Select:
    """The items over a relation that is called `name` there; nothing is copied."""
    return exp.select(*items, copy=False).from_(relation.subquery(name, copy=False), copy=False)


def table_function(name: str, *arguments: exp.Expr, alias: str, **options: exp.Expr) -> exp.Table:
    """`name(arguments, key = value, …) AS alias`."""
    named = [exp.EQ(this=exp.column(exp.to_identifier(key)), expression=value) for key, value in options.items()]
    function = call(name, *arguments, *named)
    return exp.Table(this=function, alias=exp.TableAlias(this=exp.to_identifier(alias)))


def type_map(types: Iterable[tuple[str, str]]) -> exp.Expr:
    """`{'column': 'TYPE', …}` as the engine's readers take it."""
    pairs = [exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=text(kind)) for name, kind in types]
    return exp.Struct(expressions=pairs)
