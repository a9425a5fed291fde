"""Reading and writing whole topics, for people and tests; the engine's own way is `source` and `producer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from ferrisstreams.batch import Headers
from ferrisstreams.connectors.kafka.messages import header_pairs
from ferrisstreams.connectors.kafka.topics import REQUEST_TIMEOUT_SECONDS, connection_properties
from ferrisstreams.connectors.kafka.translation import kafka_error, translated
from ferrisstreams.errors import TransientError

#: What one call takes from the client.
_BATCH_RECORDS = 10_000
#: Waits of the client; an empty answer is not the end of a topic.
_POLL_SECONDS = 0.1
_POLLS_MAX = 300


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a topic. `timestamp_ms` is None where the record has none; the broker's clock when written so."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None
    partition: int = -1
    offset: int = -1


def read_records(properties: Mapping[str, str], topic: str, committed_only: bool = True) -> list[Record]:
    """All records that a topic holds now, partition by partition in order. Raises ConnectorError."""
    isolation = "read_committed" if committed_only else "read_uncommitted"
    consumer = Consumer(
        {
            **connection_properties(properties),
            "group.id": "ferris-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )
    try:
        with translated(f"read the topic {topic}"):
            found = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_SECONDS).topics[topic].partitions
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in found])
            records = _read_to_end(consumer, set(found), topic)
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _read_to_end(consumer: Consumer, left: set[int], topic: str) -> list[Record]:
    records: list[Record] = []
    polls = 0
    while left:
        messages = consumer.consume(_BATCH_RECORDS, _POLL_SECONDS)
        polls = 0 if messages else polls + 1
        if polls > _POLLS_MAX:
            raise TransientError(f"Kafka: the topic {topic} gives nothing and no end", "E4101")
        for message in messages:
            error = message.error()
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise kafka_error(error, f"read the topic {topic}")
                left.discard(partition)
                continue
            assert offset is not None
            kind, timestamp_ms = message.timestamp()
            at_ms = timestamp_ms if kind else None
            records.append(
                Record(message.value(), message.key(), header_pairs(message.headers()), at_ms, partition, offset)
            )
    return records


def write_records(properties: Mapping[str, str], topic: str, records: Iterable[Record]) -> None:
    """Write records; those with a partition go there. Raises ConnectorError when one cannot be delivered."""
    failures: list[KafkaError] = []

    def told(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({**connection_properties(properties), "linger.ms": 5, "acks": "all"})
    for record in records:
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=told,
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
