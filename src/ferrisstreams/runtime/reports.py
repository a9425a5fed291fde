"""What a job tells its observer: its task's progress, with what only the job knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ferrisstreams.clock import Clock
from ferrisstreams.runtime.guard import Guards
from ferrisstreams.runtime.observer import Observer, ProgressEvent


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

    def progress(self, event: ProgressEvent) -> None:
        self._last, self._at_ms = event, self._clock.monotonic_ms()
        if self._began_ms is None:
            self._began_ms = self._at_ms - event.seconds * 1000
        self.again()

    def again(self) -> None:
        """Tell the last progress as it is by now: while the job is paused, time goes on, and nothing else."""
        if self._last is None or self._began_ms is None:
            return
        now_ms = self._clock.monotonic_ms()
        since = (now_ms - self._at_ms) / 1000
        behind = self._last.behind_seconds
        self._observer.progress(
            replace(
                self._last,
                rows=self._rows(),
                seconds=(now_ms - self._began_ms) / 1000,
                breakers=self._guards.states(),
                behind_seconds=behind + since if behind is not None else None,
                commit_seconds=self._last.commit_seconds + since,
            )
        )

    def event(self, name: str, **fields: object) -> None:
        self._observer.event(name, **fields)
