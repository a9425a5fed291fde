"""The inline form of the predecessor: its words become ours, and it binds to the same plan as the declared form."""

from __future__ import annotations

from collections import defaultdict

import pytest

from ferrisstreams.errors import SqlError
from ferrisstreams.plan.explain import explain
from ferrisstreams.plan.identity import SourceFacts, identity_of
from ferrisstreams.plan.nodes import ApplicationPlan, SourceSpec
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.printer import print_script
from ferrisstreams.sql.relations import scans_in
from ferrisstreams.sql.statements import StreamAs, parse_statements

COLUMNS = Schema((Column("k", "VARCHAR"), Column("v", "BIGINT"), Column("ts", "TIMESTAMP"), Column("at", "BIGINT")))


def infer(source: SourceSpec) -> Schema | None:
    """Files have the columns above; those of topics are not known."""
    return None if source.properties["connector"].value == "kafka" else COLUMNS


def bound(text: str) -> ApplicationPlan:
    return parse_application(text, "app.sql", infer=infer)


def properties(text: str) -> dict[str, object]:
    statement = parse_statements(text, "app.sql").statements[0]
    assert isinstance(statement, StreamAs)
    return {key: prop.value for key, prop in statement.properties.items()}


def source_properties(text: str) -> dict[str, object]:
    source = scans_in(bound(text).jobs[0].plan)[0].source
    return {key: prop.value for key, prop in source.properties.items()}


INLINE = """
    CREATE STREAM big AS SELECT k, v FROM raw WHERE v > 1
    WITH ('raw.type' = 'file_source', 'raw.path' = 'raw.csv', 'big.type' = 'file_sink', 'big.path' = 'big.jsonl')
"""
DECLARED = """
    CREATE STREAM raw (k VARCHAR, v BIGINT, ts TIMESTAMP, at BIGINT)
    WITH ('connector' = 'file', 'path' = 'raw.csv', 'format' = 'csv');
    CREATE STREAM big AS SELECT k, v FROM raw WHERE v > 1 WITH ('connector' = 'file', 'path' = 'big.jsonl')
"""


def test_inline_and_declared_form_bind_to_the_same_plan() -> None:
    (inline,), (declared,) = bound(INLINE).jobs, bound(DECLARED).jobs
    assert explain(inline) == explain(declared)
    nothing = defaultdict(lambda: SourceFacts({}, {}))
    assert identity_of(inline.plan, nothing) == identity_of(declared.plan, nothing)
    assert {k: p.value for k, p in inline.plan.spec.properties.items()} == {
        k: p.value for k, p in declared.plan.spec.properties.items()
    }
    assert source_properties(INLINE) == source_properties(DECLARED)


@pytest.mark.parametrize(
    "tail",
    [
        "WITH ({with_}) EMIT CHANGES",
        "EMIT CHANGES WITH ({with_})",
        "INTO out WITH ({with_}) EMIT CHANGES",
        "EMIT CHANGES INTO out WITH ({with_})",
        "WITH ({with_}) INTO out EMIT CHANGES",
    ],
)
def test_sink_emit_and_with_stand_in_any_order(tail: str) -> None:
    with_ = "'raw.type'='file_source', 'raw.path'='r.jsonl', 'out.type'='file_sink', 'out.path'='o.jsonl'"
    text = f"SELECT k, count(*) AS n FROM raw GROUP BY k {tail.format(with_=with_)}"
    name = "" if "INTO" in tail else "CREATE STREAM out AS "
    (job,) = bound(name + text).jobs
    assert job.name == job.plan.spec.name == "out"
    assert not job.plan.spec.anonymous
    assert job.plan.spec.properties["path"].value == "o.jsonl"


def test_into_names_the_sink_of_a_stream_and_its_topic() -> None:
    text = """CREATE STREAM enriched AS SELECT k FROM raw INTO sink_1
              WITH ('raw.type'='file_source', 'raw.path'='r.csv', 'sink_1.type'='kafka_sink')"""
    (job,) = bound(text).jobs
    assert (job.name, job.plan.spec.properties["topic"].value) == ("enriched", "sink_1")


def test_names_of_prefixes_match_without_case() -> None:
    assert properties("CREATE STREAM Out AS SELECT k FROM Raw WITH ('RAW.type'='file_source', 'out.path'='x')") == {
        "Raw.connector": "file",
        "path": "x",
    }


