"""Time as a component: the engine never reads a clock by itself."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_us(self) -> int:
        """Wall time in microseconds since 1970 UTC."""

    def monotonic_ms(self) -> float:
        """Milliseconds that never go back; only differences mean something."""

    def sleep_ms(self, duration_ms: float) -> None:
        """Wait."""


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_ms(self) -> float:
        return time.monotonic_ns() / 1e6

    def sleep_ms(self, duration_ms: float) -> None:
        time.sleep(duration_ms / 1000)


class ManualClock:
    """A clock that moves only by `advance`, or by the sleeps asked of it."""

    def __init__(self, start_us: int = 0) -> None:
        self._us = start_us

    def now_us(self) -> int:
        return self._us

    def monotonic_ms(self) -> float:
        return self._us / 1000

    def sleep_ms(self, duration_ms: float) -> None:
        self.advance_ms(duration_ms)

    def advance_ms(self, duration_ms: float) -> None:
        self._us += int(duration_ms * 1000)
