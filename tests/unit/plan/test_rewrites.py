"""Each rewrite alone, on plans built by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlglot import exp, parse_one

from ferrisstreams.plan.expressions import conjuncts, substitute
from ferrisstreams.plan.nodes import (
    Aggregate,
    AssignWindow,
    Emit,
    Filter,
    Named,
    Plan,
    Project,
    Scan,
    Sink,
    SinkSpec,
    SourceSpec,
    Window,
    WindowKind,
)
from ferrisstreams.plan.rewrites import (
    REWRITES,
    VOLATILE,
    VOLATILE_TYPE,
    canonical,
    compute_volatile,
    drop_trivial_projections,
    merge_filters,
    project_under_sink,
    substitute_projections,
)
from ferrisstreams.schema import Column, EventTime, Schema

SCHEMA = Schema((Column("a", "INTEGER"), Column("b", "VARCHAR"), Column("ts", "TIMESTAMP")))
SCAN = Scan(SourceSpec("t", SCHEMA, EventTime("ts"), {}), SCHEMA)
WINDOW = Window(WindowKind.TUMBLE, "ts", 60_000_000, 60_000_000)


def sql(text: str) -> exp.Expression:
    """An expression whose columns are quoted, as in plans."""
    tree = parse_one(text, dialect="duckdb")
    for node in tree.find_all(exp.Identifier):
        node.set("quoted", True)
    assert isinstance(tree, exp.Expression)
    return tree


def named(**columns: str) -> tuple[Named, ...]:
    return tuple(Named(name, sql(text)) for name, text in columns.items())


def project(plan: Plan, **columns: str) -> Project:
    return Project(plan, named(**columns), Schema(tuple(Column(name, "INTEGER") for name in columns)))


def sink(plan: Plan) -> Sink:
    return Sink(plan, SinkSpec("out", {}), None)


def count(plan: Plan, key: str) -> Aggregate:
    schema = Schema((Column("k", "INTEGER"), Column("_agg0", "BIGINT")))
    return Aggregate(plan, named(k=key), named(_agg0="count(*)"), Emit.FINAL, schema)


def test_projection_is_written_into_the_projection_above() -> None:
    plan = project(project(SCAN, d="a - 1"), e="10 - d", f="d * d")
    assert substitute_projections(plan) == project(SCAN, e='10 - ("a" - 1)', f='("a" - 1) * ("a" - 1)')


def test_projection_is_written_into_the_filter_above_and_moves_up() -> None:
    plan = Filter(project(SCAN, d="a - 1"), (sql("d > 1"),))
    assert substitute_projections(plan) == project(Filter(SCAN, (sql('("a" - 1) > 1'),)), d="a - 1")


def test_projection_is_written_into_the_aggregate_above_below_its_window() -> None:
    plan = count(AssignWindow(project(SCAN, d="a - 1", x="b"), WINDOW), "d")
    assert substitute_projections(plan) == count(AssignWindow(SCAN, WINDOW), "a - 1")


def test_constant_of_a_projection_keeps_its_type() -> None:
    plan = project(project(SCAN, d="1", b="b"), e="d + b")
    assert substitute_projections(plan) == project(SCAN, e='CAST(1 AS INTEGER) + "b"')


def test_filters_merge_with_the_lower_first() -> None:
    plan = Filter(Filter(SCAN, (sql("a > 1"), sql("b = 'x'"))), (sql("a < 9"), sql("a > 1")))
    assert merge_filters(plan) == Filter(SCAN, (sql("a > 1"), sql("b = 'x'"), sql("a < 9")))


def test_filters_below_and_above_an_aggregate_stay_apart() -> None:
    plan = Filter(count(Filter(SCAN, (sql("a > 1"),)), "a"), (sql("k > 1"),))
    assert merge_filters(plan) == plan


def test_projection_of_all_columns_is_dropped_except_under_the_sink() -> None:
    same = Project(SCAN, named(a="a", b="b", ts="ts"), SCHEMA)
    assert drop_trivial_projections(Filter(same, (sql("a > 1"),))) == Filter(SCAN, (sql("a > 1"),))
    assert drop_trivial_projections(sink(same)) == sink(same)
    renamed = Filter(project(SCAN, c="a", b="b", ts="ts"), (sql("c > 1"),))
    assert drop_trivial_projections(renamed) == renamed


def test_sink_gets_a_projection() -> None:
    plan = project_under_sink(sink(SCAN))
    assert plan == sink(Project(SCAN, named(a="a", b="b", ts="ts"), SCHEMA, SCAN.facts))
    assert project_under_sink(plan) == plan


def chance(mark: int) -> exp.Expression:
    call = exp.Anonymous(this="RANDOM")
    call.meta[VOLATILE] = mark
    call.meta[VOLATILE_TYPE] = "DOUBLE"
    return call


def test_copies_of_one_call_of_chance_are_computed_once() -> None:
    columns = (Named("p", chance(0)), Named("q", exp.Add(this=chance(0), expression=sql("a"))), Named("r", chance(1)))
    plan = compute_volatile(Project(SCAN, columns, SCHEMA))
    assert isinstance(plan, Project)
    assert [named.expression.sql() for named in plan.columns] == ['"_computed0"', '"_computed0" + "a"', '"_computed1"']
    assert isinstance(plan.input, Scan)
    assert [named.name for named in plan.input.computed] == ["_computed0", "_computed1"]
    assert plan.input.schema.names == ("a", "b", "ts", "_computed0", "_computed1")


def test_chance_above_an_aggregate_stays_there() -> None:
    plan = Project(count(SCAN, "a"), (Named("p", chance(0)),), SCHEMA)
    assert compute_volatile(plan) == plan


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: str(rewrite.__name__))
def test_rewrite_of_a_canonical_plan_changes_nothing(rewrite: Callable[[Plan], Plan]) -> None:
    inner = project(Filter(project(SCAN, d="a + 1", ts="ts"), (sql("d > 1"),)), e="d * 2", ts="ts")
    outer = project(Filter(count(AssignWindow(inner, WINDOW), "e"), (sql("_agg0 > 1"),)), n="_agg0")
    plan = canonical(sink(outer))
    assert rewrite(plan) == plan


def test_conjuncts_are_split_at_and_only() -> None:
    found = conjuncts(sql("a > 1 AND (b = 'x' AND NOT (a = 2 AND a = 3)) AND (a = 4 OR a = 5)"))
    texts = ['"a" > 1', "\"b\" = 'x'", 'NOT ("a" = 2 AND "a" = 3)', '"a" = 4 OR "a" = 5']
    assert [conjunct.sql("duckdb") for conjunct in found] == texts


def test_substitution_keeps_operators_together() -> None:
    tree = substitute(sql("-x * y"), {"x": sql("a + 1"), "y": sql("upper(b)")})
    assert tree.sql("duckdb") == '-("a" + 1) * UPPER("b")'
