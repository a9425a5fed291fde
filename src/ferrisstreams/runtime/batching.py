"""The five batch strategies: each says what the next poll may return, and learns how long a batch took."""

from __future__ import annotations

from typing import Protocol

from ferrisstreams.batch import Limit
from ferrisstreams.config.batches import SourceKind, strategy_name
from ferrisstreams.config.registry import MEGABYTE
from ferrisstreams.config.resolve import Settings

#: Bytes of a batch whose strategy counts rows: a bound on memory, not a target.
BYTES_MAX = 64 * MEGABYTE

#: Rows of a batch whose strategy counts bytes: no bound of its own, so that no source counts them.
ROWS_MAX = 2**30

_MEMORY_DEFAULT = 4 * MEGABYTE
#: Of a job with state, which keeps a block's partial results alone: 2 MB more are some percent faster. One that writes
#: its rows holds the text of a block several times over, and stays under 150 MB with the smaller one.
_MEMORY_BOUNDED = 6 * MEGABYTE
#: Of a topic whose batches nobody has steered. What waits there is taken at once up to 4 MB, and a quiet topic's record
#: waits no longer than its transaction takes.
_TOPIC_TIMEOUT_MS = 10.0
_ROWS_DEFAULT = 100_000
_ROWS_LOW_LATENCY = 500


class Strategy(Protocol):
    name: str

    def limit(self) -> Limit:
        """What ends the next batch."""

    def observe(self, rows: int, milliseconds: float) -> None:
        """A batch of so many rows took so long."""


class Fixed:
    """A strategy whose limit never changes."""

    def __init__(self, name: str, limit: Limit) -> None:
        self.name = name
        self._limit = limit

    def limit(self) -> Limit:
        return self._limit

    def observe(self, rows: int, milliseconds: float) -> None:
        pass


class AdaptiveSize:
    """Steers the rows of a batch so that a batch takes the target time: halfway to the estimate each time."""

    name = "adaptive_size"

    def __init__(self, least: int, most: int, target_ms: float, wait_ms: float) -> None:
        self._least = least
        self._most = most
        self._target_ms = target_ms
        self._wait_ms = wait_ms
        self._rows = least

    def limit(self) -> Limit:
        return Limit(self._rows, BYTES_MAX, self._wait_ms, fill=True)

    def observe(self, rows: int, milliseconds: float) -> None:
        if rows < self._rows:
            return  # The source had no more: this says nothing about a full batch.
        wanted = rows * self._target_ms / max(milliseconds, 0.1)
        # A fixed cost a batch makes small ones look slow: growth is bounded to a doubling.
        steered = min((rows + wanted) / 2, rows * 2)
        self._rows = max(self._least, min(self._most, int(steered) + 1))


def choose_strategy(settings: Settings, kind: SourceKind, stateless: bool) -> Strategy:
    """The strategy that the settings name or that has their keys, else the default.

    Raises ConfigError E3005 for a key that the strategy does not have.
    """
    if not settings.flag("batch.enable"):
        return Fixed("off", Limit(1, BYTES_MAX, settings.duration_ms("batch.timeout")))
    name = strategy_name(settings, kind)
    timeout_ms = settings.duration_ms("batch.timeout")
    most = settings.optional_integer("batch.max_size")
    match name:
        case "fixed_size":
            return Fixed(name, Limit(settings.integer("batch.size"), BYTES_MAX, timeout_ms, fill=True))
        case "time_window":
            window_ms = settings.duration_ms("batch.window")
            return Fixed(name, Limit(most or _ROWS_DEFAULT, BYTES_MAX, window_ms, fill=True))
        case "adaptive_size":
            least = settings.integer("batch.min_size")
            target_ms = settings.duration_ms("batch.target_latency")
            return AdaptiveSize(least, max(least, most or _ROWS_DEFAULT), target_ms, timeout_ms)
        case "memory_based":
            return Fixed(name, _memory_limit(settings, kind, stateless))
        case _:
            eager = settings.flag("batch.eager")
            wait_ms = settings.duration_ms("batch.wait")
            return Fixed(name, Limit(most or _ROWS_LOW_LATENCY, BYTES_MAX, wait_ms, fill=not eager))


def _memory_limit(settings: Settings, kind: SourceKind, stateless: bool) -> Limit:
    as_default = not settings.given("batch.strategy")
    large = kind == "bounded file" and not stateless and as_default
    size = settings.optional_integer("batch.memory_size") or (_MEMORY_BOUNDED if large else _MEMORY_DEFAULT)
    short = kind == "topic" and as_default and not settings.given("batch.timeout")
    return Limit(ROWS_MAX, size, _TOPIC_TIMEOUT_MS if short else settings.duration_ms("batch.timeout"), fill=True)