@pytest.mark.parametrize(
    ("written", "modern"),
    [
        ("'r.type'='file_source', 'r.path'='x.csv'", {"connector": "file", "path": "x.csv", "format": "csv"}),
        ("'r.type'='file_source', 'r.path'='x.jsonl'", {"connector": "file", "path": "x.jsonl", "format": "json"}),
        ("'r.type'='file_source', 'r.format'='csv_no_header'", {"connector": "file", "format": "csv", "header": False}),
        ("'r.type'='file_source', 'r.format'='jsonlines'", {"connector": "file", "format": "json"}),
        ("'r.type'='file_source_mmap', 'r.format'='csv'", {"connector": "file", "mmap": True, "format": "csv"}),
        ("'r.type'='file_source', 'r.format'='csv', 'r.has_headers'='no', 'r.watching'='yes'",
         {"connector": "file", "format": "csv", "header": "no", "watch": "yes"}),
        ("'r.connector'='datagen', 'r.rows'=5", {"connector": "datagen", "rows": 5}),
        ("'r.type'='kafka_source', 'r.value.serializer'='json'", {"connector": "kafka", "format": "json"}),
    ],
)  # fmt: skip
def test_words_of_a_source_become_ours(written: str, modern: dict[str, object]) -> None:
    found = properties(f"SELECT k FROM r WITH ({written})")
    assert found == {f"r.{key}": value for key, value in modern.items()}


@pytest.mark.parametrize(
    ("written", "modern"),
    [
        ("'sink.batch.strategy'='FixedSize'", {"batch.strategy": "FixedSize"}),
        ("'sink.batch.timeout'='2'", {"batch.timeout": "2s"}),
        ("'sink.batch.memory_size'='1048576'", {"batch.memory_size": "1048576B"}),
        ("'sink.batch.adaptive_max_size'='500'", {"batch.max_size": "500"}),
        ("'sink.batch.low_latency_wait'='1ms'", {"batch.wait": "1ms"}),
        ("'max_batch_size'='200', 'batch_timeout'='1000'", {"batch.size": "200", "batch.timeout": "1000ms"}),
        ("'retry_backoff'='5000', 'max_retries'='3'", {"retry_backoff": "5000ms", "max_retries": "3"}),
        ("'use_transactions'='true'", {"job.mode": "exactly_once"}),
        ("'mode'='transactional'", {"job.mode": "transactional"}),
        ("'o.append_if_exists'='true'", {"append": "true"}),
        ("'o.failure_strategy'='LogAndContinue'", {"failure_strategy": "LogAndContinue"}),
    ],
)
def test_words_of_job_and_sink_become_ours(written: str, modern: dict[str, object]) -> None:
    found = properties(f"CREATE STREAM o AS SELECT k FROM r WITH ('o.type'='file_sink', {written})")
    assert found == {"connector": "file", **modern}


def test_key_that_ends_like_a_type_is_none() -> None:
    text = "CREATE STREAM o AS SELECT k FROM r WITH ('r.type'='kafka_source', 'o.type'='kafka_sink', {})"
    assert properties(text.format("'o.compression.type'='lz4', 'r.security.protocol'='ssl'")) == {
        "r.connector": "kafka", "r.kafka.security.protocol": "ssl", "connector": "kafka",
        "kafka.compression.type": "lz4",
    }  # fmt: skip
    modern = "CREATE STREAM o AS SELECT k FROM r WITH (connector='kafka', 'kafka.compression.type'='lz4')"
    assert properties(modern) == {"connector": "kafka", "kafka.compression.type": "lz4"}


def test_bare_numbers_keep_asking_for_their_unit_outside_the_inline_form() -> None:
    assert properties("CREATE STREAM o AS SELECT k FROM r WITH (connector='file', retry_backoff='5000')") == {
        "connector": "file",
        "retry_backoff": "5000",
    }


def test_event_time_by_keys_for_one_source_or_for_all() -> None:
    query = "SELECT k, count(*) AS n FROM raw GROUP BY k WINDOW TUMBLING(1m)"
    files = "'raw.type'='file_source', 'raw.path'='raw.csv'"
    own = bound(f"{query} WITH ({files}, 'raw.event.time.field'='ts', 'raw.watermark.max_out_of_orderness'='5s')")
    every = bound(f"{query} WITH ({files}, 'event.time.field'='ts', 'watermark.max_out_of_orderness'='5s')")
    assert explain(own.jobs[0]) == explain(every.jobs[0])
    assert "event time: ts, watermark 5 seconds behind" in explain(own.jobs[0])


def test_number_with_a_format_is_an_event_time() -> None:
    query = "SELECT k, count(*) AS n FROM raw GROUP BY k WINDOW TUMBLING(1m)"
    files = "'raw.type'='file_source', 'raw.path'='raw.csv', 'raw.event.time.field'='at'"
    (job,) = bound(f"{query} WITH ({files}, 'raw.event.time.format'='epoch_millis')").jobs
    assert scans_in(job.plan)[0].source.schema.get("at") == Column("at", "TIMESTAMP")
    with pytest.raises(SqlError, match="the event time at is BIGINT, not TIMESTAMP"):
        bound(f"{query} WITH ({files})")


