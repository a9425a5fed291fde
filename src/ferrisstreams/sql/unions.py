"""UNION ALL: several queries as one relation, with the columns of the first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.errors import Position, SqlError
from ferrisstreams.plan.expressions import column, typed_as
from ferrisstreams.plan.nodes import Named, Plan, Project, UnionAll
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.common_types import FLOATS, UNTYPED, fits
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.header_items import misplaced
from ferrisstreams.sql.relations import Relation, project


def united(context: Context, nodes: Sequence[exp.Expr], relations: Sequence[Relation]) -> Relation:
    """The rows of all `relations`, which `nodes` were written for. The names are those of the first; the engine says
    which type holds the values of all of them. Raises `SqlError`."""
    first = relations[0]
    for node, relation in zip(nodes, relations, strict=True):
        _check_branch(context, node, relation, len(first.plan.schema))
    keys = {tuple(map(relation.plan.schema.names.index, relation.message_key)) for relation in relations}
    if len(keys) > 1:
        raise context.error(
            nodes[-1],
            "the queries of a UNION ALL name different message keys",
            "E1203",
            "write PRIMARY KEY at the same columns of each query",
        )
    schema = _united_schema(context, nodes, [relation.plan for relation in relations])
    branches = tuple(_as_branch(relation.plan, schema) for relation in relations)
    depends_on = dict.fromkeys(name for relation in relations for name in relation.depends_on)
    return Relation(UnionAll(branches, schema), first.message_key, tuple(depends_on))


def _check_branch(context: Context, node: exp.Expr, relation: Relation, columns: int) -> None:
    if relation.headers:
        raise misplaced(context, relation.headers[0].node)
    if len(relation.plan.schema) != columns:
        raise context.error(
            node,
            f"the first query of the UNION ALL has {_counted(columns)}, and this one has"
            f" {_counted(len(relation.plan.schema))}",
            "E1102",
            "give each query the same columns in the same order",
        )


def _counted(columns: int) -> str:
    return f"{columns} column{'s' * (columns != 1)}"


def _united_schema(context: Context, nodes: Sequence[exp.Expr], plans: Sequence[Plan]) -> Schema:
    def empty(plan: Plan) -> exp.Select:
        typed = [exp.alias_(typed_as(exp.null(), item.type), item.name, quoted=True) for item in plan.schema]
        return exp.Select(expressions=typed)

    for number, parts in enumerate(zip(*(plan.schema for plan in plans), strict=True), start=1):
        first = next((part.type for part in parts if part.type != UNTYPED), UNTYPED)
        for node, part in zip(nodes, parts, strict=True):
            if not fits(first, part.type):
                raise _unfit(context, node, f"column {number} ({parts[0].name})", (first, part.type))
    union: exp.Query = empty(plans[0])
    for plan in plans[1:]:
        union = exp.union(union, empty(plan), distinct=False, copy=False)
    kinds = [kind for _, kind in context.connection.types(exp.select("*").from_(union.subquery("united")))]
    columns = []
    for number, (parts, kind) in enumerate(zip(zip(*(plan.schema for plan in plans), strict=True), kinds, strict=True)):
        given = [part.type for part in parts]
        if kind == "DOUBLE" and not any(part in FLOATS for part in given):
            raise _unfit(context, nodes[-1], f"column {number + 1} ({parts[0].name})", (given[0], given[-1]))
        columns.append(Column(parts[0].name, kind, any(part.nullable for part in parts)))
    return Schema(tuple(columns))


def _unfit(context: Context, node: exp.Expr, what: str, types: tuple[str, str]) -> SqlError:
    return context.error(
        node,
        f"{what} of the UNION ALL is {types[0]} in the first query and {types[1]} in this one",
        "E1102",
        "cast one of them, so that both have one type",
    )


def _as_branch(plan: Plan, schema: Schema) -> Project:
    """The query's rows under the names and types of the union."""
    named = []
    for item, target in zip(plan.schema, schema, strict=True):
        given: exp.Expression = column(item.name)
        if item.type != target.type:
            given = typed_as(given, target.type)
        named.append(Named(target.name, given, _position(plan, item.name)))
    return project(plan, tuple(named), schema)


def _position(plan: Plan, name: str) -> Position | None:
    columns = plan.columns if isinstance(plan, Project) else ()
    return next((named.position for named in columns if named.name == name), None)
