"""UNION ALL: several queries as one relation, with the columns of the first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.duck.engine import BindError
from ferrisstreams.errors import Position
from ferrisstreams.plan.expressions import column, typed_as
from ferrisstreams.plan.nodes import Named, Plan, Project, UnionAll
from ferrisstreams.schema import Column, Schema
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
    if relation.aggregate is not None:
        raise context.error(
            node,
            "an aggregate in a query of a UNION ALL is not supported",
            "E1201",
            "aggregate the rows of all: SELECT … FROM (SELECT … UNION ALL SELECT …) GROUP BY …;"
            " or write one stream for each query",
        )
    if len(relation.plan.schema) != columns:
        raise context.error(
            node,
            f"the first query of the UNION ALL has {columns} columns, and this one {len(relation.plan.schema)}",
            "E1102",
            "give each query the same columns in the same order",
        )


def _united_schema(context: Context, nodes: Sequence[exp.Expr], plans: Sequence[Plan]) -> Schema:
    def empty(plan: Plan) -> exp.Select:
        return exp.Select(
            expressions=[exp.alias_(typed_as(exp.null(), c.type), c.name, quoted=True) for c in plan.schema]
        )

    try:
        union: exp.Query = empty(plans[0])
        for plan in plans[1:]:
            union = exp.union(union, empty(plan), distinct=False, copy=False)
        kinds = [kind for _, kind in context.connection.types(exp.select("*").from_(union.subquery("united")))]
    except BindError as error:
        raise context.error(
            nodes[-1],
            f"the columns of the UNION ALL do not fit together: {str(error).splitlines()[0]}",
            "E1102",
            "cast them to one type in each query",
        ) from error
    nullable = [any(parts) for parts in zip(*([item.nullable for item in plan.schema] for plan in plans), strict=True)]
    names = plans[0].schema.names
    return Schema(tuple(Column(name, kind, null) for name, kind, null in zip(names, kinds, nullable, strict=True)))


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
