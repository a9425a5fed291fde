"""Who shows what jobs do: drawn on a terminal, a line now and then on one that cannot draw, log lines elsewhere."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ferrisstreams.cli.job_line import JobProgress, job_line, state_of
from ferrisstreams.cli.streams import terminal_columns
from ferrisstreams.runtime.observer import Observer, ProgressEvent
from ferrisstreams.telemetry.logs import PROGRESS_SECONDS, LogObserver

#: Terminals that cannot move their cursor, by `TERM`.
_DUMB = ("", "dumb", "unknown")

_STOPPING = b"\nstopping: what was read is being committed (again: kill)\n"


class View(Observer, Protocol):
    def tell_end(self, job: str, state: str) -> None:
        """One of several jobs has ended."""

    def tell_stopping(self) -> None:
        """A stop was asked for. Called by a handler of signals, which may interrupt anything."""

    def release(self) -> None:
        """The process is killed next."""


class LogView(LogObserver):
    """Log lines."""

    def tell_end(self, job: str, state: str) -> None:
        """The summary says it."""

    def tell_stopping(self) -> None:
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _STOPPING)  # sys.stderr is not reentrant

    def release(self) -> None:
        """Nothing is held."""


class QuietView(LogView):
    """Log lines of events, and no progress."""

    def progress(self, event: ProgressEvent) -> None:
        """Not wanted."""


class PlainView(LogView):
    """Log lines, and every ten seconds the line that another terminal would show all the time."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, tuple[float, int]] = {}

    def progress(self, event: ProgressEvent) -> None:
        seconds, rows = self._shown.get(event.job, (0.0, 0))
        if event.seconds - seconds < PROGRESS_SECONDS:
            return
        self._shown[event.job] = event.seconds, event.rows
        rate = max(0, event.rows - rows) / (event.seconds - seconds)
        shown = JobProgress(event.job, state_of(event), event, rate)
        sys.stderr.write("\n".join(job_line(shown, terminal_columns(sys.stderr) - 1)) + "\n")
        sys.stderr.flush()


def watching(rows_on_stdout: bool, metrics: bool) -> AbstractContextManager[View]:
    """The view for this standard error; nothing is drawn between rows that go to the terminal. `metrics`: log lines of
    progress have the values of all metrics."""
    if not sys.stderr.isatty():
        return nullcontext(LogView(metrics))
    if (rows_on_stdout and sys.stdout.isatty()) or os.environ.get("TERM", "") in _DUMB:
        return nullcontext(PlainView())
    from ferrisstreams.cli.progress import LiveView

    return LiveView()
