"""The graph of a plan: what runs, and what runs behind what."""

from dataclasses import replace

import pytest
from sqlglot import exp

from ferrisstreams.errors import InternalError
from ferrisstreams.plan.nodes import Aggregate, Emit, Filter, Named, Project, Scan, Sink, walk
from ferrisstreams.plan.stages import Operator, cut
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import parse_application

STREAM = """CREATE STREAM s (k INT, v INT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
WITH ('connector' = 'file', 'path' = 's.jsonl', 'format' = 'json');
"""


def plan_of(query: str) -> Sink:
    return parse_application(STREAM + query, "app.sql").jobs[0].plan


def texts(conjuncts: tuple[exp.Expression, ...]) -> list[str]:
    return [conjunct.sql("duckdb") for conjunct in conjuncts]


def test_plan_without_state_is_one_stage() -> None:
    graph = cut(plan_of("SELECT k + 1 AS n FROM s WHERE v > 1"))
    assert not graph.keeps_state
    assert graph.aggregates == ()
    assert graph.operators == ()
    assert [graph.output.source] == [*graph.scans]
    assert texts(graph.output.conjuncts) == ['"v" > 1']
    assert [named.name for named in graph.columns(graph.output)] == ["n"]


def test_conditions_stand_on_the_edge_that_they_are_about() -> None:
    graph = cut(
        plan_of(
            "SELECT k, count(*) AS n FROM s WHERE v > 1 GROUP BY k, TUMBLE(ts, INTERVAL '1' HOUR) HAVING count(*) > 2"
        )
    )
    (operator,) = graph.operators
    assert graph.keeps_state
    assert graph.is_windowed
    assert graph.aggregates == (operator.node,)
    assert [operator.stage.source] == [*graph.scans]
    assert texts(operator.stage.conjuncts) == ['"v" > 1']
    assert len(graph.output.conjuncts) == 1
    assert graph.output.source is operator


def test_operator_stands_behind_what_it_reads() -> None:
    sink = plan_of("SELECT k, count(*) AS n FROM s GROUP BY k EMIT CHANGES")
    project = sink.input
    assert isinstance(project, Project)
    assert isinstance(project.input, Aggregate)
    inner = project.input
    count = Named("m", exp.Count(this=exp.Star(), big_int=True))
    names = inner.schema.names
    key = Named("n", exp.column(exp.to_identifier(names[1], quoted=True)))
    conjunct = exp.column(exp.to_identifier(names[0], quoted=True)).is_(exp.null())
    schema = Schema((Column("n", "BIGINT"), Column("m", "BIGINT")))
    outer = Aggregate(Filter(inner, (conjunct,)), (key,), (count,), Emit.CHANGES, schema)
    graph = cut(replace(sink, input=Project(outer, (key, count), schema)))
    assert [operator.node for operator in graph.operators] == [inner, outer]
    assert isinstance(graph.operators[1].stage.source, Operator)
    assert graph.operators[1].stage.source.node is inner
    assert graph.operators[1].stage.conjuncts == (conjunct,)
    assert [type(node).__name__ for node in walk(outer)] == ["Aggregate", "Filter", "Aggregate", "Scan"]


def test_plan_that_is_not_canonical_is_refused() -> None:
    sink = plan_of("SELECT k FROM s")
    project = sink.input
    assert isinstance(project, Project)
    assert isinstance(project.input, Scan)
    with pytest.raises(InternalError, match="not canonical"):
        cut(replace(sink, input=replace(project, input=project)))
