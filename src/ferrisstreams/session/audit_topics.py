"""What topics hold of a job: records read, rows written, dead letters; counted there, and never taken from the job."""

from __future__ import annotations

from collections.abc import Mapping

from ferrisstreams.batch import JsonValue, integer, mapping, partitions_of
from ferrisstreams.connectors.kafka.records import Counted, count_records
from ferrisstreams.connectors.kafka.settings import kafka_source_settings
from ferrisstreams.connectors.kafka.topics import Topics
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.settings import SourceSettings


def gone_topic(properties: Mapping[str, str], topic: str) -> FatalConnectorError | None:
    """The error of a topic that no longer exists; None: it is there. Raises ConnectorError."""
    if Topics(properties).partitions(topic) is not None:
        return None
    return FatalConnectorError(
        f"Kafka: the topic {topic} is gone: what the job has read or written there cannot be counted",
        "E4103",
        "was it deleted? `ferris state reset` lets the job start over",
    )


def count_source(builder: JobBuilder, source: SourceSettings, last: EpochRow) -> Counted:
    """The records of a source's topic between where the job began and where it is."""
    settings = kafka_source_settings(builder.source_context(source))
    starts, positions = (partitions_of(builder.key_name(source), each) for each in (last.starts, last.positions))
    ranges = {_number(name): (integer(starts.get(name, 0)), integer(at)) for name, at in positions.items()}
    return count_records(settings.properties, settings.topic, ranges)


def count_sink(builder: JobBuilder, last: EpochRow) -> Counted:
    """The records of the sink's topic since the job began."""
    return _count_since(builder, builder.sink_topic(), last.marks["sink"])


def count_letters(builder: JobBuilder, last: EpochRow, topic: str) -> Counted:
    """The dead letters since the job began, by `ferris.stage` and `ferris.kind`."""
    return _count_since(builder, topic, last.marks["dead_letters"], ("ferris.stage", "ferris.kind"))


def _count_since(builder: JobBuilder, topic: str, mark: JsonValue, headers: tuple[str, ...] = ()) -> Counted:
    properties = builder.producer.properties
    since = mapping(mapping(mark)["since"])
    numbers = range(Topics(properties).partitions(topic) or 0)
    ranges: dict[int, tuple[int, int | None]] = {
        number: (integer(since.get(str(number), 0)), None) for number in numbers
    }
    return count_records(properties, topic, ranges, headers)


def _number(partition: str) -> int:
    return int(partition.rpartition("-")[2])
