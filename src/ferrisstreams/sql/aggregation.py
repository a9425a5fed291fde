"""A query with aggregates, taken apart: single calls below, and what is computed from them above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from ferrisstreams.errors import SqlError
from ferrisstreams.plan.expressions import column, column_name
from ferrisstreams.plan.nodes import WINDOW_END, WINDOW_START, Aggregate, AssignWindow, Emit, Named, Plan, Window
from ferrisstreams.plan.rewrites import VOLATILE
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.calls import call_name, has_aggregate, is_aggregate
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import describe, typed_select
from ferrisstreams.sql.maps import sort_arguments, sort_key
from ferrisstreams.sql.resolve import EDGE
from ferrisstreams.sql.syntax import span_of

#: Digits that the average of decimals has beyond those of its column (semantics, 6), and the most that a decimal has.
_AVERAGE_DIGITS = 6
_DECIMAL_DIGITS_MAX = 38


@dataclass(slots=True)
class Grouping:
    """The keys of a query and the aggregate calls found so far. `windowed` allows the window's bounds; `bounds` are
    those that the query reads from results, and stays in."""

    context: Context
    keys: tuple[Named, ...]
    windowed: bool
    calls: list[Named] = field(default_factory=list)
    bounds: tuple[Named, ...] = ()

    def above(self, tree: exp.Expression) -> exp.Expression:
        """The expression over the aggregate's output: keys, calls and window bounds become its columns.

        Raises `SqlError` for a column that is neither grouped nor aggregated.
        """
        holder = exp.Tuple(expressions=[tree.copy()])
        self._visit(holder.expressions[0])
        result = holder.expressions[0]
        assert isinstance(result, exp.Expression)
        result.pop()
        return result

    def _visit(self, node: exp.Expr) -> None:
        replacement = self._replacement(node)
        if replacement is not None:
            node.replace(replacement)
            return
        if isinstance(node, exp.Column):
            raise self.context.error(
                node,
                f"{node.name} is neither in GROUP BY nor inside an aggregate",
                "E1102",
                f"add {node.name} to GROUP BY, or write any_value({node.name})",
            )
        for child in list(node.iter_expressions()):
            self._visit(child)

    def _replacement(self, node: exp.Expr) -> exp.Column | None:
        if isinstance(node, exp.Column) and node.meta_get(EDGE):
            return column(node.name)
        key = next((key for key in (*self.keys, *self.bounds) if key.expression == node), None)
        if key is not None:
            return column(key.name)
        inner = node.this if isinstance(node, exp.Filter) else node
        if is_aggregate(self.context, inner):
            assert isinstance(node, exp.Expression)
            return column(self._call(node))
        return None

    def _call(self, node: exp.Expression) -> str:
        """The name of the call's column; equal calls share one."""
        inner = node.this if isinstance(node, exp.Filter) else node
        for part in node.walk():
            if part is not inner and is_aggregate(self.context, part):
                raise self.context.error(
                    part, "an aggregate stands inside an aggregate", "E1102", "aggregate in a subquery or a view first"
                )
            if part.meta_get(EDGE):
                raise self.context.error(
                    part,
                    f"{part.name} stands inside an aggregate",
                    "E1208",
                    "use it outside: it is the same for all rows of a window",
                )
        same = next((call for call in self.calls if _same(call.expression, node)), None)
        if same is not None:
            return same.name
        taken = {key.name.lower() for key in self.keys}
        span = span_of(node)
        position = self.context.source.position(span) if span is not None else None
        named = Named(_free("_agg", len(self.calls), taken), node.copy(), position)
        self.calls.append(named)
        return named.name

    def aggregate(self, plan: Plan, window: Window | None, emit: Emit) -> Aggregate:
        """The node of all keys and calls over `plan`, with types."""
        schema = plan.schema
        below = AssignWindow(plan, window) if window is not None else plan
        bounds: tuple[Column, ...] = ()
        if window is not None:
            bounds = (Column(WINDOW_START, "TIMESTAMP", False), Column(WINDOW_END, "TIMESTAMP", False))
        trees = [named.expression for named in (*self.keys, *self.calls)]
        kinds = [kind for _, kind in describe(self.context, trees, schema)]
        keys = [
            Column(key.name, kind, _nullable(key.expression, schema))
            for key, kind in zip(self.keys, kinds, strict=False)
        ]
        self._check_kept_arguments(schema)
        averages = self._averages(schema)
        calls = [
            Column(call.name, averages.get(call.name, kind), _head(call.expression) != "count")
            for call, kind in zip(self.calls, kinds[len(keys) :], strict=True)
        ]
        groups = tuple(
            replace(key, expression=sort_key(self.context, key.expression, kept.type))
            for key, kept in zip(self.keys, keys, strict=True)
        )
        made = tuple(
            replace(call, expression=sort_arguments(self.context, call.expression, schema)) for call in self.calls
        )
        return Aggregate(below, groups, made, emit, Schema((*bounds, *keys, *calls)))

    def _check_kept_arguments(self, schema: Schema) -> None:
        """Refuse a call that takes its arguments only because the engine finds them to be constant: the state keeps
        them as values of their type. One that takes them because they are NULL gets NULL."""
        for number, call in enumerate(self.calls):
            inner = call.expression.this if isinstance(call.expression, exp.Filter) else call.expression
            arguments = [part for part in _arguments(inner) if part.find(exp.Column) and _may_be_folded(inner, part)]
            if not arguments:
                continue
            kinds = [kind for _, kind in describe(self.context, arguments, schema)]
            kept = Schema(tuple(Column(f"_kept{n}", kind, True) for n, kind in enumerate(kinds)))
            try:
                given = [column(item.name) for item in kept]
                describe(self.context, [_with_arguments(inner, arguments, given)], Schema((*kept, *schema)))
            except SqlError:
                given_null = [exp.Is(this=exp.paren(part.copy()), expression=exp.null()) for part in arguments]
                if not all(self.context.connection.rows(typed_select(given_null, schema))[0]):
                    raise
                made = _with_arguments(call.expression, arguments, [exp.null() for _ in arguments])
                describe(self.context, [made], schema)
                self.calls[number] = replace(call, expression=made)

    def _averages(self, schema: Schema) -> dict[str, str]:
        """Types of the averages of decimals, which DuckDB would give as DOUBLE."""
        found = [
            (call.name, _argument(call.expression)) for call in self.calls if _head(call.expression) in ("avg", "mean")
        ]
        kinds = describe(self.context, [argument for _, argument in found], schema)
        types: dict[str, str] = {}
        for (name, _), (_, kind) in zip(found, kinds, strict=True):
            if kind.startswith("DECIMAL("):
                scale = int(kind.rstrip(")").split(",")[1])
                types[name] = f"DECIMAL({_DECIMAL_DIGITS_MAX},{min(scale + _AVERAGE_DIGITS, _DECIMAL_DIGITS_MAX)})"
        return types


