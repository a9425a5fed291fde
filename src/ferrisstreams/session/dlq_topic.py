"""Letters in a topic. What was done with them is in a compacted topic beside it, the journal.

A letter's identity is its partition and offset. A replay writes the record and the journal's entry in one transaction,
so that neither is there without the other; another `ferris dlq` at work is fenced off. A purged letter is hidden at
once, and deleted by the broker when all letters before it are purged too.
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
from ferrisstreams.session.dlq_letters import REPLAYS_HEADER, Letter, LetterState, in_chunks

#: Letters, and bytes of them, of one transaction.
_CHUNK_LETTERS = 1000
_CHUNK_BYTES = 8 * 1024 * 1024

_REPLAYED, _PURGED = b"replayed", b"purged"

#: What headers of ours begin with; all others came with the record.
_OWN_PREFIXES = ("__connect.errors.", "ferris.")


@dataclass(frozen=True, slots=True)
class TopicPlace:
    """The cluster by its client's properties, the topic of letters, and the name that a replay's transactions have.

    `keeps_time`: a record that is replayed has the time of the first, because it is the event time.
    """

    properties: Mapping[str, str]
    topic: str
    transactional_id: str
    keeps_time: bool = False

    @property
    def journal(self) -> str:
        return f"{self.topic}.journal"


class TopicLetters:
    """To read; to replay (to the topic `target`) or purge when `writing`, and then others are fenced off."""

    def __init__(self, place: TopicPlace, faults: Faults, writing: bool = False, target: str | None = None) -> None:
        self.place = place.topic
        self.bytes_not_final = 0
        self._place = place
        self._faults = faults
        self._target = target
        self._topics = Topics(place.properties)
        self._producer = self._begin() if writing else None
        self._journal = self._read_journal()

    def letters(self) -> Iterator[Letter]:
        for record in each_record(self._place.properties, self._place.topic):
            letter = _letter(record)
            done = self._journal.get(letter.id)
            if done != _PURGED:
                yield replace(letter, state=LetterState.REPLAYED) if done == _REPLAYED else letter

    def refusal(self, letter: Letter) -> str | None:
        return None

    def replay(self, letters: Iterable[Letter]) -> int:
        assert self._target is not None, "a store without a target only reads"
        count = 0
        for chunk in in_chunks(letters, _CHUNK_LETTERS, _CHUNK_BYTES):
            headers = [(*letter.original, (REPLAYS_HEADER, str(letter.replays + 1).encode())) for letter in chunk]
            self._commit(chunk, _REPLAYED, headers)
            count += len(chunk)
        return count

    def purge(self, letters: Iterable[Letter]) -> int:
        count = 0
        for chunk in in_chunks(letters, _CHUNK_LETTERS, _CHUNK_BYTES):
            self._commit(chunk, _PURGED)
            count += len(chunk)
            self._faults.reach("after_purge")
        self._delete_purged()
        return count

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close()

    # --- private ----------------------------------------------------------------------------------------------------

    def _begin(self) -> KafkaProducer:
        topics = {self._place.journal: NewTopicSettings(1, {"cleanup.policy": "compact"})}
        wanted = topics | ({self._target: None} if self._target is not None else {})
        settings = KafkaProducerSettings(
            properties=self._place.properties,
            topics=wanted,
            group=self._place.transactional_id,
            transactional_id=self._place.transactional_id,
        )
        producer = KafkaProducer(settings)
        try:
            producer.init()
        except BaseException:
            producer.close()
            raise
        return producer

    def _read_journal(self) -> dict[str, bytes]:
        """What was done with each letter. Read when older processes are fenced: nothing can be added to it then."""
        if self._topics.partitions(self._place.journal) is None:
            return {}
        records = each_record(self._place.properties, self._place.journal)
        return {(record.key or b"").decode(): record.value or b"" for record in records}

    def _commit(self, letters: Sequence[Letter], done: bytes, replayed: Sequence[Headers] | None = None) -> None:
        """One transaction: the records, when they are to be replayed, and the journal's entries."""
        producer = self._producer
        assert producer is not None, "a store that was opened to be read"
        producer.begin()
        try:
            if replayed is not None and self._target is not None:
                keys = [letter.key for letter in letters]
                # The time of an old record is that of a record which retention may delete: kept only where it matters.
                times = [letter.record_time_ms for letter in letters] if self._place.keeps_time else None
                producer.write(self._target, [letter.value for letter in letters], keys, replayed, times)
            self._faults.reach("after_replay_intent")
            producer.write(self._place.journal, [done] * len(letters), [letter.id.encode() for letter in letters])
            producer.flush()
        except ConnectorError:
            producer.abort()
            raise
        self._faults.reach("after_replay_write")
        producer.commit()
        self._journal |= {letter.id: done for letter in letters}

    def _delete_purged(self) -> None:
        """Let the broker delete each partition's letters before the first one that is not purged."""
        kept: set[int] = set()
        upto: dict[int, int] = {}
        for record in each_record(self._place.properties, self._place.topic):
            if self._journal.get(_identity(record)) != _PURGED:
                kept.add(record.partition)
            elif record.partition not in kept:
                upto[record.partition] = record.offset + 1
        for partition, offset in upto.items():
            self._topics.delete_before(self._place.topic, partition, offset)


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
