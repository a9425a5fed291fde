"""What the caller of `parse_application` gets: names, sources, positions, warnings."""

from __future__ import annotations

import pytest

from ferrisstreams.config.values import Property
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.explain import explain
from ferrisstreams.plan.nodes import Emit
from ferrisstreams.schema import Column, EventTime, Schema
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.relations import scans_in

TABLE = Schema((Column("a", "INTEGER"), Column("ts", "TIMESTAMP")))


def test_application_is_named_by_annotation_or_file() -> None:
    assert parse_application("SELECT a FROM t", "dir/my_app.sql", tables={"t": TABLE}).name == "my_app"
    plan = parse_application("-- @app: other\n-- @version: 3\nSELECT a FROM t", "x.sql", tables={"t": TABLE})
    assert plan.name == "other"
    assert plan.annotations["version"].value == "3"


def test_jobs_are_named_by_annotation_or_stream_or_order() -> None:
    text = "SELECT a FROM t; CREATE STREAM out AS SELECT a FROM t; -- @name: third\nSELECT a FROM t; SELECT a FROM t"
    plan = parse_application(text, "x.sql", tables={"t": TABLE})
    assert [job.name for job in plan.jobs] == ["select", "out", "third", "select_3"]
    assert [job.plan.spec.anonymous for job in plan.jobs] == [True, False, True, True]


def test_table_of_the_caller_is_a_source_in_memory() -> None:
    job = parse_application("SELECT a FROM T", "x.sql", tables={"t": TABLE}).jobs[0]
    source = scans_in(job.plan)[0].source
    assert (source.name, source.properties["connector"].value) == ("t", "memory")


def test_table_of_the_caller_gets_its_event_time_from_the_query() -> None:
    query = (
        "SELECT count(*) AS n FROM t GROUP BY TUMBLE(1m) WITH ('event.time.field' = 'ts', 't.batch.x' = 1, path = 'y')"
    )
    job = parse_application(query, "x.sql", tables={"t": TABLE}).jobs[0]
    assert scans_in(job.plan)[0].source.event_time == EventTime("ts", 0)
    assert set(job.plan.spec.properties) == {"path"}


def test_reference_to_a_file_asks_the_caller_for_its_columns() -> None:
    asked: list[str] = []

    def columns(reference: str) -> Schema:
        asked.append(reference)
        return TABLE

    text = "SELECT a FROM 'file:///data/T.CSV'"
    source = scans_in(parse_application(text, "x.sql", resolve_reference=columns).jobs[0].plan)[0].source
    assert asked == ["file:///data/T.CSV"]
    properties = {key: written.value for key, written in source.properties.items()}
    assert properties == {"connector": "file", "path": "/data/T.CSV", "format": "csv"}


def test_properties_and_annotations_know_their_place() -> None:
    text = "-- @name: j\nCREATE STREAM out AS SELECT a FROM t\nWITH (path = 'x', 'rotate.rows' = -5)"
    job = parse_application(text, "dir/x.sql", tables={"t": TABLE}).jobs[0]
    places = {key: str(written.position) for key, written in job.plan.spec.properties.items()}
    assert places == {"path": "dir/x.sql:3:14", "rotate.rows": "dir/x.sql:3:35"}
    assert job.plan.spec.properties["rotate.rows"] == Property(-5, job.plan.spec.properties["rotate.rows"].position)
    assert str(job.annotations["name"].position) == "dir/x.sql:1:1"
    assert str(job.plan.spec.position) == "dir/x.sql:2:15"


def test_reader_of_a_job_depends_on_it_also_through_views() -> None:
    text = """
        CREATE STREAM first AS SELECT a, ts FROM t WITH (path = 'first.jsonl');
        CREATE VIEW v AS SELECT a FROM first;
        CREATE STREAM second AS SELECT a FROM v;
        -- @depends_on: second
        SELECT a FROM t
    """
    jobs = parse_application(text, "x.sql", tables={"t": TABLE}).jobs
    assert [job.depends_on for job in jobs] == [(), ("first",), ("second",)]
    assert scans_in(jobs[1].plan)[0].source.properties["path"].value == "first.jsonl"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_position_counts_characters_in_lines_of_any_ending(newline: str) -> None:
    text = newline.join(("-- äöü \U0001f600", "SELECT a,", "\t'\U0001f600', missing", "FROM t"))
    with pytest.raises(SqlError) as caught:
        parse_application(text, "x.sql", tables={"t": TABLE})
    position = caught.value.position
    assert position is not None
    assert (position.line, position.column, position.length) == (3, 7, 7)
    assert position.text == "\t'\U0001f600', missing"


def test_comments_are_no_part_of_a_plan() -> None:
    with_comment = parse_application("SELECT a /* x */ + 1 -- y\nAS b FROM t", "x.sql", tables={"t": TABLE}).jobs[0]
    without = parse_application("SELECT a + 1 AS b FROM t", "x.sql", tables={"t": TABLE}).jobs[0]
    assert explain(with_comment) == explain(without)


def test_view_is_checked_where_it_stands() -> None:
    with pytest.raises(SqlError, match="there is no column nothing"):
        parse_application("CREATE VIEW v AS SELECT nothing FROM t; SELECT a FROM t", "x.sql", tables={"t": TABLE})


def test_reader_of_a_view_decides_how_it_is_emitted() -> None:
    view = "CREATE VIEW v AS SELECT a, count(*) AS n FROM t GROUP BY a HAVING count(*) > 1; SELECT a FROM v"
    emits = [
        parse_application(view + emit, "x.sql", tables={"t": TABLE}).jobs[0].plan.emit for emit in ("", " EMIT FINAL")
    ]
    assert emits == [Emit.CHANGES, Emit.FINAL]