def name_keys(trees: Sequence[exp.Expression]) -> tuple[Named, ...]:
    """Keys under names of their own: a column's name, else a number. Repeated keys become one."""
    keys: list[Named] = []
    for tree in trees:
        if any(key.expression == tree for key in keys):
            continue
        taken = {key.name.lower() for key in keys} | {WINDOW_START, WINDOW_END}
        name = column_name(tree)
        if name is None or name.lower() in taken:
            name = _free("_key", len(keys), taken)
        keys.append(Named(name, tree))
    return tuple(keys)


def uses_aggregate(context: Context, trees: Sequence[exp.Expr]) -> bool:
    return any(has_aggregate(context, tree) for tree in trees)


def _free(prefix: str, number: int, taken: set[str]) -> str:
    while f"{prefix}{number}" in taken:
        number += 1
    return f"{prefix}{number}"


def _same(one: exp.Expression, other: exp.Expression) -> bool:
    """Equal trees; with calls of chance inside, only copies of one another."""
    return one == other and _marks(one) == _marks(other)


def _marks(tree: exp.Expression) -> list[object]:
    return [node.meta_get(VOLATILE) for node in tree.walk() if node.meta_get(VOLATILE) is not None]


def _head(tree: exp.Expression) -> str | None:
    return call_name(tree.this if isinstance(tree, exp.Filter) else tree)


def _argument(tree: exp.Expression) -> exp.Expression:
    call = tree.this if isinstance(tree, exp.Filter) else tree
    argument = call.expressions[0] if isinstance(call, exp.Anonymous) else call.this
    while isinstance(argument, exp.Distinct | exp.Order):
        argument = argument.expressions[0] if isinstance(argument, exp.Distinct) else argument.this
    assert isinstance(argument, exp.Expression)
    return argument


def _may_be_folded(call: exp.Expression, argument: exp.Expression) -> bool:
    joins = call_name(call) in ("string_agg", "listagg", "group_concat")
    return any(isinstance(part, exp.Null) or (joins and call_name(part) == "typeof") for part in argument.walk())


def _arguments(call: exp.Expr) -> Iterator[exp.Expression]:
    for part in call.iter_expressions():
        if isinstance(part, exp.Distinct | exp.Order | exp.Ordered):
            yield from _arguments(part)
        elif isinstance(part, exp.Expression) and not isinstance(part, exp.Star):
            yield part


def _with_arguments(
    call: exp.Expression, arguments: Sequence[exp.Expression], given: Sequence[exp.Expression]
) -> exp.Expression:
    """The call, maybe with FILTER, with others in the place of these arguments."""
    tree = call.copy()
    inner = tree.this if isinstance(tree, exp.Filter) else tree
    for argument in list(_arguments(inner)):
        if argument in arguments:
            argument.replace(given[arguments.index(argument)].copy())
    return tree


def _nullable(tree: exp.Expression, schema: Schema) -> bool:
    found = schema.get(column_name(tree) or "")
    return found is None or found.nullable
