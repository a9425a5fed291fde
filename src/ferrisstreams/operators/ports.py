"""Where an operator takes the results of another: how far these have come, by the column that is its event time."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisstreams.operators.windows import NEVER_US, TIME_MAX_US, floor_us
from ferrisstreams.plan.nodes import WINDOW_END, Window, WindowKind


@dataclass(frozen=True, slots=True)
class ResultPort:
    """The results of windows, which are given when they end: all that end up to a bound have been.

    `window` is that of the operator below, None without one; `behind_us` is how far rows of one without may be behind
    the bound. `time` is the bound of its windows that is the event time above. `same`: the window above is the one
    below.
    """

    window: Window | None
    time: str = WINDOW_END
    same: bool = False
    behind_us: int = 0

    def watermark_us(self, given_us: int) -> int:
        """The watermark above: no result to come is before it. `given_us` is the bound below."""
        window = self.window
        if given_us <= NEVER_US or self.same:
            return given_us
        if window is None:
            return given_us - self.behind_us
        if window.kind is WindowKind.SESSION:
            return given_us + 1
        if self.time == WINDOW_END:
            return floor_us(given_us, window.slide_us, window.origin_us + window.size_us) + window.slide_us
        step = self._start_step(window)
        return floor_us(given_us - window.size_us, step, window.origin_us) + step

    def closed_below_us(self, closed_us: int) -> int:
        """The bound up to which windows below are closed for results that end up to `closed_us` above."""
        window = self.window
        if abs(closed_us) >= TIME_MAX_US or self.same:
            return closed_us if self.same else NEVER_US
        if window is None:
            return closed_us + self.behind_us
        if self.time == WINDOW_END or window.kind is WindowKind.SESSION:
            return closed_us - 1
        return floor_us(closed_us - 1, self._start_step(window), window.origin_us) + window.size_us

    @staticmethod
    def _start_step(window: Window) -> int:
        """The distance of the starts of windows."""
        return window.size_us if window.kind is WindowKind.CUMULATE else window.slide_us
