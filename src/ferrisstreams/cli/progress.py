"""The live line of each job on a terminal: percent, rows, rows a second, and what stands in the way of more."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ferrisstreams.cli.durations import duration_text
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.telemetry.logs import LogObserver, whole_seconds


class LiveView:
    """An observer that draws. Log lines go above the lines that it draws. To be used in a `with`."""

    def __init__(self) -> None:
        self._logs = LogObserver()
        self._rates: dict[str, _Rate] = {}
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[percent]:>4}"),
            TextColumn("{task.fields[rows]:>12,} rows"),
            TextColumn("[cyan]{task.fields[rate]:>11,.0f} rows/s"),
            TextColumn("{task.fields[state]}"),
            console=Console(file=sys.stderr),
            auto_refresh=False,
            transient=True,
        )

    def __enter__(self) -> LiveView:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def progress(self, event: ProgressEvent) -> None:
        task = self._task(event.job)
        rate = self._rates.setdefault(event.job, _Rate()).update(event.rows, event.seconds)
        done, total = event.source.done, event.source.total
        percent = f"{done / total:.0%}" if total else ""
        self._progress.update(
            task,
            completed=done,
            total=total,
            percent=percent,
            rows=event.rows,
            rate=rate,
            state=state_text(event),
        )
        self._progress.refresh()

    def event(self, name: str, **fields: object) -> None:
        self._logs.event(name, **fields)

    def _task(self, job: str) -> TaskID:
        if job not in self._tasks:
            self._tasks[job] = self._progress.add_task(job, total=None, percent="", rows=0, rate=0.0, state="")
        return self._tasks[job]


def state_text(event: ProgressEvent) -> str:
    """What is behind, as far as there is such a thing: an open breaker, lag, the watermark, the last commit."""
    parts = [f"[red]{side} breaker {state}[/]" for side, state in event.breakers.items() if state != "closed"]
    if event.lag is not None:
        parts.append(f"lag {event.lag:,}")
    if watermark := whole_seconds(event.watermark_us):
        behind = f" ({duration_text(event.behind_seconds)} behind)" if event.behind_seconds is not None else ""
        parts.append(f"watermark {watermark}{behind}")
    if event.waits_for is not None:
        silent = duration_text(event.waits_for.silent_ms / 1000)
        parts.append(f"[yellow]waits for {event.waits_for.partition}, silent for {silent} (watermark.idle_timeout)[/]")
    if event.source.total is None:
        parts.append(f"commit {duration_text(event.commit_seconds)} ago")
    return "  ".join(parts)


#: Part of a new reading in the shown rate: high enough to follow, low enough to read.
_SMOOTHING = 0.3


@dataclass(slots=True)
class _Rate:
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
