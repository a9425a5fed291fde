"""What batches suggest to the clients, and what they may not."""

from __future__ import annotations

import pytest

from ferrisstreams.connectors.kafka import producer, source
from ferrisstreams.connectors.kafka.client import ClientProperty
from ferrisstreams.connectors.kafka.settings import client_properties
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.settings import JobSettings, settings_of
from ferrisstreams.session.application import Application
from ferrisstreams.sql.application import parse_application

KAFKA = "'connector' = 'kafka', 'bootstrap.servers' = 'h:1'"


def declared(of_sink: str = "", of_source: str = "", sink: str = KAFKA) -> str:
    return (
        f"CREATE STREAM r (a INT) WITH ({KAFKA}{of_source});CREATE STREAM o WITH ({sink}{of_sink}) AS SELECT a FROM r;"
    )


def settings(of_sink: str = "", of_source: str = "", sink: str = KAFKA) -> JobSettings:
    job = parse_application(declared(of_sink, of_source, sink), "app.sql").jobs[0]
    return settings_of(job, cut(job.plan).sources, {})


def of_producer(given: str, of_source: str = "") -> dict[str, ClientProperty]:
    return client_properties(settings(given, of_source).job, "producer", "sink o")


def test_batches_that_nobody_asked_for_suggest_nothing() -> None:
    found = of_producer("")
    assert {name: found[name].value for name in producer.SUGGESTED} == producer.SUGGESTED
    assert {found[name].by for name in producer.SUGGESTED} == {""}


@pytest.mark.parametrize(
    ("given", "name", "value", "by"),
    [
        ("'sink.batch.size' = 50", "batch.num.messages", "50", "batch.size=50"),
        ("'batch.size' = 5000000", "batch.num.messages", "1000000", "batch.size=5000000"),
        ("'batch.timeout' = '2s'", "linger.ms", "2000", "batch.timeout=2s"),
        ("'batch.timeout' = '0.5ms'", "linger.ms", "0.5", "batch.timeout=0.5ms"),
        ("'batch.timeout' = '2h'", "linger.ms", "900000", "batch.timeout=2h"),
        ("'batch.strategy' = 'time_window', 'batch.window' = '70ms'", "linger.ms", "70", "batch.window=70ms"),
        ("'batch.window' = '70ms'", "linger.ms", "70", "batch.window=70ms"),
        ("'batch.wait' = '2ms'", "linger.ms", "0", "batch.wait=2ms"),
        ("'batch.strategy' = 'memory_based', 'batch.memory_size' = '2MB'", "batch.size", "2097152",
         "batch.memory_size=2MB"),
        ("'batch.strategy' = 'adaptive_size', 'batch.max_size' = 9", "batch.num.messages", "9", "batch.max_size=9"),
        ("'batch.strategy' = 'low_latency'", "linger.ms", "0", "batch.strategy=low_latency"),
        ("'batch.strategy' = 'low_latency', 'batch.eager' = false, 'batch.wait' = '3ms'", "linger.ms", "3",
         "batch.eager=false"),
        ("'batch.enable' = false", "linger.ms", "0", "batch.enable=false"),
    ],
)  # fmt: skip
def test_batches_of_the_job_steer_those_of_the_producer(given: str, name: str, value: str, by: str) -> None:
    assert of_producer(f", {given}")[name] == ClientProperty(value, "suggested", by)


def test_strategy_that_only_its_keys_name_suggests_the_same_to_the_consumer() -> None:
    found = client_properties(settings(", 'batch.wait' = '2ms'").source, "consumer", "source r")
    assert found["fetch.wait.max.ms"] == ClientProperty("10", "suggested", "batch.wait=2ms")


def test_what_the_user_says_of_the_client_stands() -> None:
    found = of_producer(", 'batch.size' = 50, 'kafka.batch.num.messages' = 7")
    assert found["batch.num.messages"] == ClientProperty("7", "given")


def test_source_and_sink_each_follow_their_own() -> None:
    both = settings(", 'sink.batch.size' = 50, 'source.batch.size' = 7, 'source.batch.strategy' = 'low_latency'")
    assert both.source.integer("batch.size") == 7
    of_source = client_properties(both.source, "consumer", "source r")
    assert of_source["fetch.wait.max.ms"] == ClientProperty("10", "suggested", "batch.strategy=low_latency")
    of_sink = client_properties(both.job, "producer", "sink o")
    assert (of_sink["batch.num.messages"].value, of_sink["linger.ms"].value) == ("50", "5")
    assert client_properties(settings().source, "consumer", "source r")["fetch.wait.max.ms"] == ClientProperty(
        source.SUGGESTED["fetch.wait.max.ms"], "suggested"
    )


@pytest.mark.parametrize(
    ("of_sink", "of_source", "sink"),
    [
        (", 'sink.batch.size' = 5", ", 'batch.size' = 7", "'connector' = 'stdout'"),
        (", 'batch.size' = 5, 'source.batch.size' = 7", "", "'connector' = 'file', 'path' = 'x'"),
        (", 'batch.min_size' = 5, 'source.batch.min_size' = 7", "", KAFKA),
    ],
)
def test_batches_that_would_steer_nothing_are_refused(of_sink: str, of_source: str, sink: str) -> None:
    with pytest.raises(ConfigError, match=r"'batch\..*' = '5' has no effect: the source has its own, '7'") as raised:
        settings(of_sink, of_source, sink)
    assert raised.value.code == "E3005"
    assert raised.value.position is not None


@pytest.mark.parametrize(
    ("of_sink", "sink", "message"),
    [
        (", 'topic' = 'r'", KAFKA, "the job would read what it writes: r is the topic of its source"),
        (", 'failure_strategy' = 'send_to_dlq', 'dlq.topic' = 'r'", KAFKA,
         "the job would read what it writes: r is the topic of its source"),
        (", 'failure_strategy' = 'send_to_dlq', 'dlq.topic' = 'r'", "'connector' = 'file', 'path' = 'x'",
         "the job would read what it writes: r is the topic of its source"),
        (", 'failure_strategy' = 'send_to_dlq', 'dlq.topic' = 'o'", KAFKA,
         "'dlq.topic' = 'o' is the topic of the results: readers would take letters for rows"),
    ],
)  # fmt: skip
def test_topic_that_would_be_read_as_another_is_refused(of_sink: str, sink: str, message: str) -> None:
    application = Application.parse(declared(of_sink, sink=sink), "app.sql")
    with pytest.raises(ConfigError) as raised:
        application.check()
    assert (raised.value.message, raised.value.code) == (message, "E3010")
    assert raised.value.position is not None


def test_topic_of_the_same_name_on_another_cluster_is_another() -> None:
    there = "'connector' = 'kafka', 'bootstrap.servers' = 'other:1', 'topic' = 'r'"
    assert Application.parse(declared(sink=there), "app.sql").check() == []
