"""Several sources as one: whose turn it is, and the names of their partitions among those of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from ferrisstreams.batch import Fetch, JsonValue, Limit, Positions, partition_key, partitions_of
from ferrisstreams.connectors.base import CommittedOffset, Identities, Source, SourceProgress, Transactions
from ferrisstreams.runtime.batching import BYTES_MAX, ROWS_MAX, Strategy

_Value = TypeVar("_Value")


@dataclass(slots=True)
class Member:
    """A source of a job that has several. `strategy` ends its batches.

    `ends_when_quiet`: what it can still be given does not count, because the run ends when nothing waits. `twin`: the
    first source that reads the same as this one. `first`: it is read to its end before sources that are not.
    """

    name: str
    source: Source
    strategy: Strategy
    ends_when_quiet: bool = False
    twin: str | None = None
    first: bool = False
    quiet: bool = False
    turn: int = 0

    @property
    def ended(self) -> bool:
        return self.source.ended or (self.ends_when_quiet and self.quiet)

    @property
    def is_read_through(self) -> bool:
        """Whether its end was reached. A poll that gives nothing does not say so: a client may still begin."""
        partitions = self.source.partitions()
        return self.ended or (bool(partitions) and set(partitions) <= set(self.source.caught_up()))

    def keyed(self, by_partition: Mapping[str, _Value]) -> dict[str, _Value]:
        """Under the names of the partitions among those of all sources."""
        return {partition_key(self.name, name): value for name, value in by_partition.items()}

    def own(self, by_key: Mapping[str, _Value]) -> dict[str, _Value]:
        """Its part, under its own names."""
        return partitions_of(self.name, by_key)


class SeveralSources:
    """Sources in turn: the one that is furthest behind in event time, as long as something of it waits to be read.

        poll ──▶ trades is at 12:01, quotes at 12:07 ──▶ a batch of trades, as large as the strategy of trades says
        poll ──▶ trades is at 12:03, and nothing waits ──▶ a batch of quotes

    `seen_us` is the greatest event time that a source has given; None: not all have one, and they take turns. The
    source that gave nothing last is asked again without a wait, so that it holds nobody back.
    """

    def __init__(self, members: Sequence[Member], seen_us: Callable[[str], int] | None) -> None:
        self._members = members
        self._seen_us = seen_us
        self._turns = 0
        self._last = members[0]
        self._before: list[Member] = []

    @property
    def strategy(self) -> Strategy:
        """What a task asks: each source has its own."""
        return _Own(lambda: self._last.strategy)

    def check(self, positions: Positions, identities: Identities) -> None:
        for member in self._members:
            member.source.check(member.own(positions), member.own(identities))

    def identities(self) -> Identities:
        return self._merged(lambda member: member.source.identities())

    def open(self, positions: Positions) -> None:
        for member in self._members:
            member.source.open(member.own(positions))
            member.quiet = False
        self._before = [member for member in self._members if member.first]

    def poll(self, limit: Limit) -> Fetch | None:
        self._before = [member for member in self._before if not member.is_read_through]
        waiting = [member for member in self._before or self._ordered() if not member.ended]
        for member in waiting:
            fetch = self._poll(member, limit, wait=not member.quiet)
            if fetch is not None:
                return fetch
        for member in waiting:
            fetch = self._poll(member, limit, wait=True, parts=len(waiting))
            if fetch is not None:
                return fetch
        return None

    def partitions(self) -> Positions:
        """Also one, without a name, of a source that has none yet: windows wait for what comes there."""
        return self._merged(lambda member: member.source.partitions() or ({} if member.ended else {"": None}))

    def caught_up(self) -> Collection[str]:
        found = [partition_key(member.name, name) for member in self._members for name in member.source.caught_up()]
        quiet = [member for member in self._members if member.quiet and not member.ended]
        without = [partition_key(member.name, "") for member in quiet if not member.source.partitions()]
        return [*found, *without]

    def reached(self) -> Positions:
        return self._merged(lambda member: member.source.reached())

    @property
    def ended(self) -> bool:
        return all(member.ended for member in self._members)

    def progress(self) -> SourceProgress:
        parts = [member.source.progress() for member in self._members]
        alike = [part for part in parts if part.unit == parts[0].unit]
        totals = [part.total for part in alike if part.total is not None]
        lags = [member.keyed(part.lag) for member, part in zip(self._members, parts, strict=True)]
        return SourceProgress(
            done=sum(part.done for part in alike),
            total=sum(totals) if len(totals) == len(parts) else None,
            unit=parts[0].unit,
            lag={name: lag for own in lags for name, lag in own.items()},
            client=next((part.client for part in parts if part.client is not None), None),
        )

    def commit(self, positions: Positions) -> None:
        for member in self._members:
            if member.twin is None:
                member.source.commit(least_positions(twins(self._members), positions, member.name))

    def close(self) -> None:
        with ExitStack() as stack:
            for member in self._members:
                stack.callback(member.source.close)

    # --- private ----------------------------------------------------------------------------------------------------

    def _ordered(self) -> list[Member]:
        seen_us = self._seen_us
        return sorted(self._members, key=lambda member: (seen_us(member.name) if seen_us else 0, member.turn))

    def _poll(self, member: Member, limit: Limit, wait: bool, parts: int = 1) -> Fetch | None:
        own = member.strategy.limit()
        wait_ms = own.wait_ms / parts if wait else 0.0
        limited = replace(own, rows=min(own.rows, limit.rows), bytes=min(own.bytes, limit.bytes), wait_ms=wait_ms)
        self._turns += 1
        member.turn = self._turns
        fetch = member.source.poll(limited)
        member.quiet = fetch is None or fetch.nothing_waits
        if fetch is None:
            return None
        self._last = member
        others_wait = any(not (other.ended or other.quiet) for other in self._members if other is not member)
        oversized = tuple(replace(row, source=member.name) for row in fetch.oversized)
        return replace(fetch, source=member.name, more=fetch.more or others_wait, oversized=oversized)

    def _merged(self, part: Callable[[Member], Mapping[str, _Value]]) -> dict[str, _Value]:
        return {key: value for member in self._members for key, value in member.keyed(part(member)).items()}


@dataclass(slots=True)
class _Own:
    """The strategy of the source that gave the last batch."""

    current: Callable[[], Strategy]
    name: str = "of each source"

    def limit(self) -> Limit:
        return Limit(ROWS_MAX, BYTES_MAX)

    def observe(self, rows: int, milliseconds: float) -> None:
        self.current().observe(rows, milliseconds)


def twins(members: Sequence[Member]) -> dict[str, str | None]:
    """Of each source the first one that reads the same."""
    return {member.name: member.twin for member in members}


def least_positions(sources: Mapping[str, str | None], positions: Positions, name: str) -> dict[str, JsonValue]:
    """The positions of a source and of those of the `sources` that read the same: of each partition the least."""
    found: dict[str, JsonValue] = {}
    for own, first in sources.items():
        if name not in (own, first):
            continue
        for partition, position in partitions_of(own, positions).items():
            before = found.get(partition)
            if isinstance(position, int) and isinstance(before, int):
                position = min(position, before)
            found[partition] = position
    return found


#: Gives what is committed outside the names that partitions have among those of all sources.
KeyedCommits: TypeAlias = Callable[[Mapping[str, CommittedOffset]], Mapping[str, CommittedOffset]]


class SeveralTransactions:
    """Transactions whose system knows the partitions of several sources by their own names.

    `members` are the sources on its cluster; `keyed` names what is committed as the job does.
    """

    def __init__(self, transactions: Transactions, members: Sequence[Member], keyed: KeyedCommits) -> None:
        self._transactions = transactions
        self._members = members
        self._keyed = keyed

    def __getattr__(self, name: str) -> object:
        return getattr(self._transactions, name)

    def committed(self) -> Mapping[str, CommittedOffset]:
        return self._keyed(self._transactions.committed())

    def send(self, positions: Positions, epoch: int, token: str) -> None:
        read = [member.name for member in self._members if member.twin is None]
        own = [least_positions(twins(self._members), positions, name) for name in read]
        self._transactions.send({name: at for part in own for name, at in part.items()}, epoch, token)
