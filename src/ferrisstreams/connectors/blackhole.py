"""A sink that keeps nothing and counts: to run a query for its ledger, or to measure."""

from __future__ import annotations

from collections.abc import Sequence

from ferrisstreams.batch import JsonValue, Payload, Rejected
from ferrisstreams.connectors.connector import Connector, SinkContext
from ferrisstreams.errors import StateError


class BlackholeConnector(Connector):
    """Rows are counted, and go nowhere."""

    name = "blackhole"
    writes = True
    row_format = "arrow"
    several_writers = True

    def sink(self, context: SinkContext) -> BlackholeSink:
        return BlackholeSink()


class BlackholeSink:
    """A mark is the number of rows so far."""

    def __init__(self) -> None:
        self.rows = 0

    def check(self) -> None:
        """There is nothing outside."""

    def open(self, mark: JsonValue) -> None:
        self.rollback(mark)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        self.rows += payload.rows
        return ()

    def flush(self) -> JsonValue:
        return self.rows

    def overdue(self) -> bool:
        return False

    def confirm(self, mark: JsonValue) -> None:
        """Nothing waits."""

    def rollback(self, mark: JsonValue) -> None:
        self.rows = row_mark(mark)

    def client(self) -> None:
        """There is no client."""

    def close(self) -> None:
        """Nothing is held."""

    def discard(self) -> None:
        """Nothing was made."""


def row_mark(mark: JsonValue) -> int:
    """A mark that is a number of rows; None is not one."""
    match mark:
        case None:
            return 0
        case bool():
            pass
        case int(rows):
            return rows
    raise StateError(f"not a number of rows: {mark!r}", "E5003", "the state was written with another kind of connector")
