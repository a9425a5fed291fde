"""A Kafka topic as a source: all its partitions, assigned, read up to what is committed.

A position is the next offset of a partition. Offsets have holes (control records, aborted and compacted records), so
that a count of records never says where the end is: a bounded read ends when the client reports a partition's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ferrisstreams.batch import Fetch, Limit, Positions, integer
from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.connectors.base import Identities, SourceProgress
from ferrisstreams.connectors.kafka.buffer import Buffer
from ferrisstreams.connectors.kafka.client import QUIET, STATISTICS_INTERVAL_MS, ClientReports
from ferrisstreams.connectors.kafka.messages import KafkaMessages, chunk_of
from ferrisstreams.connectors.kafka.partition import PartitionRead
from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.connectors.kafka.startup import Startup
from ferrisstreams.connectors.kafka.statistics import Statistics
from ferrisstreams.connectors.kafka.topics import (
    REQUEST_TIMEOUT_SECONDS,
    NewTopicSettings,
    TopicFacts,
    Topics,
    require_topic,
)
from ferrisstreams.connectors.kafka.translation import error_of, kafka_error
from ferrisstreams.errors import FatalConnectorError, TransientError
from ferrisstreams.memory_file import MemoryFile

#: What the job needs of its consumer; a contradicting value of the user is refused.
REQUIRED: Mapping[str, str] = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "isolation.level": "read_committed",
}

#: What a consumer does better with. The fetcher sleeps for `fetch.queue.backoff.ms` when its queue is full, by default
#: for a second; an empty fetch, which tells the end of a partition, is answered after `fetch.wait.max.ms`.
SUGGESTED: Mapping[str, str] = {
    "fetch.queue.backoff.ms": "5",
    "fetch.wait.max.ms": "100",
    "queued.min.messages": "50000",
    "queued.max.messages.kbytes": "16384",
    "statistics.interval.ms": STATISTICS_INTERVAL_MS,
}

#: Set whatever the user says: positions are the job's own, and the client's log is not the job's.
OWN: Mapping[str, str] = {"auto.offset.reset": "error", "enable.partition.eof": "true", "log_level": "0"}

#: How often the topic is asked whether it has more partitions.
_DISCOVERY_INTERVAL_MS = 10_000.0
_DISCOVERY_TIMEOUT_SECONDS = 2.0
#: The same where it may not have more: what is read until then may be taken for the wrong group's.
_WATCH_INTERVAL_MS = 1_000.0
#: How long all brokers may be away before the source says so.
_UNREACHABLE_MS = 30_000.0
#: Messages and bytes that wait here at most beside a batch; the client has a queue of its own before that.
_WAITING_RECORDS_MAX = 100_000
_WAITING_BYTES_MAX = 64 << 20
#: What one call of the client may give: see `Chunk`.
_CHUNK_RECORDS = 1_000
#: Messages of a batch at most.
_BATCH_RECORDS_MAX = 100_000
#: Bytes of a message until some have been seen.
_MESSAGE_BYTES_GUESS = 200.0
_MADE_ANEW_HINT = (
    "to start over with the topic as it is now, delete the job's state: `ferris state reset`; a job that keeps none"
    " can also be sent to it: `ferris offsets --to earliest`"
)
#: How often and how long a cluster is asked at the start before it counts as away.
_CONNECT_ATTEMPTS = 4
_CONNECT_SECONDS = 1.5
#: What is answered for a partition that has no leader yet, and how long one is waited for.
_NO_LEADER = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
_LEADER_NAP_MS = 50.0
_LEADER_NAPS_MAX = 100
#: The least that the client is asked for at a time when it need not be waited for.
_CONSUME_MIN = 500
#: A wait for the first record wakes when it comes: waiting longer than asked costs nothing but turns of the loop.
_IDLE_WAIT_MS = 50.0


@dataclass(frozen=True, slots=True)
class KafkaSourceSettings:
    """`properties` are the client's, `group` is where positions are committed to. `bounded`: up to what is there at the
    start, or up to `ends` where a partition is in it. `create`: the topic is made when it is not there. `timestamps`:
    whether the records' timestamps are wanted, which cost some percent.

    `share`: which partitions are read. `partitions`: the topic must have so many, and keep them; None: it may grow.
    `stand_in`: what is in the place of a value where there is none; None: such messages are left out.
    """

    topic: str
    properties: Mapping[str, str]
    group: str
    startup: Startup = field(default_factory=Startup)
    bounded: bool = False
    create: NewTopicSettings | None = None
    ends: Mapping[int, int] | None = None
    record_bytes_max: int = 16 << 20
    discovery_interval_ms: float = _DISCOVERY_INTERVAL_MS
    share: Share = WHOLE
    partitions: int | None = None
    timestamps: bool = True
    stand_in: bytes | None = None


class KafkaSource:
    """Reads one topic into `block`, one partition a fetch."""

    def __init__(self, settings: KafkaSourceSettings, block: MemoryFile, clock: Clock | None = None) -> None:
        self._settings = settings
        self._block = block
        self._clock = clock or SystemClock()
        self._reports = ClientReports()
        self._statistics = Statistics()
        self._consumer: Consumer | None = None
        self._topics: Topics | None = None
        self._topic_id: str | None = None
        self._partitions: dict[int, PartitionRead] = {}
        self._buffer = Buffer()
        self._message_bytes = _MESSAGE_BYTES_GUESS
        self._discovered_ms = 0.0
        self._heard_ms = 0.0
        self._round_ms: float | None = None
        self._given_ms = 0.0
        self._missed = 0
        self._commit_error: KafkaError | None = None

    # --- the contract -----------------------------------------------------------------------------------------------

    def check(self, positions: Positions, identities: Identities) -> None:
        name, kept = self._settings.topic, identities.get(self._settings.topic)
        consumer, topics = self._connected()
        if self._ask_partitions(consumer):
            self._topic_id = kept
            self._identify(topics.facts(name))
        elif kept is not None:
            raise FatalConnectorError(f"Kafka: the topic {name} (id {kept}) no longer exists", "E4103", _MADE_ANEW_HINT)
        elif self._settings.create is None:
            require_topic(topics, name, None)

    def identities(self) -> Identities:
        return {self._settings.topic: self._topic_id} if self._topic_id is not None else {}

    def open(self, positions: Positions) -> None:
        consumer, topics = self._connected()
        count = self._ask_partitions(consumer) or require_topic(topics, self._settings.topic, self._settings.create)
        self._identify(topics.facts(self._settings.topic))
        self._require_partitions(count)
        own = self._settings.share.partitions_of(count)
        self._partitions = {number: self._begin(consumer, number, positions) for number in own}
        self._assign(consumer)
        self._discovered_ms = self._heard_ms = self._given_ms = self._clock.monotonic_ms()

    def poll(self, limit: Limit) -> Fetch | None:
        consumer = self._opened
        self._discover(consumer)
        rows = max(1, min(limit.rows, int(limit.bytes / self._message_bytes), _BATCH_RECORDS_MAX))
        while not self._is_enough(rows, limit):
            since_ms = self._buffer.since_ms()
            # What the client has got while the last batch was worked on has waited already.
            began_ms = self._given_ms if since_ms is None else min(since_ms, self._given_ms)
            left_ms = began_ms + limit.wait_ms - self._clock.monotonic_ms()
            wait_ms = limit.wait_ms if since_ms is None else max(0.0, left_ms)
            given = self._consume(consumer, rows, wait_ms, limit.fill)
            if left_ms <= 0 and not given:
                break
        self._given_ms = self._clock.monotonic_ms()
        return self._give(consumer, rows)

    def partitions(self) -> Positions:
        # Also those whose end a bounded read has reached: as in a long run, they hold windows open.
        return self.reached()

    def caught_up(self) -> Collection[str]:
        waiting = set(self._buffer.partitions())
        return {self._name(number) for number, p in self._partitions.items() if p.at_end and number not in waiting}

    def reached(self) -> Positions:
        return {self._name(number): p.position for number, p in self._partitions.items()}

    @property
    def ended(self) -> bool:
        return self._settings.bounded and all(p.done for p in self._partitions.values())

    def progress(self) -> SourceProgress:
        lag = {self._name(number): max(0, self._high(number) - p.position) for number, p in self._partitions.items()}
        done = sum(p.position - p.start for p in self._partitions.values())
        total = sum((p.end or 0) - p.start for p in self._partitions.values())
        whole = max(done, total) if self._settings.bounded else None
        return SourceProgress(done, whole, "offsets", lag, self._statistics.figures())

    def commit(self, positions: Positions) -> None:
        offsets = [
            TopicPartition(self._settings.topic, number, integer(positions[name]))
            for number in self._partitions
            if (name := self._name(number)) in positions
        ]
        self._raise_commit_error()
        if offsets:
            with self._reports.translated(f"commit positions to the group {self._settings.group}"):
                self._opened.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            self._buffer.clear()
            consumer.close()
        self._topics = self._topic_id = None

    def count_partitions(self) -> int:
        """How many partitions the topic has; 0: there is no such topic. Needs no `open`. Raises ConnectorError."""
        return self._ask_partitions(self._connected()[0])

    # --- at start ---------------------------------------------------------------------------------------------------

    @property
    def _opened(self) -> Consumer:
        assert self._consumer is not None, "open the source first"
        return self._consumer

    def _name(self, partition: int) -> str:
        return f"{self._settings.topic}-{partition}"

    def _connected(self) -> tuple[Consumer, Topics]:
        """The clients of the source, made by the first use."""
        if self._consumer is None or self._topics is None:
            self._reports, self._statistics = ClientReports(), Statistics()
            own = {
                **OWN,
                "group.id": self._settings.group,
                "error_cb": self._reports.add,
                "on_commit": self._on_commit,
                "stats_cb": self._statistics.take,
                "logger": QUIET,
            }
            self._consumer = Consumer({**self._settings.properties, **own})
            self._topics = Topics(self._settings.properties, self._clock)
        return self._consumer, self._topics

    def _identify(self, found: TopicFacts | None) -> None:
        """Take the topic's id over. Raises FatalConnectorError E4111 when it is another than the one that is known."""
        now = found.id if found is not None else None
        if now is not None and self._topic_id not in (now, None):
            raise FatalConnectorError(
                f"Kafka: the topic {self._settings.topic} was deleted and recreated: the job has read the one with the"
                f" id {self._topic_id}, this one has the id {now}",
                "E4111",
                _MADE_ANEW_HINT,
            )
        self._topic_id = now or self._topic_id

    def _ask_partitions(self, consumer: Consumer) -> int:
        """How many partitions the topic has; 0: there is no such topic."""
        topic, address = self._settings.topic, self._settings.properties.get("bootstrap.servers")
        for attempt in range(_CONNECT_ATTEMPTS):
            try:
                found = consumer.list_topics(topic, timeout=_CONNECT_SECONDS).topics.get(topic)
                break
            except KafkaException as raised:
                # The reason comes by a callback, which only a poll calls.
                consumer.poll(0)
                last = attempt == _CONNECT_ATTEMPTS - 1
                if last or self._reports.reason is not None:
                    with self._reports.translated(f"reach {address}"):
                        raise KafkaException(error_of(raised)) from raised
        if found is not None and found.error is not None:
            if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return 0
            raise kafka_error(found.error, f"read the topic {topic}")
        return len(found.partitions) if found is not None else 0

    def _begin(self, consumer: Consumer, number: int, positions: Positions) -> PartitionRead:
        """Where a partition begins and, when the read is bounded, where it ends."""
        low, high = self._watermarks(consumer, number)
        given = positions.get(self._name(number))
        if given is not None:
            start = integer(given)
            self._require_held(number, start, low, high)
        elif positions:
            start = low  # The topic has grown: a new partition begins at its beginning.
        else:
            start = self._startup(consumer, number, low, high)
        end = (self._settings.ends or {}).get(number, high) if self._settings.bounded else None
        return PartitionRead.from_start(start, end)

    def _watermarks(self, consumer: Consumer, number: int) -> tuple[int, int]:
        """Where a partition begins and ends. A topic that was just made has no leaders for a moment."""
        at = TopicPartition(self._settings.topic, number)
        for _ in range(_LEADER_NAPS_MAX):
            try:
                return consumer.get_watermark_offsets(at, timeout=REQUEST_TIMEOUT_SECONDS)
            except KafkaException as raised:
                if error_of(raised).code() not in _NO_LEADER:
                    break
            self._clock.sleep_ms(_LEADER_NAP_MS)
        with self._reports.translated(f"ask for the offsets of {self._name(number)}"):
            return consumer.get_watermark_offsets(at, timeout=REQUEST_TIMEOUT_SECONDS)

    def _startup(self, consumer: Consumer, number: int, low: int, high: int) -> int:
        startup = self._settings.startup
        match startup.mode:
            case "earliest":
                return low
            case "latest":
                return high
            case "timestamp":
                at = TopicPartition(self._settings.topic, number, startup.time_ms)
                with self._reports.translated(f"find a time in {self._name(number)}"):
                    (found,) = consumer.offsets_for_times([at], timeout=REQUEST_TIMEOUT_SECONDS)
                return found.offset if found.offset >= 0 else high
            case "offsets":
                start = startup.offsets.get(number, low)
                self._require_held(number, start, low, high)
                return start

    def _require_held(self, number: int, position: int, low: int, high: int) -> None:
        """Raises FatalConnectorError E4107 when the topic no longer holds what comes next."""
        name = self._name(number)
        if position < low:
            raise FatalConnectorError(
                f"{name}: the next record of the job is at offset {position}, but the topic begins at {low}:"
                f" {low - position} offsets are gone, and with them any records they held",
                "E4107",
                "raise the topic's retention; to go on from what is there, reset the job's state, or send a job without"
                " state there: `ferris offsets --to earliest`",
            )
        if position > high:
            raise FatalConnectorError(
                f"{name}: the next record of the job is at offset {position}, but the topic ends at {high}:"
                " it was recreated, or lost its end",
                "E4107",
                "to start over, reset the job's state",
            )

    def _assign(self, consumer: Consumer) -> None:
        topic = self._settings.topic
        left = [TopicPartition(topic, number, p.position) for number, p in self._partitions.items() if not p.done]
        with self._reports.translated(f"assign the partitions of {topic}"):
            consumer.assign(left)
            # A partition that was read to its bound was paused, and stays so.
            consumer.resume(left)

    # --- while running ----------------------------------------------------------------------------------------------

    def _is_enough(self, rows: int, limit: Limit) -> bool:
        waiting = self._buffer.records
        if self.ended or self._buffer.fullest() >= rows or (waiting and not limit.fill):
            return True
        most = max(_WAITING_RECORDS_MAX, rows)
        return waiting >= most or waiting * self._message_bytes >= max(_WAITING_BYTES_MAX, limit.bytes)

    def _consume(self, consumer: Consumer, rows: int, wait_ms: float, fill: bool) -> bool:
        """Take a chunk of what the client has, waiting for it when there is nothing. Whether there was anything."""
        rows = max(1, min(rows - self._buffer.fullest(), _CHUNK_RECORDS))
        with self._reports.translated(f"read the topic {self._settings.topic}"):
            messages = consumer.consume(max(rows, _CONSUME_MIN), 0)
            if not messages and wait_ms > 0:
                if fill and self._buffer.records:
                    messages = consumer.consume(rows, wait_ms / 1000)
                elif messages := consumer.consume(1, max(wait_ms, _IDLE_WAIT_MS) / 1000):
                    messages += consumer.consume(rows, 0)
        if not messages:
            self._note_silence()
            return False
        self._heard_ms = self._clock.monotonic_ms()
        self._reports.all_down = False
        events: list[Message] = []
        if any(map(Message.error, messages)):
            events = [message for message in messages if message.error() is not None]
            messages = [message for message in messages if message.error() is None]
        for number, group in self._split_by_partition(messages):
            self._take(number, group)
        for event in events:
            self._event(consumer, event)
        self._pass_ends(consumer)
        return True

    def _split_by_partition(self, messages: list[Message]) -> Iterator[tuple[int, list[Message]]]:
        """Messages of one partition that came one behind the other, together."""
        found = set(map(Message.partition, messages)) if len(self._partitions) > 1 else set(self._partitions)
        if len(found) > 1:
            groups = ((number, list(group)) for number, group in groupby(messages, Message.partition))
        else:
            groups = ((number, messages) for number in found if messages)
        for number, group in groups:
            assert number is not None
            yield number, group

    def _take(self, number: int, messages: list[Message]) -> None:
        partition = self._partitions[number]
        if partition.stopped:
            return
        chunk = chunk_of(messages, self._settings.timestamps)
        partition.took(chunk.offsets[-1])
        self._buffer.add(number, chunk, self._heard_ms)

    def _event(self, consumer: Consumer, message: Message) -> None:
        """The end of a partition, or an error."""
        error, number = message.error(), message.partition()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF and number is not None:
            offset = message.offset()
            assert offset is not None
            self._partitions[number].came_to_end(offset)
            self._partitions[number].gave(None, self._buffer.waiting(number))
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET and number is not None:
            low, high = self._watermarks(consumer, number)
            self._require_held(number, self._partitions[number].taken, low, high)
        raise kafka_error(error, f"read the topic {self._settings.topic}")

    def _pass_ends(self, consumer: Consumer) -> None:
        """Of a bounded read: partitions whose end is reached are read no more."""
        if not self._settings.bounded:
            return
        for number, partition in self._partitions.items():
            if not partition.passes_its_end:
                continue
            assert partition.end is not None
            partition.stopped = True
            self._buffer.drop_from(number, partition.end)
            with self._reports.translated(f"stop reading {self._name(number)}"):
                consumer.pause([TopicPartition(self._settings.topic, number)])
            partition.gave(None, self._buffer.waiting(number))

    def _give(self, consumer: Consumer, rows: int) -> Fetch | None:
        now_ms = self._clock.monotonic_ms()
        self._round_ms = self._round_ms or now_ms
        number = self._buffer.next_partition(now_ms)
        if number is None:
            self._round_ms = None
            return None
        partition = self._partitions[number]
        chunks = self._buffer.take(number, rows, now_ms)
        messages = KafkaMessages(self._name(number), chunks, self._settings.record_bytes_max, self._settings.stand_in)
        first, last = chunks[0].offsets[0], chunks[-1].offsets[-1]
        left = self._buffer.waiting(number)
        partition.gave(last, left)
        partition.at_end = partition.at_end or (not left and partition.is_near(self._high(number)))
        self._write(messages)
        drained = self._drained(full=len(messages) >= rows)
        return Fetch(
            partition=self._name(number),
            records=self._block,
            origin=self._name(number),
            offset=first,
            position=partition.position,
            caught_up=partition.at_end and not left,
            more=bool(self._buffer.records - left) or not all(p.at_end for p in self._partitions.values()),
            messages=messages,
            tombstones=messages.tombstones,
            drained=drained,
        )

    def _drained(self, full: bool) -> bool:
        """Whether all that waited when this round began is given, and no more than that: then a new one begins."""
        oldest_ms = self._buffer.since_ms()
        if full or (oldest_ms is not None and self._round_ms is not None and oldest_ms <= self._round_ms):
            return False
        self._round_ms = None
        return True

    def _write(self, messages: KafkaMessages) -> None:
        joined = messages.joined
        self._block.write(joined or b"")
        if joined:
            self._message_bytes = max(1.0, len(joined) / len(messages))

    def _high(self, number: int) -> int:
        """The end of a partition as the client last heard of it, without asking."""
        if self._consumer is None:
            return self._partitions[number].position
        at = TopicPartition(self._settings.topic, number)
        try:
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
        except KafkaException:
            return self._partitions[number].position  # Not heard of yet.
        return high

    def _note_silence(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if not self._reports.all_down:
            self._heard_ms = now_ms
        elif now_ms - self._heard_ms > _UNREACHABLE_MS:
            raise TransientError(
                f"Kafka: no broker of {self._settings.properties.get('bootstrap.servers')} can be reached for"
                f" {_UNREACHABLE_MS / 1000:.0f} seconds",
                "E4101",
                "is the broker running?",
            )

    # --- a topic that grows -----------------------------------------------------------------------------------------

    def _discover(self, consumer: Consumer) -> None:
        now_ms = self._clock.monotonic_ms()
        fixed = self._settings.partitions is not None
        interval_ms = self._settings.discovery_interval_ms
        if now_ms - self._discovered_ms < (min(_WATCH_INTERVAL_MS, interval_ms) if fixed else interval_ms):
            return
        self._discovered_ms = now_ms
        name = self._settings.topic
        _, topics = self._connected()
        try:
            topic = consumer.list_topics(name, timeout=_DISCOVERY_TIMEOUT_SECONDS).topics.get(name)
            facts = topics.facts(name, _DISCOVERY_TIMEOUT_SECONDS)
        except (KafkaException, TransientError):
            return  # Asked again in a while; brokers that stay away are reported by `_note_silence`.
        self._identify(facts)
        if topic is None or not topic.partitions:
            self._missed += 1
            # Once may be a broker that does not know it yet.
            if self._missed > 1:
                raise FatalConnectorError(f"Kafka: the topic {name} no longer exists", "E4103", "was it deleted?")
            return
        self._missed = 0
        self._require_partitions(len(topic.partitions))
        own = (number for number in sorted(topic.partitions) if self._settings.share.owns(number))
        new = [number for number in own if number not in self._partitions]
        if self._settings.bounded or not new:
            return
        for number in new:
            self._partitions[number] = PartitionRead.from_start(0, None)
        with self._reports.translated(f"assign new partitions of {name}"):
            consumer.incremental_assign([TopicPartition(name, number, 0) for number in new])

    def _require_partitions(self, count: int) -> None:
        """Raises FatalConnectorError E4112 when the topic has other partitions than the job's state is dealt by."""
        expected = self._settings.partitions
        if expected is not None and count != expected:
            raise FatalConnectorError(
                f"Kafka: the topic {self._settings.topic} had {expected} partitions and has {count}: keys may be in"
                " another partition now than the worker that holds their state",
                "E4112",
                "start over with one worker: `ferris state reset`, and 'parallelism' = 1",
            )

    # --- commits, which are informative -----------------------------------------------------------------------------

    def _on_commit(self, error: KafkaError | None, _offsets: Sequence[TopicPartition]) -> None:
        self._commit_error = error

    def _raise_commit_error(self) -> None:
        """A commit that was refused is an error; one that came to nothing is made good by the next."""
        error, self._commit_error = self._commit_error, None
        if error is None:
            return
        meant = kafka_error(error, f"commit positions to the group {self._settings.group}")
        if isinstance(meant, FatalConnectorError):
            raise meant
