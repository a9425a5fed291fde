"""Small real implementations of source and sink for tests: records in memory, with marks, and cut as one likes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ferrisstreams.batch import Fetch, Headers, JsonValue, Limit, Payload, Positions, RawRecord, Rejected, integer
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.base import CommittedOffset, Identities, SourceProgress
from ferrisstreams.errors import UnknownOutcomeError
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.testing.chance import Chance


@dataclass(frozen=True, slots=True)
class Records:
    """What a source holds: whole records by partition, and the header that a CSV file begins with.

    `messages`, where the records are messages, are what else each has: as many as there are records.
    """

    partitions: Mapping[str, Sequence[bytes]]
    header: bytes | None = None
    messages: Mapping[str, Sequence[RawRecord]] | None = None


class RecordMessages:
    """Messages of one partition, in order."""

    value_bytes_max = 1 << 20

    def __init__(self, records: Sequence[RawRecord]) -> None:
        self._records = records
        self.values = [record.value or b"" for record in records]
        self.gone: Collection[int] = ()
        self.joined = b"".join(value + b"\n" for value in self.values)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def single_lines(self) -> bool:
        return self.joined.count(b"\n") == len(self)

    def record(self, row: int) -> RawRecord:
        return self._records[row]

    def has_keys(self) -> bool:
        return any(record.key is not None for record in self._records)

    def has_headers(self) -> bool:
        return any(record.headers for record in self._records)

    def keys(self) -> list[bytes | None]:
        return [record.key for record in self._records]

    def offsets(self) -> list[int]:
        return [record.offset for record in self._records]

    def timestamps_ms(self) -> list[int | None]:
        return [record.timestamp_ms for record in self._records]

    def headers(self) -> list[Headers]:
        return [record.headers for record in self._records]


@dataclass(frozen=True, slots=True)
class Cuts:
    """How a source gives its records: `seed` None: as many as the limit allows, one partition after another.

    With a seed every poll takes some partition, and some number of its next records up to `rows_max`. `in_turn` takes
    the partitions round about. `poll_ms` passes with every poll, so that epochs end by time too; with `rests` every
    other one gives nothing.
    """

    seed: int | None = None
    rows_max: int = 4
    in_turn: bool = False
    poll_ms: float = 400.0
    rests: bool = False


class RecordSource:
    """A bounded source of records in memory. A position is the number of the next record.

    What it gives next depends on its positions alone, so that it goes on in the same way after a crash.
    """

    def __init__(self, records: Records, cuts: Cuts, block: MemoryFile, clock: ManualClock) -> None:
        self._records = records
        self._cuts = cuts
        self._block = block
        self._clock = clock
        self._next = dict.fromkeys(records.partitions, 0)
        self._rested = False

    def check(self, positions: Positions, identities: Identities) -> None:
        pass

    def identities(self) -> Identities:
        return {}

    def open(self, positions: Positions) -> None:
        for name in self._next:
            self._next[name] = integer(positions.get(name, 0))

    def poll(self, limit: Limit) -> Fetch | None:
        self._clock.advance_ms(self._cuts.poll_ms)
        left = [name for name in self._next if self._left(name)]
        self._rested = self._cuts.rests and not self._rested
        if not left or self._rested:
            return None
        name, most = self._choose(left)
        start = self._next[name]
        stop = min(start + min(most, limit.rows), len(self._records.partitions[name]))
        taken = self._within(self._records.partitions[name][start:stop], limit.bytes)
        self._next[name] = start + len(taken)
        self._block.write(b"".join(record + b"\n" for record in taken))
        return Fetch(
            partition=name,
            records=self._block,
            origin=name,
            offset=start,
            position=self._next[name],
            caught_up=not self._left(name),
            header=self._records.header,
            messages=self._messages(name, start, len(taken)),
        )

    def _messages(self, name: str, start: int, count: int) -> RecordMessages | None:
        if self._records.messages is None:
            return None
        return RecordMessages(self._records.messages[name][start : start + count])

    def _choose(self, left: Sequence[str]) -> tuple[str, int]:
        done = sum(self._next.values())
        if self._cuts.in_turn:
            return left[done % len(left)], 1
        if self._cuts.seed is None:
            return left[0], 1 << 30
        chance = Chance("cut", self._cuts.seed, done)
        return chance.pick(left), 1 + chance.below(self._cuts.rows_max)

    @staticmethod
    def _within(records: Sequence[bytes], size: int) -> Sequence[bytes]:
        """The first records that fit `size` bytes, at least one."""
        total = 0
        for count, record in enumerate(records):
            total += len(record) + 1
            if total > size and count:
                return records[:count]
        return records

    def _left(self, name: str) -> int:
        return len(self._records.partitions[name]) - self._next[name]

    def partitions(self) -> Positions:
        return {name: position for name, position in self._next.items() if self._left(name)}

    def caught_up(self) -> Collection[str]:
        return ()

    def reached(self) -> Positions:
        return dict(self._next)

    @property
    def ended(self) -> bool:
        return not any(self._left(name) for name in self._next)

    def progress(self) -> SourceProgress:
        total = sum(len(records) for records in self._records.partitions.values())
        return SourceProgress(sum(self._next.values()), total, "rows")

    def commit(self, positions: Positions) -> None:
        pass

    def close(self) -> None:
        pass


class CollectingSink:
    """Keeps payloads. Its mark is the number of payloads, and what lies behind a mark can be taken back.

    It outlives the job that writes to it, as a file does.
    """

    def __init__(self) -> None:
        self._payloads: list[Payload] = []

    @property
    def tables(self) -> list[pa.Table]:
        """What was written as Arrow tables, in order."""
        return [payload.data for payload in self._payloads if isinstance(payload.data, pa.Table)]

    @property
    def lines(self) -> list[bytes]:
        """What was written as bytes, a line each."""
        data = b"".join(payload.data for payload in self._payloads if isinstance(payload.data, bytes))
        return data.splitlines()

    def check(self) -> None:
        pass

    def open(self, mark: JsonValue) -> None:
        self.rollback(mark)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        self._payloads.append(payload)
        return ()

    def flush(self) -> JsonValue:
        return len(self._payloads)

    def overdue(self) -> bool:
        return False

    def confirm(self, mark: JsonValue) -> None:
        pass

    def rollback(self, mark: JsonValue) -> None:
        del self._payloads[integer(mark or 0) :]

    def client(self) -> None:
        pass

    def close(self) -> None:
        pass

    def discard(self) -> None:
        self.rollback(None)


class TransactionalSink(CollectingSink):
    """A sink whose payloads belong to a transaction: no mark covers them, the `TransactionLog` takes them back."""

    def open(self, mark: JsonValue) -> None:
        pass

    def flush(self) -> JsonValue:
        return None

    def rollback(self, mark: JsonValue) -> None:
        pass

    @property
    def length(self) -> int:
        """Payloads, those of an open transaction included."""
        return len(self._payloads)

    def cut(self, length: int) -> None:
        """Forget what was written after so many payloads."""
        del self._payloads[length:]


class TransactionLog:
    """Transactions over sinks in memory. It outlives the job, as a broker does.

    `lost_answers`: so many commits in a row are made, and reported as if nobody knew.
    """

    def __init__(self, *sinks: TransactionalSink, lost_answers: int = 0) -> None:
        self._sinks = sinks
        self._lost_answers = lost_answers
        self._committed: dict[str, CommittedOffset] = {}
        self._sent: dict[str, CommittedOffset] = {}
        self._lengths: list[int] | None = None

    def committed(self) -> Mapping[str, CommittedOffset]:
        return dict(self._committed)

    def forget_committed(self) -> None:
        """What a broker does with the offsets of a group that has been away for long."""
        self._committed.clear()

    def init(self) -> None:
        self.abort()

    def begin(self) -> None:
        assert self._lengths is None, "a transaction is open"
        self._lengths = [sink.length for sink in self._sinks]
        self._sent = {}

    def send(self, positions: Positions, epoch: int, token: str) -> None:
        known = {name: CommittedOffset(integer(position), token) for name, position in positions.items()}
        self._sent = known or {"": CommittedOffset(epoch, token)}

    def commit(self) -> None:
        assert self._lengths is not None, "no transaction is open"
        self._committed.update(self._sent)
        self._lengths = None
        if self._lost_answers:
            self._lost_answers -= 1
            raise UnknownOutcomeError("no answer to the commit", "E4104")

    def abort(self) -> None:
        if self._lengths is not None:
            for sink, length in zip(self._sinks, self._lengths, strict=True):
                sink.cut(length)
        self._lengths = None

    def close(self) -> None:
        pass
