"""A source of row numbers; the datagen format makes rows of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ferrisstreams.batch import Fetch, JsonValue, Limit, Positions, RowRange
from ferrisstreams.clock import Clock
from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.base import Identities, SourceProgress
from ferrisstreams.connectors.blackhole import row_mark
from ferrisstreams.connectors.connector import Connector, SourceContext
from ferrisstreams.memory_file import MemoryFile

_PARTITION = "datagen"
#: What a row counts for against `Limit.bytes`; about the length of a small JSON record.
_ROW_BYTES = 64


@dataclass(frozen=True, slots=True)
class DatagenSettings:
    """`rows` None: endless. `rate` in rows a second, None: as fast as they are taken."""

    rows: int | None = None
    rate: float | None = None


class DatagenConnector(Connector):
    """Generated rows."""

    name = "datagen"
    reads = True
    row_format = "datagen"
    counts_rows = True

    def source(self, context: SourceContext, block: MemoryFile) -> DatagenSource:
        rows, rate = context.settings.optional_integer("rows"), context.settings.optional_number("rate")
        return DatagenSource(DatagenSettings(rows, rate), context.clock)

    def data(self, context: SourceContext) -> dict[str, JsonValue]:
        settings = context.settings
        return {"fields": {**settings.below("fields.")}, "seed": settings.integer("seed")}

    def is_endless(self, settings: Settings) -> bool:
        return settings.optional_integer("rows") is None

    def is_done_when_caught_up(self, settings: Settings) -> bool:
        return self.is_endless(settings)


class DatagenSource:
    """One partition; a position is a row number."""

    def __init__(self, settings: DatagenSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._next = 0
        self._first = 0
        self._began_ms = 0.0

    def check(self, positions: Positions, identities: Identities) -> None:
        """There is nothing outside."""

    def identities(self) -> Identities:
        return {}

    def open(self, positions: Positions) -> None:
        """The rate counts from here."""
        self._next = self._first = row_mark(positions.get(_PARTITION))
        self._began_ms = self._clock.monotonic_ms()

    def poll(self, limit: Limit) -> Fetch | None:
        if self.ended:
            return None
        rows = max(1, min(limit.rows, limit.bytes // _ROW_BYTES))
        due = self._due()
        wanted = self._next + (rows if limit.fill else 1)
        if due < wanted:
            self._clock.sleep_ms(min(limit.wait_ms, self._until_ms(wanted)))
            due = self._due()
            if due <= self._next:
                return None
        start, self._next = self._next, min(due, self._next + rows)
        return Fetch(
            partition=_PARTITION,
            records=RowRange(start, self._next),
            origin=_PARTITION,
            offset=start,
            position=self._next,
            caught_up=self._next >= due,
        )

    def partitions(self) -> Positions:
        return {} if self.ended else {_PARTITION: self._next}

    def caught_up(self) -> Collection[str]:
        return ()

    def reached(self) -> Positions:
        return {}

    @property
    def ended(self) -> bool:
        return self._settings.rows is not None and self._next >= self._settings.rows

    def progress(self) -> SourceProgress:
        return SourceProgress(self._next, self._settings.rows, "rows")

    def commit(self, positions: Positions) -> None:
        """Nothing outside keeps our positions."""

    def close(self) -> None:
        """Nothing is held."""

    def _due(self) -> int:
        """The row number that the rate allows by now, not included."""
        rows, rate = self._settings.rows, self._settings.rate
        if rate is None:
            return rows if rows is not None else self._next + (1 << 40)
        elapsed_s = (self._clock.monotonic_ms() - self._began_ms) / 1000
        due = self._first + int(elapsed_s * rate)
        return due if rows is None else min(due, rows)

    def _until_ms(self, wanted: int) -> float:
        """How long until the rows before number `wanted` are due, a little more than exactly so that they are then."""
        rows, rate = self._settings.rows, self._settings.rate
        if rate is None:
            return 0.0
        due = (wanted if rows is None else min(wanted, rows)) - self._first
        return max(0.0, self._began_ms + due / rate * 1000 - self._clock.monotonic_ms()) + 0.01
