"""The circuit breaker of a connector: after many failures it is left alone for a while, then tried again.

Closed, calls go through. Open, none do, until the recovery timeout has passed. Half open, calls go through: enough
successes close it, one failure opens it again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from ferrisstreams.clock import Clock

#: Calls in the window before a rate of failures says anything.
CALLS_MIN = 10

#: Into how many pieces the window is divided: calls are counted by piece, so that memory does not grow with calls.
_PIECES = 60


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """`failure_threshold` failures in a row open it, or the part `failure_rate` of the calls in `window_ms`."""

    failure_threshold: int = 5
    failure_rate: float = 0.5
    window_ms: float = 60_000.0
    recovery_timeout_ms: float = 30_000.0
    success_threshold: int = 3


@dataclass(slots=True)
class _Piece:
    start_ms: float
    calls: int = 0
    failures: int = 0


@dataclass(slots=True)
class CircuitBreaker:
    """Told of successes and failures; says whether, or when, the connector may be called."""

    settings: BreakerSettings
    clock: Clock
    _state: BreakerState = BreakerState.CLOSED
    _failures: int = 0
    _successes: int = 0
    _opened_ms: float = 0.0
    _pieces: deque[_Piece] = field(default_factory=deque)

    @property
    def state(self) -> BreakerState:
        if self._state is BreakerState.OPEN and self._left_ms() <= 0:
            self._state, self._successes = BreakerState.HALF_OPEN, 0
        return self._state

    def wait_ms(self) -> float:
        """How long until a call may be made; 0: now."""
        return self._left_ms() if self.state is BreakerState.OPEN else 0.0

    def succeeded(self) -> None:
        """A call went well."""
        self._failures = 0
        self._count(failed=False)
        if self.state is BreakerState.HALF_OPEN:
            self._successes += 1
            if self._successes >= self.settings.success_threshold:
                self._state = BreakerState.CLOSED
                self._pieces.clear()

    def failed(self) -> None:
        """A call failed because of the system outside."""
        self._failures += 1
        self._count(failed=True)
        if self.state is BreakerState.HALF_OPEN or self._is_too_much():
            self._state = BreakerState.OPEN
            self._opened_ms = self.clock.monotonic_ms()

    # --- private ----------------------------------------------------------------------------------------------------

    def _left_ms(self) -> float:
        return self._opened_ms + self.settings.recovery_timeout_ms - self.clock.monotonic_ms()

    def _is_too_much(self) -> bool:
        calls = sum(piece.calls for piece in self._pieces)
        failures = sum(piece.failures for piece in self._pieces)
        return self._failures >= self.settings.failure_threshold or (
            calls >= CALLS_MIN and failures >= self.settings.failure_rate * calls
        )

    def _count(self, failed: bool) -> None:
        now_ms = self.clock.monotonic_ms()
        while self._pieces and self._pieces[0].start_ms <= now_ms - self.settings.window_ms:
            self._pieces.popleft()
        if not self._pieces or now_ms - self._pieces[-1].start_ms >= self.settings.window_ms / _PIECES:
            self._pieces.append(_Piece(now_ms))
        self._pieces[-1].calls += 1
        self._pieces[-1].failures += failed
