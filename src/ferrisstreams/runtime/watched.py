"""Source, sink and transactions whose calls someone watches: the guards of a job, a test that makes them fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

from ferrisstreams.batch import Fetch, JsonValue, Limit, Payload, Positions, Rejected
from ferrisstreams.connectors.base import (
    ClientFigures,
    CommittedOffset,
    Identities,
    Sink,
    Source,
    SourceProgress,
    Transactions,
)

#: What is entered around a call, by the call's name.
Watch: TypeAlias = Callable[[str], AbstractContextManager[None]]


class WatchedSource:
    """A source as it is, but for the watch around each call that may fail."""

    def __init__(self, source: Source, watch: Watch) -> None:
        self._source = source
        self._watch = watch

    def check(self, positions: Positions, identities: Identities) -> None:
        with self._watch("check"):
            self._source.check(positions, identities)

    def identities(self) -> Identities:
        return self._source.identities()

    def open(self, positions: Positions) -> None:
        with self._watch("open"):
            self._source.open(positions)

    def poll(self, limit: Limit) -> Fetch | None:
        with self._watch("poll"):
            return self._source.poll(limit)

    def partitions(self) -> Positions:
        return self._source.partitions()

    def caught_up(self) -> Collection[str]:
        return self._source.caught_up()

    def reached(self) -> Positions:
        return self._source.reached()

    @property
    def ended(self) -> bool:
        return self._source.ended

    def progress(self) -> SourceProgress:
        return self._source.progress()

    def seek(self, positions: Positions) -> None:
        with self._watch("seek"):
            self._source.seek(positions)

    def commit(self, positions: Positions) -> None:
        with self._watch("commit"):
            self._source.commit(positions)

    def close(self) -> None:
        self._source.close()


class WatchedSink:
    """A sink as it is, but for the watch around each call that may fail."""

    def __init__(self, sink: Sink, watch: Watch) -> None:
        self._sink = sink
        self._watch = watch
        self.exactly_once = sink.exactly_once

    def check(self) -> None:
        with self._watch("check"):
            self._sink.check()

    def open(self, mark: JsonValue) -> None:
        with self._watch("open"):
            self._sink.open(mark)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        with self._watch("write"):
            return self._sink.write(payload)

    def flush(self) -> JsonValue:
        with self._watch("flush"):
            return self._sink.flush()

    def overdue(self) -> bool:
        return self._sink.overdue()

    def confirm(self, mark: JsonValue) -> None:
        with self._watch("confirm"):
            self._sink.confirm(mark)

    def rollback(self, mark: JsonValue) -> None:
        with self._watch("rollback"):
            self._sink.rollback(mark)

    def discard(self) -> None:
        self._sink.discard()

    def client(self) -> ClientFigures | None:
        return self._sink.client()

    def close(self) -> None:
        self._sink.close()


class WatchedTransactions:
    """Transactions as they are, but for the watch around each call."""

    def __init__(self, transactions: Transactions, watch: Watch) -> None:
        self._transactions = transactions
        self._watch = watch

    def committed(self) -> Mapping[str, CommittedOffset]:
        with self._watch("committed"):
            return self._transactions.committed()

    def forget_committed(self) -> None:
        with self._watch("forget_committed"):
            self._transactions.forget_committed()

    def init(self) -> None:
        with self._watch("init"):
            self._transactions.init()

    def begin(self) -> None:
        with self._watch("begin"):
            self._transactions.begin()

    def send(self, positions: Positions, epoch: int, token: str) -> None:
        with self._watch("send"):
            self._transactions.send(positions, epoch, token)

    def commit(self) -> None:
        with self._watch("commit"):
            self._transactions.commit()

    def abort(self) -> None:
        with self._watch("abort"):
            self._transactions.abort()

    def close(self) -> None:
        self._transactions.close()
