"""What each job does, drawn on a terminal: a line, a block of lines, or a row of a table (`job_line.py`)."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ferrisstreams.cli.job_line import TABLE_COLUMNS, JobProgress, job_block, job_line, job_table, state_of
from ferrisstreams.cli.streams import terminal_columns
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.telemetry.logs import LogObserver

#: Columns that are left free at the end of a line: a terminal writes `^C` there, and may not begin another line for it.
_MARGIN = 3

_STOPPING = ("stopping: what was read is being committed (again: kill)", "stopping (again: kill)")

_COLOURS = {"running": "green", "finished": "green", "failed": "red", "paused": "red"}


class LiveView:
    """An observer that draws. Log lines go above what it draws. To be used in a `with`."""

    def __init__(self) -> None:
        self._logs = LogObserver()
        self._rates: dict[str, Rate] = {}
        self._jobs: dict[str, JobProgress] = {}
        self._stopping = False
        self._lines = 0
        self._console = Console(file=sys.stderr, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            get_renderable=self._drawn,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def progress(self, event: ProgressEvent) -> None:
        rate = self._rates.setdefault(event.job, Rate()).update(event.rows, event.seconds)
        self._jobs[event.job] = JobProgress(event.job, state_of(event), event, rate)
        self._live.refresh()

    def event(self, name: str, **fields: object) -> None:
        self._logs.event(name, **fields)

    def tell_end(self, job: str, state: str) -> None:
        last = self._jobs.get(job, JobProgress(job, state))
        event = replace(last.event, breakers={}, waits_for=None) if last.event is not None else None
        self._jobs[job] = replace(last, state=state, event=event)
        self._live.refresh()

    def tell_stopping(self) -> None:
        """At once, over the last line, by a bare write: a signal may have interrupted the drawing."""
        self._stopping = True
        note = next((text for text in _STOPPING if len(text) <= self._width), _STOPPING[-1])
        os.write(sys.stderr.fileno(), f"\r\033[2K{note}".encode() + (b"" if self._lines else b"\n"))

    def release(self) -> None:
        """Before the process is killed: nothing stays of what is drawn, and the cursor is seen again."""
        up = f"\033[{self._lines - 1}A" if self._lines > 1 else ""
        os.write(sys.stderr.fileno(), f"\r{up}\033[J\033[?25h".encode())

    @property
    def _width(self) -> int:
        return max(1, terminal_columns(sys.stderr) - _MARGIN)

    def _drawn(self) -> Group:
        self._console.width = terminal_columns(sys.stderr)
        jobs = list(self._jobs.values())
        if self._stopping:
            jobs = [job if job.state in ("finished", "failed") else replace(job, state="stopping") for job in jobs]
        if len(jobs) == 1:
            lines = job_line(jobs[0], self._width)
        elif self._console.width >= TABLE_COLUMNS:
            lines = job_table(jobs, self._width)
        else:
            lines = [line for job in jobs for line in job_block(job, self._width)]
        self._lines = len(lines)
        return Group(*(_painted(line, jobs) for line in lines))


def _painted(line: str, jobs: list[JobProgress]) -> Text:
    """A job's name is bold, its state coloured, what stands in its way yellow."""
    text = Text(line, no_wrap=True)
    job = next((each for each in jobs if line.startswith(f"{each.name} ") and each.state in line), None)
    if job is not None:
        text.stylize("bold", 0, len(job.name))
        at = line.index(job.state, len(job.name))
        text.stylize(_COLOURS.get(job.state, "yellow"), at, at + len(job.state))
    elif "waits for" in line or "circuit breaker" in line:
        text.stylize("yellow")
    return text


#: Part of a new reading in the shown rate: high enough to follow, low enough to read.
_SMOOTHING = 0.3


@dataclass(slots=True)
class Rate:
    """Rows a second over the last readings, smoothed."""

    rows: int = 0
    seconds: float = 0.0
    shown: float = 0.0

    def update(self, rows: int, seconds: float) -> float:
        if seconds > self.seconds:
            # An epoch that was taken back takes its rows with it.
            now = max(0, rows - self.rows) / (seconds - self.seconds)
            self.shown = now if not self.shown else self.shown + _SMOOTHING * (now - self.shown)
            self.rows, self.seconds = rows, seconds
        return self.shown
