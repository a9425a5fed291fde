"""What is done with letters on a Kafka cluster: letters in a topic, and records that go back to one.

What was done is in the journal, a compacted topic. A replay writes the record and the journal's entry in one
transaction, so that neither is there without the other; another `ferris dlq` at work is fenced off. So it is for the
letters of a file, too, when their records go to a topic.

A letter's identity in a topic is its partition and offset. One that is purged is hidden at once, and deleted by the
broker when all letters before it are purged too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ferrisstreams.batch import Headers
from ferrisstreams.connectors.kafka.producer import KafkaProducer, KafkaProducerSettings
from ferrisstreams.connectors.kafka.records import Record, each_record
from ferrisstreams.connectors.kafka.topics import NewTopicSettings, Topics
from ferrisstreams.errors import ConnectorError
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.session.dlq_letters import REPLAYS_HEADER, Letter, LetterState, chunked

#: Letters, and bytes of them, of one transaction.
_CHUNK_LETTERS = 1000
_CHUNK_BYTES = 8 * 1024 * 1024

_REPLAYED, _PURGED = b"replayed", b"purged"

#: What headers of ours begin with; all others came with the record.
_OWN_PREFIXES = ("__connect.errors.", "ferris.")


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """The cluster by its client's properties, the journal's topic, and the name that its transactions have.

    `keeps_time`: a record that is replayed has the time of the first, because it is the event time.
    """

    properties: Mapping[str, str]
    topic: str
    name: str
    keeps_time: bool = False


class TopicJournal:
    """To read; to add to it when `writing`, and then others are fenced off. Records are replayed to the topic `target`.

    Raises ConnectorError.
    """

    def __init__(self, place: JournalPlace, faults: Faults, writing: bool = False, target: str | None = None) -> None:
        self._place = place
        self._faults = faults
        self._target = target
        self._producer = self._begin() if writing else None
        self._done = self._read()

    def state(self, letter_id: str) -> LetterState | None:
        """None for a letter that was purged."""
        done = self._done.get(letter_id)
        if done == _PURGED:
            return None
        return LetterState.REPLAYED if done == _REPLAYED else LetterState.WAITING

    def replay(self, letters: Iterable[Letter]) -> int:
        """Send the records of these to the target, each once; how many."""
        count = 0
        for chunk in chunked(letters, _CHUNK_LETTERS, _CHUNK_BYTES):
            headers = [(*letter.original, (REPLAYS_HEADER, str(letter.replays + 1).encode())) for letter in chunk]
            self._commit(chunk, _REPLAYED, headers)
            count += len(chunk)
        return count

    def purge(self, letters: Iterable[Letter]) -> int:
        """From now on these are gone; how many."""
        count = 0
        for chunk in chunked(letters, _CHUNK_LETTERS, _CHUNK_BYTES):
            self._commit(chunk, _PURGED)
            count += len(chunk)
            self._faults.reach("after_purge")
        return count

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close()

    # --- private ----------------------------------------------------------------------------------------------------

    def _begin(self) -> KafkaProducer:
        topics = {self._place.topic: NewTopicSettings(1, {"cleanup.policy": "compact"})}
        wanted = topics | ({self._target: None} if self._target is not None else {})
        settings = KafkaProducerSettings(self._place.properties, wanted, self._place.name, self._place.name)
        producer = KafkaProducer(settings)
        try:
            producer.init()
        except BaseException:
            producer.close()
            raise
        return producer

    def _read(self) -> dict[str, bytes]:
        """What was done with each letter. Read when older processes are fenced: nothing can be added to it then."""
        if Topics(self._place.properties).partitions(self._place.topic) is None:
            return {}
        records = each_record(self._place.properties, self._place.topic)
        return {(record.key or b"").decode(): record.value or b"" for record in records}

    def _commit(self, letters: Sequence[Letter], done: bytes, replayed: Sequence[Headers] | None = None) -> None:
        """One transaction: the records, when they are to be replayed, and the journal's entries."""
        producer = self._producer
        assert producer is not None, "a journal that was opened to be read"
        producer.begin()
        try:
            if replayed is not None:
                assert self._target is not None, "a journal without a target only reads and purges"
                keys = [letter.key for letter in letters]
                # The time of an old record is that of a record which retention may delete: kept only where it matters.
                times = [letter.record_time_ms for letter in letters] if self._place.keeps_time else None
                producer.write(self._target, [letter.value for letter in letters], keys, replayed, times)
            self._faults.reach("after_replay_intent")
            producer.write(self._place.topic, [done] * len(letters), [letter.id.encode() for letter in letters])
            producer.flush()
        except ConnectorError:
            producer.abort()
            raise
        self._faults.reach("after_replay_write")
        producer.commit()
        self._done |= {letter.id: done for letter in letters}


class TopicLetters:
    """The letters of a topic, with the journal of what was done with them."""

    def __init__(self, properties: Mapping[str, str], topic: str, journal: TopicJournal) -> None:
        self.place = topic
        self.bytes_not_final = 0
        self._properties = properties
        self._journal = journal

    def letters(self) -> Iterator[Letter]:
        for record in each_record(self._properties, self.place):
            letter = _letter(record)
            state = self._journal.state(letter.id)
            if state is not None:
                yield replace(letter, state=state)

    def refusal(self, letter: Letter) -> str | None:
        return None

    def replay(self, letters: Iterable[Letter]) -> int:
        return self._journal.replay(letters)

    def purge(self, letters: Iterable[Letter]) -> int:
        count = self._journal.purge(letters)
        self._delete_purged()
        return count

    def close(self) -> None:
        self._journal.close()

    # --- private ----------------------------------------------------------------------------------------------------

    def _delete_purged(self) -> None:
        """Let the broker delete each partition's letters before the first one that is not purged."""
        kept: set[int] = set()
        upto: dict[int, int] = {}
        for record in each_record(self._properties, self.place):
            if self._journal.state(_identity(record)) is not None:
                kept.add(record.partition)
            elif record.partition not in kept:
                upto[record.partition] = record.offset + 1
        topics = Topics(self._properties)
        for partition, offset in upto.items():
            topics.delete_before(self.place, partition, offset)


def _identity(record: Record) -> str:
    return f"{record.partition}.{record.offset}"


def _letter(record: Record) -> Letter:
    own = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers if _is_ours(name)}
    return Letter(
        id=_identity(record),
        key=record.key,
        value=record.value,
        headers={name: text for name, text in own.items() if name != REPLAYS_HEADER},
        original=tuple((name, value) for name, value in record.headers if not _is_ours(name)),
        replays=int(own.get(REPLAYS_HEADER, "0")),
    )


def _is_ours(name: str) -> bool:
    return name.startswith(_OWN_PREFIXES)
