"""The topics of a benchmark: filled once, and outputs watched from outside, as a reader sees them."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.kafka.data import Data
from ferrisstreams.connectors.kafka.topics import NewTopicSettings, Topics

POLL_SECONDS = 0.03
REQUEST_SECONDS = 10.0
BATCH_RECORDS = 10_000
#: Surplus rows after the last one that was awaited would come within this.
SURPLUS_SECONDS = 0.5

KEEP = {"retention.ms": "-1"}
#: The broker writes its own time on every record of an output, so all systems are timed by one clock.
OUTPUT = {**KEEP, "message.timestamp.type": "LogAppendTime"}


@dataclass(slots=True)
class Output:
    """What a reader of committed records found in a topic, in order."""

    values: list[bytes] = field(default_factory=list)
    times_ms: array[int] = field(default_factory=lambda: array("q"))


class Reader:
    """Looks at a topic of one partition from outside, and sees only what is committed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._partition = TopicPartition(topic, 0, 0)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "benchmark-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 5,
                "queued.min.messages": 1_000_000,
            }
        )

    def end(self) -> int:
        """The offset up to which records can be read."""
        return self._consumer.get_watermark_offsets(self._partition, REQUEST_SECONDS)[1]

    def wait_for_first(self, stop: Callable[[], bool], seconds: float) -> bool:
        """True when a first record can be read; False when `stop` holds or the time is over.

        The end alone does not tell: the marks of transactions, also of aborted ones, move it too.
        """
        self._consumer.assign([self._partition])
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and not stop():
                message = self._consumer.poll(POLL_SECONDS)
                if message is not None and message.error() is None:
                    return True
            return False
        finally:
            self._consumer.unassign()

    def wait(self, offset: int, stop: Callable[[], bool], stall_seconds: float) -> int:
        """Wait until the end is at `offset`, `stop` holds, or the end has not moved for a while; the end then."""
        seen, since = self.end(), time.monotonic()
        while seen < offset and not stop() and time.monotonic() - since < stall_seconds:
            time.sleep(POLL_SECONDS)
            now = self.end()
            if now != seen:
                seen, since = now, time.monotonic()
        return seen

    def read(self, rows: int, stall_seconds: float) -> Output:
        """Read `rows` rows and what comes after them, or until nothing has come for a while."""
        found = Output()
        self._consumer.assign([self._partition])
        since = time.monotonic()
        while time.monotonic() - since < (SURPLUS_SECONDS if len(found.values) >= rows else stall_seconds):
            messages = self._consumer.consume(BATCH_RECORDS, 0.1)
            if messages:
                since = time.monotonic()
            for message in messages:
                if message.error() is None:
                    found.values.append(message.value() or b"")
                    found.times_ms.append(message.timestamp()[1])
        return found

    def close(self) -> None:
        self._consumer.close()


@contextmanager
def reader(bootstrap: str, topic: str) -> Iterator[Reader]:
    made = Reader(bootstrap, topic)
    try:
        yield made
    finally:
        made.close()


def fill(bootstrap: str, data: Data, closing: bool = True) -> None:
    """Write a topic of trades; with `closing` also the record that closes all windows, into each partition."""
    topics_of(bootstrap).create(data.topic, NewTopicSettings(data.partitions, KEEP))
    producer = new_producer(bootstrap)
    for chunk in data.chunks():
        for partition in range(data.partitions):
            own = [record for record in chunk if data.partition_of(record[0]) == partition]
            write(producer, data.topic, own, partition)
    for partition in range(data.partitions * closing):
        write(producer, data.topic, [data.closing()], partition)
    producer.flush()


def new_producer(bootstrap: str, linger_ms: int = 50) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "enable.idempotence": True,  # Else records overtake those that a new topic refuses at first.
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def write(producer: Producer, topic: str, records: list[tuple[bytes, bytes]], partition: int = 0) -> None:
    for key, value in records:
        while True:
            try:
                producer.produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.05)
    producer.poll(0)


def topics_of(bootstrap: str) -> Topics:
    return Topics({"bootstrap.servers": bootstrap})


class Positions:
    """What a group has committed. Asked without waiting for open transactions, whose offsets are not seen."""

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._partition = TopicPartition(topic, 0)
        settings = {"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_uncommitted"}
        self._consumer = Consumer(settings)

    def wait(self, position: int, stop: Callable[[], bool], seconds: float) -> bool:
        """True when the group has come to `position`; False when `stop` holds or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop():
            # A new broker's coordinator may not be there yet; it is asked again until the time is over.
            with suppress(KafkaException):
                (found,) = self._consumer.committed([self._partition], REQUEST_SECONDS)
                if found.offset >= position:
                    return True
            time.sleep(POLL_SECONDS * 3)
        return False

    def close(self) -> None:
        self._consumer.close()
