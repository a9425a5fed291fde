"""What a connector is: bytes in, bytes out. Formats and semantics are elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ferrisstreams.batch import Fetch, JsonValue, Limit, Payload, Positions, Rejected

#: By name (of a topic), the id that its system has given it.
Identities: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """What the client of a system outside last reported of itself.

    `waiting_records` and `waiting_bytes` lie in its queues: fetched and not yet taken, or taken and not yet delivered.
    A round trip is a request and its answer (mean and 99th percentile of the time since the report before; None
    without one). `transmission_errors` and `timeouts` of requests count since the client was opened, `transactions` by
    their outcome (`committed`, `aborted`, `failed`: fenced, or nobody knows) since the job was started.
    """

    waiting_records: int
    waiting_bytes: int
    round_trip_ms: float | None
    round_trip_p99_ms: float | None
    transmission_errors: int
    timeouts: int
    transactions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """How far a source is: `done` of `total` in `unit` (bytes, rows); `total` is None for an endless source.

    `lag` is how many offsets lie between each partition's position and its end, `client` what the client reports, where
    there are such things.
    """

    done: int
    total: int | None
    unit: str
    lag: Mapping[str, int] = field(default_factory=dict)
    client: ClientFigures | None = None


class Source(Protocol):
    """Call order: `check`, `open`, then `poll` any number of times, with `commit` between, then `close`.

    A position is a JSON value and always the next to read. Errors are `ConnectorError`s.

        open({"a": 3}) ──▶ poll ──▶ Fetch: partition a, records 3 and 4, position 5
                           poll ──▶ None: nothing came in time
                           poll ──▶ Fetch: partition b, records 0 to 6, position 7
                           commit({"a": 5, "b": 7}): the epoch with all of them is final
                           …

        after a crash: open({"a": 5, "b": 7}), in another process, gives what comes after

    A source knows nothing of formats, batches or epochs: it gives bytes, in order within a partition, each once after
    an `open`, and from the same positions the same again. Its system is asked in `check`, `open`, `poll` and `commit`
    alone; an error of those that may pass by itself is a TransientError, and the job opens it again. What every source
    promises is tested in `tests/conformance/test_sources.py`.
    """

    def check(self, positions: Positions, identities: Identities) -> None:
        """Whether there is something to read, and it is what the positions belong to. It changes nothing outside.

        `identities` are those that were kept with the positions; what is not in them may be anything.
        """

    def identities(self) -> Identities:
        """Right after `open`: what tells the things that are read from others of the same name, where positions do not
        say so themselves."""

    def open(self, positions: Positions) -> None:
        """Begin at `positions`; a partition that is not in them begins at its start."""

    def poll(self, limit: Limit) -> Fetch | None:
        """The next records of one partition, or None when nothing came within `limit.wait_ms`.

        A fetch holds at least one record (or one oversized one), never half of one. It is valid until the next poll.
        """

    def partitions(self) -> Positions:
        """Position of every partition that is known and not finished, as of the last poll. One of a topic never is."""

    def caught_up(self) -> Collection[str]:
        """Those of `partitions` whose end was reached by the last poll: nothing of them waits to be read."""

    def reached(self) -> Positions:
        """Where partitions are of which fetches do not say all: right after `open` where those begin that must begin
        there again, though nothing of them was read; later behind what holds no record (marks of transactions).

        Everything before was given by `poll`. Empty where fetches say it all.
        """

    @property
    def ended(self) -> bool:
        """True when a bounded source has given all its records."""

    def progress(self) -> SourceProgress:
        """How far it is, for people."""

    def commit(self, positions: Positions) -> None:
        """Told after an epoch is final; informative."""

    def close(self) -> None:
        """Give everything back. Called once, also after an error."""


class Sink(Protocol):
    """Call order: `open`, then `write` and `flush` any number of times, then `close`.

        open(mark of epoch 6) ──▶ write, write, … ──▶ flush ──▶ mark of epoch 7
                                       │                          │
              rollback(mark of 6)  ◀───┘ the epoch failed         └──▶ confirm(mark of 7): it is decided

    Nothing counts before `flush`, and nothing is shown as final before `confirm` where the system outside can hold it
    back. A row that the system will never take is given back by `write`; an error takes the whole epoch back. What
    every sink promises is tested in `tests/conformance/test_sinks.py`.

    A sink with marks is exactly-once: what lies after the last confirmed mark is cut off by `open` and `rollback`.
    """

    def check(self) -> None:
        """Of a new job: whether `open` without a mark would be refused. It changes nothing outside."""

    def open(self, mark: JsonValue) -> None:
        """Begin after `mark`; None for a new job. Cuts off what a crash left after it."""

    def write(self, payload: Payload) -> Sequence[Rejected]:
        """Take a payload; it may be kept in memory until `flush`. Rows that the sink cannot take are given back."""

    def flush(self) -> JsonValue:
        """Make all that was written durable and return its mark."""

    def overdue(self) -> bool:
        """Whether an epoch should end although no rows come: a file of rotated output is old."""

    def confirm(self, mark: JsonValue) -> None:
        """Called after the epoch of `mark` is decided: publish what waited for that (rename files). Never before.

        A crash may come before it, so `open` does the same for its mark; doing it twice changes nothing.
        """

    def rollback(self, mark: JsonValue) -> None:
        """Take back what was written after `mark`."""

    def client(self) -> ClientFigures | None:
        """What the client of the system outside last reported; None where there is no such client, or no report yet."""

    def close(self) -> None:
        """Give everything back. Called once, also after an error."""

    def discard(self) -> None:
        """After `close`, of a new job of which nothing became final: what `open` has made goes, and what it found
        stays. Of a sink that was opened with a mark nothing goes."""


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """What a group has committed for a partition: the next offset to read, and the text that was committed with it."""

    offset: int
    metadata: str


class Transactions(Protocol):
    """Transactions of one producer, which all sinks of a job on one cluster share; the decider of the job's epochs.

    Call order: `committed` (touches nothing), `init`, `committed` again; then for each epoch `begin`, the sinks' writes
    and flushes, `send`, `commit`. A producer whose commit has an unknown outcome or that is fenced is of no more use:
    `close` it and make a new one.

    Raises TransientError and FatalConnectorError for what takes the epoch back (`abort` first), FencedError when
    another producer of the same transactional id has begun or the broker has timed the transaction out.
    """

    def committed(self) -> Mapping[str, CommittedOffset]:
        """What the job's group has committed, by partition (`topic-0`): those of its sources on this cluster, or the
        one that stands for them.

        Answers at once, also before `init` and while a transaction is open, whose offsets it does not show. A system
        may finish a transaction after its commit has returned: only behind `init` is the last commit sure to be seen.
        """

    def forget_committed(self) -> None:
        """Let the system forget what the job has committed: the next run starts over. Never while the job runs."""

    def init(self) -> None:
        """Fence older producers of the same transactional id: their open transaction is settled when this returns."""

    def begin(self) -> None:
        """Begin a transaction. The broker hears of it with the first write."""

    def send(self, positions: Positions, epoch: int, token: str) -> None:
        """Put into the transaction, in the job's group, the next offset of each partition, each with `token` as its
        metadata. Where the source is not on this cluster, the number of the epoch on one partition stands for it."""

    def commit(self) -> None:
        """Make the transaction final. Raises UnknownOutcomeError when it is not known whether it is."""

    def abort(self) -> None:
        """Take back what was written since `begin`; nothing to do outside of a transaction."""

    def close(self) -> None:
        """Give everything back; an open transaction is left to the broker, or to the next `init`."""
