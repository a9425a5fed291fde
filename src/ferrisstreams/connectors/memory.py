"""Sources and sinks in memory: Arrow tables in, Arrow tables out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from ferrisstreams.batch import Fetch, JsonValue, Limit, Payload, Positions, Rejected
from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.connectors.base import Identities, Sink, Source, SourceProgress
from ferrisstreams.connectors.blackhole import row_mark
from ferrisstreams.connectors.connector import Connector, SinkContext, SourceContext
from ferrisstreams.errors import ConfigError, InternalError, StateError
from ferrisstreams.memory_file import MemoryFile

if TYPE_CHECKING:
    import pyarrow as pa

Component = TypeVar("Component", Source, Sink)

_PARTITION = "memory"
#: One nap while an open source has nothing.
_NAP_MS = 5.0


class MemoryConnector(Connector):
    """Tables that the library's caller gives and takes, by the name of the stream."""

    name = "memory"
    reads = True
    writes = True
    row_format = "arrow"
    counts_rows = True

    def source(self, context: SourceContext, block: MemoryFile) -> Source:
        return _given(context.in_memory, context.name, "source")

    def sink(self, context: SinkContext) -> Sink:
        return _given(context.in_memory, context.name, "sink")


def _given(found: Mapping[str, Component], name: str, kind: str) -> Component:
    if name not in found:
        raise ConfigError(
            f"there is no {kind} in memory named {name}",
            "E3004",
            "the memory connector belongs to the library: fs.query(sql, name=table)",
        )
    return found[name]


class MemorySource:
    """The rows of tables of one schema, as one partition; a position is a row number.

    `endless` leaves the input open: `feed` adds tables until `close_input`.
    """

    def __init__(self, tables: Sequence[pa.Table], clock: Clock | None = None, endless: bool = False) -> None:
        self._tables = list(tables)
        self._clock = clock or SystemClock()
        self._open = endless
        self._next = 0

    def feed(self, table: pa.Table) -> None:
        """More rows."""
        if not self._open:
            raise InternalError("the input of the memory source is closed")
        self._tables.append(table)

    def close_input(self) -> None:
        """Say that no more rows will come: the source is bounded from now on."""
        self._open = False

    def check(self, positions: Positions, identities: Identities) -> None:
        """There is nothing outside."""

    def identities(self) -> Identities:
        return {}

    def open(self, positions: Positions) -> None:
        row = row_mark(positions.get(_PARTITION))
        if row > self._total():
            raise StateError(
                f"the memory source has {self._total()} rows, but the job has read {row}",
                "E5003",
                "give the same tables again, or reset the job's state",
            )
        self._next = row

    def poll(self, limit: Limit) -> Fetch | None:
        deadline = self._clock.monotonic_ms() + limit.wait_ms
        while True:
            rows = self._take(limit)
            left = deadline - self._clock.monotonic_ms()
            wanting = rows is None or (limit.fill and rows.num_rows < limit.rows)
            if not wanting or not self._open or left <= 0:
                break
            self._clock.sleep_ms(min(_NAP_MS, left))
        if rows is None:
            return None
        start, self._next = self._next, self._next + rows.num_rows
        return Fetch(
            partition=_PARTITION,
            records=rows,
            origin=_PARTITION,
            offset=start,
            position=self._next,
            caught_up=self._next == self._total(),
        )

    def partitions(self) -> Positions:
        return {} if self.ended else {_PARTITION: self._next}

    def caught_up(self) -> Collection[str]:
        return () if self.ended or self._next < self._total() else (_PARTITION,)

    def reached(self) -> Positions:
        return {}

    @property
    def ended(self) -> bool:
        return not self._open and self._next >= self._total()

    def progress(self) -> SourceProgress:
        return SourceProgress(self._next, None if self._open else self._total(), "rows")

    def commit(self, positions: Positions) -> None:
        """Nothing outside keeps our positions."""

    def close(self) -> None:
        """Nothing is held."""

    def _total(self) -> int:
        return sum(table.num_rows for table in self._tables)

    def _take(self, limit: Limit) -> pa.Table | None:
        """What the limit allows, of as many tables as it takes; None when there is nothing."""
        skip, left = self._next, limit.rows
        pieces: list[pa.Table] = []
        for table in self._tables:
            if skip < table.num_rows and left > 0:
                piece = table.slice(skip, left)
                row_bytes = max(1, table.nbytes // table.num_rows)
                left = min(left, max(1, limit.bytes // row_bytes)) if not pieces else left
                pieces.append(piece.slice(0, left))
                left -= pieces[-1].num_rows
            skip = max(0, skip - table.num_rows)
        return _joined(pieces)


class MemorySink:
    """Keeps what it is given; a mark is the number of rows. It survives a job's crash as long as it is kept."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []

    @property
    def rows(self) -> int:
        return sum(table.num_rows for table in self.tables)

    def table(self) -> pa.Table | None:
        """All rows as one table; None when nothing was ever written."""
        return _joined(self.tables)

    def check(self) -> None:
        """There is nothing outside."""

    def open(self, mark: JsonValue) -> None:
        self.rollback(mark)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        if isinstance(payload.data, bytes):
            raise InternalError("a memory sink takes tables")
        self.tables.append(payload.data)
        return ()

    def flush(self) -> JsonValue:
        return self.rows

    def overdue(self) -> bool:
        return False

    def confirm(self, mark: JsonValue) -> None:
        """The rows are in their place already."""

    def rollback(self, mark: JsonValue) -> None:
        left = row_mark(mark)
        if left > self.rows:
            raise StateError(
                f"the memory sink has {self.rows} rows, fewer than the {left} that the job wrote",
                "E5003",
                "give the same sink again, or reset the job's state",
            )
        kept = []
        for table in self.tables:
            kept.append(table.slice(0, left))
            left -= kept[-1].num_rows
        self.tables = [table for table in kept if table.num_rows]

    def client(self) -> None:
        """There is no client."""

    def close(self) -> None:
        """The rows stay."""

    def discard(self) -> None:
        self.rollback(None)


def _joined(tables: Sequence[pa.Table]) -> pa.Table | None:
    """One table of all; None without any."""
    import pyarrow as pa  # Only jobs over tables need it, and it takes long to load.

    return pa.concat_tables(tables) if tables else None
