"""What is watched is as it was, but for the watch around each call that may fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from ferrisstreams.batch import Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.base import Sink, Source, Transactions
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.runtime.watched import watched
from ferrisstreams.testing.doubles import (
    CollectingSink,
    Cuts,
    Records,
    RecordSource,
    TransactionalSink,
    TransactionLog,
)

#: Calls that tell what is known, or give things back: nothing outside is asked, so nobody has to watch.
SILENT = {
    *("identities", "partitions", "caught_up", "reached", "ended", "progress", "close"),
    *("overdue", "client", "discard"),
}


class Heard:
    """The calls that were watched, and which of them failed."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.calls.append(f"{call} failed: {error}")
            raise
        self.calls.append(call)


def test_calls_go_through_with_their_answers_and_those_that_may_fail_are_watched() -> None:
    heard, sink = Heard(), CollectingSink()
    seen = watched(sink, heard.watch)
    seen.open(None)
    assert seen.write(Payload(b'{"a":1}\n', 1)) == sink.write(Payload(b"", 0))
    assert seen.flush() == sink.flush()
    assert not seen.overdue()
    seen.close()
    assert heard.calls == ["open", "write", "flush"]


def test_watch_sees_the_error_of_a_call_and_it_is_raised_on() -> None:
    class Broken(CollectingSink):
        def flush(self) -> None:
            raise OSError("the disk is full")

    heard = Heard()
    with pytest.raises(OSError, match="the disk is full"):
        watched(Broken(), heard.watch).flush()
    assert heard.calls == ["flush failed: the disk is full"]


@pytest.mark.parametrize("protocol", [Source, Sink, Transactions])
def test_every_call_of_a_connector_is_watched_or_cannot_fail(protocol: type) -> None:
    sink = TransactionalSink()
    with closing(MemoryFile()) as block:
        source = RecordSource(Records({"p": [b"{}"]}), Cuts(), block, ManualClock(0))
        part = {Source: source, Sink: sink, Transactions: TransactionLog(sink)}[protocol]
    seen = watched(part, Heard().watch)
    calls = {name for name, member in vars(protocol).items() if not name.startswith("_") and callable(member)}
    assert calls
    assert {name for name in calls if getattr(seen, name) != getattr(part, name)} == calls - SILENT
