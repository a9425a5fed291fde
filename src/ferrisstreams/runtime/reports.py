"""What a job tells its observer: its task's progress, with what only the job knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ferrisstreams.clock import Clock
from ferrisstreams.runtime.guard import Guards
from ferrisstreams.runtime.observer import Observer, ProgressEvent

#: Tellings that the rate is over, of which there are five a second.
_RATE_EVENTS = 25


class JobReports:
    """An observer of the job's tasks, one after another: each reopening begins a new one.

    It adds the breakers' states, and counts rows and seconds over all tasks. `rows` gives the rows of the run.
    """

    def __init__(self, observer: Observer, guards: Guards, clock: Clock, rows: Callable[[], int]) -> None:
        self._observer = observer
        self._guards = guards
        self._clock = clock
        self._rows = rows
        self._last: ProgressEvent | None = None
        self._at_ms = 0.0
        self._began_ms: float | None = None
        self._lately: deque[tuple[float, int]] = deque(maxlen=_RATE_EVENTS)

    def progress(self, event: ProgressEvent) -> None:
        self._last, self._at_ms = event, self._clock.monotonic_ms()
        if self._began_ms is None:
            self._began_ms = self._at_ms - event.seconds * 1000
        self._lately.append((self._at_ms, self._rows()))
        self.again()

    def again(self) -> None:
        """Tell the last progress as it is by now: while the job is paused, time goes on, and nothing else."""
        now = self.now()
        if now is not None:
            self._observer.progress(now)

    def now(self) -> ProgressEvent | None:
        """The last progress as it is by now, None before there is one. Any thread may ask."""
        last = self._last
        if last is None or self._began_ms is None:
            return None
        now_ms = self._clock.monotonic_ms()
        since = (now_ms - self._at_ms) / 1000
        return replace(
            last,
            rows=self._rows(),
            seconds=(now_ms - self._began_ms) / 1000,
            breakers=self._guards.states(),
            behind_seconds=last.behind_seconds + since if last.behind_seconds is not None else None,
            commit_seconds=last.commit_seconds + since,
        )

    def rate(self) -> float:
        """Rows a second over the last tellings. Any thread may ask."""
        lately = tuple(self._lately)
        if not lately:
            return 0.0
        then_ms, before = lately[0]
        seconds = (self._clock.monotonic_ms() - then_ms) / 1000
        return max(0, self._rows() - before) / seconds if seconds > 0 else 0.0

    def event(self, name: str, **fields: object) -> None:
        self._observer.event(name, **fields)
