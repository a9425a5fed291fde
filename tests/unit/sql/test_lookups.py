"""Joins of a stream and a table: which are lookups, and by which of their equalities."""

from __future__ import annotations

import pytest
from sqlglot import exp

from ferrisstreams.plan.expressions import column, typed_as
from ferrisstreams.plan.nodes import Join, JoinKind, KeyPair, Latest, Plan, Scan, SourceSpec
from ferrisstreams.schema import Column, EventTime, Schema
from ferrisstreams.sql.lookups import as_lookup, joined_schema, keys_by_column, stream_first
from ferrisstreams.sql.relations import renamed

ORDERS = Schema((Column("id", "BIGINT"), Column("who", "VARCHAR"), Column("ts", "TIMESTAMP")))
RATES = Schema((Column("a", "INTEGER", False), Column("b", "VARCHAR", False), Column("rate", "DOUBLE")))


def stream(name: str) -> Plan:
    plan = Scan(SourceSpec(name, ORDERS, EventTime("ts"), {}), ORDERS)
    return renamed(plan, {column.name: f"{name}.{column.name}" for column in ORDERS})


def table(name: str) -> Plan:
    plan = Latest(Scan(SourceSpec(name, RATES, None, {}), RATES), ("a", "b"))
    return renamed(plan, {column.name: f"{name}.{column.name}" for column in RATES})


def pair(left: str, right: str) -> KeyPair:
    return KeyPair(column(left), column(right))


def join(left: Plan, right: Plan, kind: JoinKind, *keys: KeyPair) -> Join:
    return Join(left, right, kind, keys, (), joined_schema(left, right, kind))


WHOLE = (pair("s.who", "t.b"), pair("s.id", "t.a"))


@pytest.mark.parametrize("kind", [JoinKind.INNER, JoinKind.LEFT])
def test_equality_with_the_whole_key_is_a_lookup(kind: JoinKind) -> None:
    found = as_lookup(join(stream("s"), table("t"), kind, *WHOLE))
    assert found is not None
    assert (found.lookup, found.kind, found.keys) == (True, kind, (WHOLE[1], WHOLE[0]))
    assert (found.facts.changes, found.facts.event_time) == (False, "s.ts")


def test_key_in_a_wider_type_is_the_key() -> None:
    wider = KeyPair(column("s.id"), typed_as(column("t.a"), "BIGINT"))
    found = as_lookup(join(stream("s"), table("t"), JoinKind.INNER, wider, WHOLE[0]))
    assert found is not None
    assert found.keys == (wider, WHOLE[0])


def test_other_equalities_are_conditions() -> None:
    more = pair("s.who", "t.rate")
    found = as_lookup(join(stream("s"), table("t"), JoinKind.INNER, more, *WHOLE))
    assert found is not None
    assert found.residual == (exp.EQ(this=more.left, expression=more.right),)


@pytest.mark.parametrize(
    ("written", "kind"), [(JoinKind.INNER, JoinKind.INNER), (JoinKind.RIGHT, JoinKind.LEFT)], ids=str
)
def test_table_written_first_comes_second(written: JoinKind, kind: JoinKind) -> None:
    turned = tuple(KeyPair(each.right, each.left) for each in WHOLE)
    found = as_lookup(join(table("t"), stream("s"), written, *turned))
    assert found is not None
    assert (found.kind, found.keys) == (kind, (WHOLE[1], WHOLE[0]))
    assert found.schema.names == (*found.left.schema.names, *found.right.schema.names)
    assert found.left.facts.event_time == "s.ts"


@pytest.mark.parametrize(
    "other",
    [
        join(stream("s"), table("t"), JoinKind.FULL, *WHOLE),
        join(stream("s"), table("t"), JoinKind.RIGHT, *WHOLE),
        join(table("t"), stream("s"), JoinKind.LEFT, *WHOLE),
        join(stream("s"), table("t"), JoinKind.INNER, WHOLE[0]),
        join(stream("s"), stream("o"), JoinKind.INNER, pair("s.id", "o.id")),
        join(table("t"), table("u"), JoinKind.INNER, pair("t.a", "u.a"), pair("t.b", "u.b")),
    ],
    ids=["full", "right", "table first", "part of the key", "streams", "tables"],
)
def test_others_are_no_lookups(other: Join) -> None:
    assert as_lookup(other) is None


def test_two_tables_stay_as_they_are_written() -> None:
    tables = join(table("t"), table("u"), JoinKind.LEFT, pair("t.a", "u.a"))
    assert stream_first(tables) is tables


def test_first_equality_with_a_column_is_its_own() -> None:
    found = keys_by_column(join(stream("s"), table("t"), JoinKind.INNER, *WHOLE, pair("s.ts", "t.a")))
    assert found == {"t.a": WHOLE[1], "t.b": WHOLE[0]}


def test_columns_of_a_side_that_can_be_missing_can_be_null() -> None:
    nullable = {kind: [item.nullable for item in joined_schema(table("t"), table("u"), kind)] for kind in JoinKind}
    there, missing = [False, False, True], [True, True, True]
    assert nullable == {
        JoinKind.INNER: there + there,
        JoinKind.LEFT: there + missing,
        JoinKind.RIGHT: missing + there,
        JoinKind.FULL: missing + missing,
        JoinKind.SEMI: there,
        JoinKind.ANTI: there,
    }