def test_chain_of_inline_jobs_knows_its_columns() -> None:
    text = """
        CREATE STREAM a AS SELECT k, v, ts FROM raw WITH ('raw.type'='file_source', 'raw.path'='raw.csv',
          'a.type'='kafka_sink', 'a.topic'='at');
        CREATE STREAM b AS SELECT k, v * 2 AS w FROM a WITH ('a.type'='kafka_source', 'a.topic'='at', 'a.format'='json',
          'b.type'='file_sink', 'b.path'='b.jsonl');
    """
    first, second = bound(text).jobs
    assert second.depends_on == (first.name,)
    source = scans_in(second.plan)[0].source
    assert source.schema.names == ("k", "v", "ts")
    assert {key: prop.value for key, prop in source.properties.items()} == {
        "connector": "kafka", "topic": "at", "format": "json",
    }  # fmt: skip


def test_job_over_a_topic_without_columns_stays_open_and_so_does_its_reader() -> None:
    text = """
        CREATE STREAM a AS SELECT anything FROM md WITH ('md.type'='kafka_source', 'a.type'='file_sink', 'a.path'='a');
        CREATE STREAM b AS SELECT anything FROM a WITH (connector = 'file', path = 'b.jsonl');
        CREATE VIEW v AS SELECT anything FROM b;
        SELECT anything FROM v;
        SELECT k FROM 'raw.csv';
    """
    plan = bound(text)
    assert [(job.name, job.source.name) for job in plan.open_jobs] == [("a", "md"), ("b", "a"), ("select", "b")]
    assert [job.name for job in plan.jobs] == ["select_2"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("kafka://host:9092/topic", {"bootstrap.servers": "host:9092", "topic": "topic"}),
        ("kafka://a:1,b:2/t?group_id=g", {"bootstrap.servers": "a:1,b:2", "topic": "t", "group.id": "g"}),
    ],
)
def test_reference_to_a_topic(reference: str, expected: dict[str, str]) -> None:
    (job,) = bound(f"SELECT k FROM '{reference}'").open_jobs
    assert {key: prop.value for key, prop in job.source.properties.items()} == {"connector": "kafka", **expected}


@pytest.mark.parametrize(
    "text",
    [
        INLINE,
        "SELECT k FROM raw INTO out WITH ('raw.type'='file_source', 'raw.path'='r', 'out.type'='file_sink')",
        "SELECT k FROM r AS x INTO out EMIT CHANGES WITH ('r.type'='kafka_source', 'retry_backoff'='10')",
        "CREATE STREAM s WITH ('type'='file_source', 'path'='x.csv')",
        "CREATE STREAM s (a INT) WITH ('s.type'='file_source_mmap', 's.path'='x.csv')",
    ],
)
def test_canonical_form_is_in_our_words_and_stays(text: str) -> None:
    printed = print_script(parse_statements(text, "app.sql"))
    assert print_script(parse_statements(printed, "app.sql")) == printed
    assert "_source" not in printed
    assert "_sink" not in printed
    assert "INTO" not in printed


def test_annotations_of_the_predecessor_name_the_application_and_the_jobs() -> None:
    text = """
        -- SQL Application: Real-Time Trading!
        -- Version: 1.0.0
        -- @name: ticks
        -- @job_mode: adaptive
        -- @num_partitions: 4
        -- @sticky-partition-id: 1
        -- @metric: ticks_total
        -- @metric_type: counter
        -- @sla.latency.p99: 10ms
        SELECT k FROM raw WITH ('raw.type'='file_source', 'raw.path'='raw.csv');
        -- SQL Application: again
        SELECT k FROM 'raw.csv'
    """
    plan = bound(text)
    assert (plan.name, [job.name for job in plan.jobs]) == ("Real-Time-Trading", ["ticks", "select_2"])
    assert dict(plan.jobs[0].annotations).keys() == {"name"}
    assert [warning.partition(": ")[2] for warning in plan.warnings] == [
        "@job_mode: adaptive is not a mode here: the job runs in the default one",
        "@num_partitions has no effect: rows go to keys by GROUP BY, whatever their partition",
        "@sticky-partition-id has no effect: rows go to keys by GROUP BY, whatever their partition",
        "@metric is not computed yet: the job runs without it",
        "@sla.latency.p99 has no effect",
    ]


def test_annotation_wins_over_the_header() -> None:
    assert bound("-- SQL Application: One\n-- @application: two\nSELECT k FROM 'raw.csv'").name == "two"
