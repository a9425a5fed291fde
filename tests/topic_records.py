"""Reads and writes whole topics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ferrisstreams.connectors.kafka.records import Record, each_record
from ferrisstreams.connectors.kafka.topics import REQUEST_TIMEOUT_SECONDS, connection_properties
from ferrisstreams.connectors.kafka.translation import kafka_error, translated
from ferrisstreams.errors import TransientError

_POLL_SECONDS = 0.1


def read_records(properties: Mapping[str, str], topic: str, committed_only: bool = True) -> list[Record]:
    """All records that a topic holds now, partition by partition in order. Raises ConnectorError."""
    records = each_record(properties, topic, committed_only)
    return sorted(records, key=lambda record: (record.partition, record.offset))


def write_records(properties: Mapping[str, str], topic: str, records: Iterable[Record]) -> None:
    """Write records, in order; those with a partition go there. Raises ConnectorError when one cannot be delivered."""
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    # A topic that was just made may refuse its first records: without idempotence later ones overtake them.
    idempotent = {"linger.ms": 5, "acks": "all", "enable.idempotence": True}
    producer = Producer({**connection_properties(properties), **idempotent})
    for record in records:
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=report,
                    timestamp=record.timestamp_ms or 0,
                    headers=list(record.headers),
                )
                break
            except BufferError:
                producer.poll(_POLL_SECONDS)
    left = producer.flush(REQUEST_TIMEOUT_SECONDS)
    if failures:
        raise kafka_error(failures[0], f"write to the topic {topic}")
    if left:
        raise TransientError(f"Kafka: {left} records of the topic {topic} were not taken", "E4101")


def group_lag(properties: Mapping[str, str], group: str, topic: str) -> dict[str, int]:
    """How many offsets lie between what a group has committed and the end, by partition. Raises ConnectorError."""
    consumer = Consumer({**connection_properties(properties), "group.id": group, "enable.auto.commit": False})
    try:
        with translated(f"ask how far the group {group} is"):
            found = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_SECONDS).topics[topic].partitions
            committed = consumer.committed([TopicPartition(topic, number) for number in found], REQUEST_TIMEOUT_SECONDS)
            lag = {}
            for each in committed:
                low, high = consumer.get_watermark_offsets(each, timeout=REQUEST_TIMEOUT_SECONDS)
                lag[f"{topic}-{each.partition}"] = high - (each.offset if each.offset >= 0 else low)
            return lag
    finally:
        consumer.close()
