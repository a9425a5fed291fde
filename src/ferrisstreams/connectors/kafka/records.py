"""Reads and counts whole topics; the way of a job is `source`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

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


def each_record(properties: Mapping[str, str], topic: str, committed_only: bool = True) -> Iterator[Record]:
    """All records that a topic holds now, one after another; those of a partition in order. Raises ConnectorError."""
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
        yield from _read_to_end(consumer, set(found), topic)
    finally:
        consumer.close()


def _read_to_end(consumer: Consumer, left: set[int], topic: str) -> Iterator[Record]:
    polls = 0
    while left:
        with translated(f"read the topic {topic}"):
            messages = consumer.consume(_BATCH_RECORDS, _POLL_SECONDS)
        polls = 0 if messages else polls + 1
        if polls > _POLLS_MAX:
            raise TransientError(f"Kafka: the topic {topic} returns neither records nor its end", "E4101")
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
            yield Record(message.value(), message.key(), header_pairs(message.headers()), at_ms, partition, offset)


@dataclass(frozen=True, slots=True)
class Counted:
    """Records of a topic: how many, and how many by the values of some headers. `lost`: the topic no longer holds the
    beginning of what was asked for."""

    records: int
    by_headers: Mapping[tuple[str, ...], int]
    lost: bool


def count_records(
    properties: Mapping[str, str],
    topic: str,
    ranges: Mapping[int, tuple[int, int | None]],
    headers: tuple[str, ...] = (),
) -> Counted:
    """Count the committed records of partitions, from an offset up to another, or up to the end. Raises ConnectorError.

    Nothing is kept of a record but its count.
    """
    consumer = Consumer(
        {
            **connection_properties(properties),
            "group.id": "ferris-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    counter = _Counter(topic, ranges, headers)
    try:
        with translated(f"read the topic {topic}"):
            held = {number: consumer.get_watermark_offsets(TopicPartition(topic, number)) for number in ranges}
            consumer.assign([TopicPartition(topic, number, start) for number, (start, _) in ranges.items()])
            counter.run(consumer)
    finally:
        consumer.close()
    lost = any(not held[number][0] <= start <= held[number][1] for number, (start, _) in ranges.items())
    return Counted(sum(counter.records.values()), counter.by_headers, lost)


class _Counter:
    """Counts until each partition has come to its stop or its end."""

    def __init__(self, topic: str, ranges: Mapping[int, tuple[int, int | None]], headers: tuple[str, ...]) -> None:
        self.records: dict[int, int] = dict.fromkeys(ranges, 0)
        self.by_headers: dict[tuple[str, ...], int] = {}
        self._topic = topic
        self._ranges = ranges
        self._headers = headers
        self._left = {number for number, (start, stop) in ranges.items() if stop is None or start < stop}

    def run(self, consumer: Consumer) -> None:
        polls = 0
        while self._left:
            messages = consumer.consume(_BATCH_RECORDS, _POLL_SECONDS)
            polls = 0 if messages else polls + 1
            if polls > _POLLS_MAX:
                raise TransientError(f"Kafka: the topic {self._topic} returns neither records nor its end", "E4101")
            for message in messages:
                self._take(message)

    def _take(self, message: Message) -> None:
        error, number, offset = message.error(), message.partition(), message.offset()
        assert number is not None
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise kafka_error(error, f"read the topic {self._topic}")
            self._left.discard(number)
            return
        assert offset is not None
        stop = self._ranges[number][1]
        if stop is not None and offset >= stop:
            self._left.discard(number)
            return
        self.records[number] += 1
        if self._headers:
            found = dict(header_pairs(message.headers()))
            values = tuple((found.get(name) or b"").decode("utf-8", "replace") for name in self._headers)
            self.by_headers[values] = self.by_headers.get(values, 0) + 1
