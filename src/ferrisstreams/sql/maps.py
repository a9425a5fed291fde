"""Maps as values: two with the same entries are one, whatever order the entries stand in.

The engine goes by that order. So where a map is compared, becomes a key or is aggregated, its entries are sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp

from ferrisstreams.formats.expressions import call, data_type, unless_null
from ferrisstreams.formats.nested import struct_fields
from ferrisstreams.plan.expressions import SORTED, UNSORTED
from ferrisstreams.schema import Schema
from ferrisstreams.sql.calls import call_name
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import describe
from ferrisstreams.sql.lambdas import Region

T = exp.DType

#: What compares its operands.
_COMPARING = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Any,
    exp.Greatest, exp.Least, exp.Nullif,
)  # fmt: skip
_COMPARING_CALLS = frozenset((
    "nullif", "greatest", "least", "list_contains", "list_has", "array_contains", "array_has", "list_position",
    "list_indexof", "array_position", "array_indexof", "list_has_any", "array_has_any", "list_has_all",
    "array_has_all", "list_intersect", "array_intersect", "list_distinct", "array_distinct", "list_unique",
    "array_unique", "list_sort", "array_sort", "list_reverse_sort", "array_reverse_sort", "list_min", "list_max",
    "contains", "hash", "md5", "sha1", "sha256",
))  # fmt: skip

#: What is not a map, or has no type by itself.
_NO_MAPS = (exp.Literal, exp.Var, exp.Null, exp.Query, exp.Lambda, exp.Slice)

#: Aggregates that compare nothing, unless they are DISTINCT: what they keep stays as it came.
_KEEPING = frozenset((
    "count", "first", "last", "any_value", "arbitrary", "first_value", "last_value", "earliest_by_offset",
    "latest_by_offset", "list", "array_agg",
))  # fmt: skip


def compare_by_entries(context: Context, region: Region) -> None:
    """Let every comparison of maps in a region of a resolved expression go by their entries."""
    if _may_have_maps(region.holder, region.schema):
        _sort(context, [operand for node in region.walk() for operand in _operands(node)], region.schema)


def sort_arguments(context: Context, call_: exp.Expression, schema: Schema) -> exp.Expression:
    """A copy of an aggregate call in which maps that it compares are sorted."""
    holder = exp.Tuple(expressions=[call_.copy()])
    if _may_have_maps(holder, schema):
        tree = holder.expressions[0]
        tree = tree.this if isinstance(tree, exp.Filter) else tree
        ordered = tree.find(exp.Distinct, exp.Order) is not None
        if ordered or call_name(tree) not in _KEEPING:
            _sort(context, list(_arguments(tree)), schema)
    made = holder.expressions[0]
    assert isinstance(made, exp.Expression)
    made.pop()
    return made


def sort_key(context: Context, key: exp.Expression, type_: str) -> exp.Expression:
    """The key such that equal maps are one group."""
    return _sorted(context, key, key, type_)


def _may_have_maps(holder: exp.Expression, schema: Schema) -> bool:
    """False where no column and no function can give one, which is nearly always."""
    names = {node.name for node in holder.find_all(exp.Identifier)}
    if any("MAP(" in found.type for name in names if (found := schema.get(name)) is not None):
        return True
    return any(_makes_map(node) for node in holder.walk())


def _makes_map(node: exp.Expr) -> bool:
    if isinstance(node, exp.DataType):
        return bool(node.this == T.MAP)
    return isinstance(node, exp.ToMap | exp.Map) or any(
        part in (call_name(node) or "") for part in ("map", "histogram")
    )


def _operands(node: exp.Expr) -> Iterator[exp.Expression]:
    if isinstance(node, exp.Case):
        if node.this is not None:
            yield node.this
            yield from (branch.this for branch in node.args["ifs"])
        return
    if isinstance(node, _COMPARING) or call_name(node) in _COMPARING_CALLS:
        yield from (part for part in node.iter_expressions() if isinstance(part, exp.Expression))


def _arguments(tree: exp.Expr) -> Iterator[exp.Expression]:
    """The values that an aggregate reads, those that it is ordered by too."""
    for part in tree.iter_expressions():
        if isinstance(part, exp.Order | exp.Ordered | exp.Distinct | exp.WithinGroup | exp.IgnoreNulls):
            yield from _arguments(part)
        elif isinstance(part, exp.Expression) and not isinstance(part, exp.Star | exp.Identifier):
            yield part


def _sort(context: Context, values: Sequence[exp.Expression], schema: Schema) -> None:
    """Put sorted maps in the places of the values that are or hold some; inner ones come last."""
    typed = [value for value in values if not isinstance(value, _NO_MAPS)]
    kinds = [kind for _, kind in describe(context, typed, schema)]
    for value, kind in reversed(list(zip(typed, kinds, strict=True))):
        if "MAP(" in kind:
            brackets = exp.Paren(this=value.copy())
            brackets.meta[UNSORTED] = True
            made = _sorted(context, value, brackets, kind)
            made.meta[SORTED] = True
            value.replace(made)


def _sorted(context: Context, at: exp.Expression, value: exp.Expression, type_: str) -> exp.Expression:
    if "MAP(" not in type_:
        return value
    kind = data_type(type_)
    if any(part.this in (T.UNION, T.USERDEFINED) for part in kind.find_all(exp.DataType)):
        raise context.error(
            at,
            f"maps in {type_} cannot be compared: two are equal whatever the order of their entries",
            "E1201",
            "compare list_sort(map_entries(…)) of the map",
        )
    made = _canonical(kind, value, 0)
    return value if made is None else made


def _canonical(kind: exp.DataType, value: exp.Expression, depth: int) -> exp.Expression | None:
    """The value with the entries of all its maps sorted; None: it holds none."""
    match kind.this:
        case T.MAP:
            key, inner = kind.expressions

            def entry(name: exp.Expression) -> exp.Expression | None:
                return _struct([("key", key), ("value", inner)], name, depth + 1)

            entries: exp.Expression = call("map_entries", value)
            return call("map_from_entries", call("list_sort", _each(entries, entry, depth) or entries))
        case T.ARRAY | T.LIST:
            made = _each(value, lambda item: _canonical(kind.expressions[0], item, depth + 1), depth)
            return exp.cast(made, kind.copy()) if made is not None and kind.args.get("values") else made
        case T.STRUCT:
            parts = _struct(struct_fields(kind), value, depth)
            return None if parts is None else unless_null(value, parts)
    return None


def _struct(fields: Sequence[tuple[str, exp.DataType]], value: exp.Expression, depth: int) -> exp.Expression | None:
    parts = [(name, call("struct_extract", value.copy(), exp.Literal.string(name)), kind) for name, kind in fields]
    made = [(name, part, _canonical(kind, part.copy(), depth)) for name, part, kind in parts]
    if all(sorted_ is None for _, _, sorted_ in made):
        return None
    return exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=sorted_ or part)
            for name, part, sorted_ in made
        ]
    )


def _each(
    values: exp.Expression, body: Callable[[exp.Expression], exp.Expression | None], depth: int
) -> exp.Expression | None:
    """The list with `body` done to each of its items; None where that gives none."""
    name = exp.to_identifier(f"_m{depth}")
    made = body(name)
    return None if made is None else call("list_transform", values, exp.Lambda(this=made, expressions=[name.copy()]))
