"""Types with parts: what is done to the leaves of a type, and where they stand in a JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.formats.expressions import any_of, call, data_type, each, number, text, unless_null

T = exp.DataType.Type

_LISTS = (T.ARRAY, T.LIST)
CONTAINERS = (*_LISTS, T.STRUCT, T.MAP)

_MAP = data_type("MAP(VARCHAR, JSON)")


def struct_fields(kind: exp.DataType) -> list[tuple[str, exp.DataType]]:
    return [(field.this.name, field.args["kind"]) for field in kind.expressions]


def inner_types(kind: exp.DataType) -> list[exp.DataType]:
    """The types of a container's parts."""
    return [inner for _, inner in struct_fields(kind)] if kind.this == T.STRUCT else list(kind.expressions)


def with_leaves(kind: exp.DataType, leaf: Callable[[exp.DataType], exp.DataType]) -> exp.DataType:
    """The type with other leaves; the keys of maps stay text."""
    if kind.this not in CONTAINERS:
        return leaf(kind)
    result = kind.copy()
    if kind.this == T.STRUCT:
        for field in result.expressions:
            field.set("kind", with_leaves(field.args["kind"], leaf))
        return result
    *keys, inner = result.expressions
    result.set("expressions", [*keys, with_leaves(inner, leaf)])
    return result


def each_leaf(kind: exp.DataType, value: exp.Expr, leaf: Callable[[exp.DataType, exp.Expr], exp.Expr]) -> exp.Expr:
    """The value with `leaf` done to each of its leaves."""
    match kind.this:
        case T.STRUCT:
            pairs = [
                exp.PropertyEQ(
                    this=exp.to_identifier(name, quoted=True), expression=each_leaf(inner, _part(value, name), leaf)
                )
                for name, inner in struct_fields(kind)
            ]
            return unless_null(value, exp.Struct(expressions=pairs))
        case T.MAP:
            inner = kind.expressions[1]
            values = each("list_transform", call("map_values", value.copy()), lambda x: each_leaf(inner, x, leaf))
            return unless_null(value, call("map", call("map_keys", value.copy()), values))
        case T.ARRAY | T.LIST:
            inner = kind.expressions[0]
            made = each("list_transform", value.copy(), lambda x: each_leaf(inner, x, leaf))
            return exp.cast(made, kind.copy()) if kind.args.get("values") else made
    return leaf(kind, value)


def any_leaf(
    kind: exp.DataType, value: exp.Expr, leaf: Callable[[exp.DataType, exp.Expr], exp.Expr | None]
) -> exp.Expr | None:
    """Whether the condition `leaf` holds for any leaf; None when there is none to ask."""
    match kind.this:
        case T.STRUCT:
            parts = (any_leaf(inner, _part(value, name), leaf) for name, inner in struct_fields(kind))
            return any_of(part for part in parts if part is not None)
        case T.MAP:
            return _any_in_list(kind.expressions[1], call("map_values", value.copy()), leaf)
        case T.ARRAY | T.LIST:
            return _any_in_list(kind.expressions[0], value.copy(), leaf)
    return leaf(kind, value)


def _any_in_list(
    kind: exp.DataType, values: exp.Expr, leaf: Callable[[exp.DataType, exp.Expr], exp.Expr | None]
) -> exp.Expr | None:
    if any_leaf(kind, exp.column("x"), leaf) is None:
        return None
    found = each("list_filter", values, lambda x: exp.func("COALESCE", any_leaf(kind, x, leaf), exp.false()))
    return exp.GT(this=call("len", found), expression=number(0))


@dataclass(frozen=True, slots=True)
class Node:
    """A place within a column's values: its JSON path, the type there, and what is there in a row, as a list made of
    the column's value. With `many`, the path leads to several values. `as_map` is the column's type with a map in this
    place, of a struct: a map takes no key twice.
    """

    path: str
    many: bool
    kind: exp.DataType
    values: Callable[[exp.Expr], exp.Expr]
    as_map: exp.DataType


def nodes(name: str, kind: exp.DataType) -> Iterator[Node]:
    """The column itself and all that is in it."""
    top = Node(f"$.{_quoted(name)}", False, kind, lambda raw: call("list_value", raw.copy()), _MAP.copy())
    return _nodes(top, lambda inner: inner)


def _nodes(node: Node, whole: Callable[[exp.DataType], exp.DataType]) -> Iterator[Node]:
    """`whole` gives the column's type with another one in the node's place."""
    yield node
    kind = node.kind
    match kind.this:
        case T.STRUCT:
            for place, (name, inner) in enumerate(struct_fields(kind)):

                def with_field(other: exp.DataType, place: int = place) -> exp.DataType:
                    result = kind.copy()
                    result.expressions[place].set("kind", other)
                    return whole(result)

                def values(raw: exp.Expr, name: str = name) -> exp.Expr:
                    return each("list_transform", node.values(raw), lambda x: _part(x, name))

                path = f"{node.path}.{_quoted(name)}"
                yield from _nodes(Node(path, node.many, inner, values, with_field(_MAP)), with_field)
        case T.MAP:
            yield from _inner_nodes(node, whole, f"{node.path}.*", lambda x: call("map_values", x))
        case T.ARRAY | T.LIST:
            plain = exp.DataType(this=T.ARRAY, expressions=[kind.expressions[0].copy()], nested=True)
            as_list = plain if kind.args.get("values") else None
            yield from _inner_nodes(
                node, whole, f"{node.path}[*]", lambda x: x.copy() if as_list is None else exp.cast(x, as_list.copy())
            )


def _inner_nodes(
    node: Node, whole: Callable[[exp.DataType], exp.DataType], path: str, parts: Callable[[exp.Expr], exp.Expr]
) -> Iterator[Node]:
    def with_inner(other: exp.DataType) -> exp.DataType:
        result = node.kind.copy()
        result.set("expressions", [*result.expressions[:-1], other])
        return whole(result)

    def values(raw: exp.Expr) -> exp.Expr:
        return call("flatten", each("list_transform", node.values(raw), parts))

    yield from _nodes(Node(path, True, node.kind.expressions[-1], values, with_inner(_MAP)), with_inner)


def _quoted(name: str) -> str:
    """A key in a JSON path."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _part(value: exp.Expr, name: str) -> exp.Expr:
    return call("struct_extract", value.copy(), text(name))
