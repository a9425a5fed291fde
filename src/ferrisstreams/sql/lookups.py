"""Lookups: joins in which a row of a stream meets the row that a table has when it comes."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from ferrisstreams.plan.expressions import column_name
from ferrisstreams.plan.nodes import Join, JoinKind, KeyPair, Plan
from ferrisstreams.schema import Schema
from ferrisstreams.sql.relations import table_in


def stream_first(join: Join) -> Join:
    """The join with its sides exchanged, where the left one is a table and the right one a stream."""
    if table_in(join.left) is None or table_in(join.right) is not None or join.right.facts.changes:
        return join
    kind = {JoinKind.LEFT: JoinKind.RIGHT, JoinKind.RIGHT: JoinKind.LEFT}.get(join.kind, join.kind)
    keys = tuple(KeyPair(pair.right, pair.left) for pair in join.keys)
    schema = joined_schema(join.right, join.left, kind)
    return replace(join, left=join.right, right=join.left, kind=kind, keys=keys, schema=schema)


def as_lookup(join: Join) -> Join | None:
    """The join as one in which rows of a stream meet a table by its whole key, if it is. Other equalities are
    conditions."""
    join = stream_first(join)
    if join.kind.gives_left or table_in(join.right) is None or join.left.facts.changes or join.kind.keeps_right:
        return None
    key, given = join.right.facts.key or (), keys_by_column(join)
    if not key or not all(name in given for name in key):
        return None
    keys = tuple(given[name] for name in key)
    others = tuple(exp.EQ(this=pair.left, expression=pair.right) for pair in join.keys if pair not in keys)
    return replace(join, keys=keys, residual=others + join.residual, lookup=True)


def keys_by_column(join: Join) -> dict[str, KeyPair]:
    """The keys of a join by the column of the right side that each is, or is in a wider type."""
    trees = [(pair.right.this if isinstance(pair.right, exp.Cast) else pair.right, pair) for pair in join.keys]
    return {name: pair for tree, pair in reversed(trees) if (name := column_name(tree)) is not None}


def joined_schema(left: Plan, right: Plan, kind: JoinKind) -> Schema:
    """The columns of both sides. Those of a side that can be missing can be NULL."""
    lefts = [replace(item, nullable=item.nullable or kind.keeps_right) for item in left.schema]
    if kind.gives_left:
        return Schema(tuple(lefts))
    rights = [replace(item, nullable=item.nullable or kind.keeps_left) for item in right.schema]
    return Schema((*lefts, *rights))
