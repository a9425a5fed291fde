"""The one producer of a job, shared by its output and its dead letters: with transactions, or without.

With a transactional id it is the decider of the job's epochs: positions and token are committed to the job's group in
the same transaction as the records. Without one a flush says that all records are taken by the brokers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ferrisstreams.batch import Headers, Positions, integer
from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.connectors.base import ClientFigures, CommittedOffset
from ferrisstreams.connectors.kafka.client import QUIET, STATISTICS_INTERVAL_MS, ClientReports
from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.connectors.kafka.statistics import Statistics
from ferrisstreams.connectors.kafka.topic_rules import TopicRules, TopicSettings, rules_of
from ferrisstreams.connectors.kafka.topics import (
    REQUEST_TIMEOUT_SECONDS,
    NewTopicSettings,
    Topics,
    connection_properties,
    require_topic,
)
from ferrisstreams.connectors.kafka.translation import error_of, kafka_error
from ferrisstreams.errors import ConnectorError, FatalConnectorError, FencedError, TransientError, UnknownOutcomeError

#: What delivery needs of the producer; a contradicting value of the user is refused.
REQUIRED: Mapping[str, str] = {"acks": "all", "enable.idempotence": "true"}

#: What a producer does better with. `murmur2_random` sends a key to the partition that Java's clients send it to.
SUGGESTED: Mapping[str, str] = {
    "linger.ms": "5",
    "batch.num.messages": "10000",
    "batch.size": "1000000",
    "compression.type": "lz4",
    "queue.buffering.max.messages": "50000",
    "partitioner": "murmur2_random",
    "statistics.interval.ms": STATISTICS_INTERVAL_MS,
}

#: Set whatever the user says: in success no report is worth a Python object.
OWN: Mapping[str, str | bool] = {"delivery.report.only.error": True, "log_level": "0"}


#: How long records may take to be taken by the brokers, and a transaction to be decided.
_FLUSH_SECONDS = 60.0
_COMMIT_SECONDS = 30.0
_SEND_SECONDS = 10.0
#: A wait for room in the client's queue.
_ROOM_SECONDS = 0.05
_ROOM_WAITS_MAX = 1200
#: What the client takes for a record without a time of its own.
_NOW = 0
#: The most that the client takes as the largest record. It measures before it packs, the brokers after.
_CLIENT_BYTES_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KafkaProducerSettings:
    """`properties` are the client's, `topics` those that are written, and how each is made when it is not there.

    `group` is the job's; `transactional_id` None: at least once. `source_topics`: what the job reads of this cluster;
    nothing: the first partition of the first of `topics` stands for its positions. `share`: the partitions of it whose
    positions are this producer's. `letters`: which of `topics` is that of dead letters. `request_seconds`: how long the
    brokers may take to say what is committed.
    """

    properties: Mapping[str, str]
    topics: Mapping[str, NewTopicSettings | None]
    group: str
    transactional_id: str | None = None
    transaction_timeout_ms: int = 60_000
    source_topics: Sequence[str] = ()
    share: Share = WHOLE
    letters: str | None = None
    request_seconds: float = REQUEST_TIMEOUT_SECONDS


class KafkaProducer:
    """Satisfies `Transactions`. The first use connects, and so does the first one after `close`."""

    def __init__(self, settings: KafkaProducerSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._reports = ClientReports()
        self._statistics = Statistics()
        self._transactions: Counter[str] = Counter()
        self._client: Producer | None = None
        self._group: Consumer | None = None
        self._failure: tuple[KafkaError, str] | None = None
        self._in_transaction = False
        self._rules: dict[str, TopicRules] = {}
        self._made: set[str] = set()

    @property
    def properties(self) -> Mapping[str, str]:
        """The client's properties."""
        return self._settings.properties

    @property
    def source_topics(self) -> Sequence[str]:
        """The topics that the job reads, of the cluster that is written to."""
        return self._settings.source_topics

    @property
    def transactional(self) -> bool:
        """Whether it writes in transactions."""
        return self._settings.transactional_id is not None

    # --- records ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """See that all topics are there that are not to be made, and fit. Raises ConnectorError."""
        topics = Topics(self._settings.properties, self._clock)
        for topic, create in self._settings.topics.items():
            if create is None:
                require_topic(topics, topic, None)
            if topic == self._settings.letters and topics.partitions(topic) is not None:
                _require_all_kept(topic, topics.settings(topic))

    def open(self) -> None:
        """Make the topics that are to be made, and learn what records they take. Raises ConnectorError."""
        if self._rules:
            return
        self.check()
        topics, properties = Topics(self._settings.properties, self._clock), self._settings.properties
        own = int(properties.get("message.max.bytes", _CLIENT_BYTES_MAX))
        for topic, create in self._settings.topics.items():
            if create is not None and topics.partitions(topic) is None and topics.create(topic, create):
                self._made.add(topic)
        self._rules = {
            topic: rules_of(topic, topics.settings(topic), properties, own) for topic in self._settings.topics
        }

    def discard(self, topic: str) -> None:
        """Delete a topic that `open` has made, unless there is something in it. Raises ConnectorError."""
        if topic not in self._made:
            return
        self._made.remove(topic)
        topics = Topics(self._settings.properties, self._clock)
        try:
            if topics.is_empty(topic, self.ends(topic)):
                topics.delete(topic)
        finally:
            self.close()

    def ends(self, topic: str) -> dict[int, int]:
        """By partition, the offset behind the last record of a topic. Raises ConnectorError."""
        numbers = range(Topics(self._settings.properties, self._clock).partitions(topic) or 0)
        with self._reports.translated(f"ask for the ends of the topic {topic}"):
            found = {number: self._reader.get_watermark_offsets(TopicPartition(topic, number)) for number in numbers}
        return {number: high for number, (_, high) in found.items()}

    def rules(self, topic: str) -> TopicRules:
        """What records a topic takes; known after `open`."""
        return self._rules[topic]

    def write(
        self,
        topic: str,
        values: Sequence[bytes | str | None],
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Headers] | None = None,
        timestamps_ms: Sequence[int | None] | None = None,
    ) -> None:
        """Hand records over; they are delivered by `flush`. Without a time of its own a record has that of this moment.

        Raises ConnectorError when one before them has failed.
        """
        self._raise_failure()
        with self._translated(f"write to the topic {topic}"):
            if headers is not None or timestamps_ms is not None:
                self._write_records(topic, values, keys, headers, timestamps_ms)
            elif keys is not None:
                self._write_keyed(topic, values, keys)
            else:
                self._write_values(topic, values)
            self._producer.poll(0)

    def _write_values(self, topic: str, values: Sequence[bytes | str | None]) -> None:
        produce = self._producer.produce
        for value in values:
            while True:
                try:
                    produce(topic, value)
                    break
                except BufferError:
                    self._make_room()

    def _write_keyed(self, topic: str, values: Sequence[bytes | str | None], keys: Sequence[bytes | None]) -> None:
        """Apart from `_write_records`, because headers cost as much as all the rest, also when there are none."""
        produce = self._producer.produce
        for value, key in zip(values, keys, strict=True):
            while True:
                try:
                    produce(topic, value, key)
                    break
                except BufferError:
                    self._make_room()

    def _write_records(
        self,
        topic: str,
        values: Sequence[bytes | str | None],
        keys: Sequence[bytes | None] | None,
        headers: Sequence[Headers] | None,
        timestamps_ms: Sequence[int | None] | None,
    ) -> None:
        produce = self._producer.produce
        for row, value in enumerate(values):
            key = keys[row] if keys is not None else None
            named: list[tuple[str, str | bytes | None]] = list(headers[row]) if headers is not None else []
            time_ms = (timestamps_ms[row] if timestamps_ms is not None else None) or _NOW
            while True:
                try:
                    produce(topic, value, key, headers=named, timestamp=time_ms)
                    break
                except BufferError:
                    self._make_room()

    def flush(self) -> None:
        """Until all records are taken by the brokers. Raises ConnectorError when one was not."""
        with self._translated("write"):
            left = self._producer.flush(_FLUSH_SECONDS)
        self._raise_failure()
        if left:
            raise TransientError(
                f"Kafka: {left} records are not taken within {_FLUSH_SECONDS:.0f} seconds", "E4101", _AWAY
            )

    def forget(self) -> None:
        """Drop what is not yet sent, after a failure; within transactions `abort` has done it.

        The client goes with it: what is written to it after a purge may be dropped too, and its report would say no
        more than that of what should be.
        """
        if not self.transactional:
            self._drop_client()
            self._failure = None

    def figures(self) -> ClientFigures | None:
        """What the client last reported; None before its first report."""
        figures = self._statistics.figures()
        if figures is None or self._client is None:
            return None
        # A report is up to an interval old; the client's own count is of now, but also counts what it has to tell.
        waiting = min(len(self._client), figures.waiting_records)
        return replace(figures, waiting_records=waiting, transactions=dict(self._transactions))

    def close(self) -> None:
        self._rules = {}
        self._failure, self._in_transaction = None, False
        self._reports = ClientReports()
        self._drop_client()
        if self._group is not None:
            group, self._group = self._group, None
            group.close()

    def _drop_client(self) -> None:
        """End the client with what it holds; the next use makes another."""
        if self._client is not None:
            client, self._client = self._client, None
            client.purge()
            # Its own `close` would flush, and raise what has been raised before.
            del client

    # --- transactions -----------------------------------------------------------------------------------------------

    def committed(self) -> Mapping[str, CommittedOffset]:
        doing = f"read what the group {self._settings.group} has committed"
        with self._reports.translated(doing):
            found = self._reader.committed(self._group_partitions(), timeout=self._settings.request_seconds)
        for each in found:
            if each.error is not None:
                raise kafka_error(each.error, doing)
        return {
            f"{each.topic}-{each.partition}": CommittedOffset(each.offset, each.metadata or "")
            for each in found
            if each.offset >= 0
        }

    def _group_partitions(self) -> list[TopicPartition]:
        if not self._settings.source_topics:
            return [_partition(self._stand_in)]
        topics, share = Topics(self._settings.properties, self._clock), self._settings.share
        return [
            TopicPartition(topic, number)
            for topic in self._settings.source_topics
            for number in share.partitions_of(topics.partitions(topic) or 0)
        ]

    @property
    def _stand_in(self) -> str:
        return f"{next(iter(self._settings.topics))}-0"

    def forget_committed(self) -> None:
        Topics(self._settings.properties, self._clock).forget_group(self._settings.group)

    def init(self) -> None:
        self.open()
        with self._translated("begin to write in transactions"):
            self._producer.init_transactions(_COMMIT_SECONDS)

    def begin(self) -> None:
        with self._translated("begin a transaction"):
            self._producer.begin_transaction()
        self._in_transaction = True

    def send(self, positions: Positions, epoch: int, token: str) -> None:
        if not self._settings.source_topics:
            shown = {self._stand_in: epoch}
        else:
            shown = {name: integer(position) for name, position in positions.items()}
        offsets = [_partition(name, offset, token) for name, offset in shown.items()]
        group = self._reader.consumer_group_metadata()
        if self._reports.all_down:
            # The client may hold on to brokers that it no longer has; a new one asks again.
            raise TransientError("Kafka: all brokers were unreachable: the transaction was abandoned", "E4101", _AWAY)
        producer, seconds = self._producer, self._answer_seconds(_SEND_SECONDS)
        self._call_in_time(
            "add positions to the transaction",
            lambda: producer.send_offsets_to_transaction(offsets, group, seconds),
            seconds * 1.5,
        )

    def commit(self) -> None:
        deadline_ms = self._clock.monotonic_ms() + self._answer_seconds(_COMMIT_SECONDS) * 1000
        try:
            while not self._is_committed(deadline_ms):
                pass
        except (FencedError, UnknownOutcomeError):
            self._transactions["failed"] += 1  # Whatever else fails is aborted, and counted then.
            raise
        self._transactions["committed"] += 1
        self._in_transaction = False

    def _is_committed(self, deadline_ms: float) -> bool:
        """False: the brokers have not answered yet, and the same call may be made again."""
        left_ms = deadline_ms - self._clock.monotonic_ms()
        try:
            with self._translated("commit a transaction"):
                self._producer.commit_transaction(max(left_ms, 1.0) / 1000)
        except ConnectorError as error:
            cause = error.__cause__
            failed = error_of(cause) if isinstance(cause, KafkaException) else None
            if failed is None or failed.fatal() or failed.txn_requires_abort() or not failed.retriable():
                raise
            if left_ms <= 0:
                raise UnknownOutcomeError(
                    f"Kafka: a transaction was not decided in time: {failed.str()}",
                    "E4110",
                    _AWAY,
                ) from error
            return False
        return True

    def abort(self) -> None:
        if not self._in_transaction:
            return
        self._in_transaction = False
        self._failure = None
        with self._translated("abort a transaction"):
            self._producer.abort_transaction(self._answer_seconds(_COMMIT_SECONDS))
        self._transactions["aborted"] += 1
        self._failure = None

    # --- private ----------------------------------------------------------------------------------------------------

    def _answer_seconds(self, most: float) -> float:
        """How long an answer is waited for: no longer than until the broker gives the transaction up by itself."""
        given_ms = self._settings.properties.get("transaction.timeout.ms", self._settings.transaction_timeout_ms)
        return min(most, int(given_ms) / 1000)

    @property
    def _producer(self) -> Producer:
        if self._client is None:
            own: dict[str, str | int | bool] = {**self._settings.properties, **OWN}
            own.setdefault("message.max.bytes", _CLIENT_BYTES_MAX)
            smallest = min((rules.surely_taken_bytes for rules in self._rules.values()), default=None)
            if smallest is not None:
                own["batch.size"] = min(int(own.get("batch.size", smallest)), smallest)
            if self._settings.transactional_id is not None:
                own["transactional.id"] = self._settings.transactional_id
                own.setdefault("transaction.timeout.ms", self._settings.transaction_timeout_ms)
            self._statistics = Statistics()
            reports = {"error_cb": self._reports.add, "stats_cb": self._statistics.take, "logger": QUIET}
            self._client = Producer({**own, **reports, "on_delivery": self._delivered})
        return self._client

    @property
    def _reader(self) -> Consumer:
        """Asks for and stands for the job's group; it reads nothing."""
        if self._group is None:
            self._group = Consumer(
                {
                    **connection_properties(self._settings.properties),
                    "group.id": self._settings.group,
                    "enable.auto.commit": False,
                    # A reader of committed offsets would wait for open transactions.
                    "isolation.level": "read_uncommitted",
                    "log_level": "0",
                    "error_cb": self._reports.add,
                    "logger": QUIET,
                }
            )
        return self._group

    def _call_in_time(self, doing: str, call: Callable[[], None], seconds: float) -> None:
        """Make a call of the client that may never come back, whatever time it was given.

        librdkafka (2.16) waits for a group's coordinator without end when that broker has left the cluster. Then the
        client is left alone with its call, and its transaction to the next `init`.
        """
        outcome: SimpleQueue[Exception | None] = SimpleQueue()

        def run() -> None:
            try:
                call()
                outcome.put(None)
            except Exception as raised:
                outcome.put(raised)

        Thread(target=run, name="ferris-kafka-call", daemon=True).start()
        try:
            raised = outcome.get(timeout=seconds)
        except Empty:
            self._client, self._in_transaction = None, False
            raise TransientError(f"Kafka: cannot {doing}: no answer in {seconds:g} seconds", "E4101", _AWAY) from None
        if raised is not None:
            with self._translated(doing):
                raise raised

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turns the client's exceptions into ours. One that it raised before it called us back is inside of another."""
        try:
            yield
        except KafkaException as raised:
            raise self._meaning(error_of(raised), doing) from raised
        except SystemError as raised:
            if not isinstance(raised.__cause__, KafkaException):
                raise
            raise self._meaning(error_of(raised.__cause__), doing) from raised

    def _meaning(self, error: KafkaError, doing: str) -> ConnectorError:
        """What a failed call of a transaction means. A delivery that failed is the reason, where there was one."""
        meant = kafka_error(error, doing)
        if isinstance(meant, FencedError) or self._failure is None:
            return meant
        failed, topic = self._failure
        return kafka_error(failed, f"write to the topic {topic}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """Told of failures only. The first one is the reason; the others follow from it."""
        if error is not None and self._failure is None and error.code() not in _PURGED:
            self._failure = error, message.topic() or ""

    def _raise_failure(self) -> None:
        if self._failure is not None:
            error, topic = self._failure
            raise kafka_error(error, f"write to the topic {topic}")

    def _make_room(self) -> None:
        """The client's queue is full: wait until the brokers have taken some."""
        full = len(self._producer)
        for _ in range(_ROOM_WAITS_MAX):
            self._producer.poll(_ROOM_SECONDS)
            self._raise_failure()
            if len(self._producer) <= full * 3 // 4:
                return
        raise TransientError("Kafka: the brokers take no records", "E4101", _AWAY)


_AWAY = "is the broker running, and has it room?"

#: Reports of records that we dropped ourselves.
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


def properties_beside(reader: Mapping[str, str]) -> dict[str, str]:
    """The properties of a producer on the cluster that a client with the properties of `reader` reaches."""
    reached = {name: str(value) for name, value in connection_properties(reader).items()}
    return {**SUGGESTED, **reached, **REQUIRED}


def _require_all_kept(topic: str, settings: TopicSettings) -> None:
    """Raises FatalConnectorError E4113 for a topic of dead letters that would lose some."""
    if settings.compacted:
        raise FatalConnectorError(
            f"Kafka: the topic of dead letters {topic} is compacted: it refuses letters without a key, and keeps only"
            " the last one of each key",
            "E4113",
            "set its cleanup.policy to delete, or choose another topic with 'dlq.topic'",
        )


def _partition(name: str, offset: int = 0, metadata: str | None = None) -> TopicPartition:
    """`topic-0` as the client names it."""
    topic, _, number = name.rpartition("-")
    if metadata is None:
        return TopicPartition(topic, int(number))
    return TopicPartition(topic, int(number), offset, metadata)
