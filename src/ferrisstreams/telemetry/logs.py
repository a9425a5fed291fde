"""Log lines on standard error: readable on a terminal, one JSON object a line elsewhere.

Standard logging carries them, so that an application that embeds the library can take them with its own handlers. The
runtime does not log: it tells an observer, and this is one.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from ferrisstreams.runtime.iso_time import iso_time
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.telemetry.metrics import samples

LOGGER = logging.getLogger("ferrisstreams")

#: Seconds between two progress lines of a job where no live line can be drawn.
PROGRESS_SECONDS = 10.0

#: Events of a job that goes on without a part of what was asked of it.
_WARNINGS = frozenset({"reads_unavailable"})


class LogObserver:
    """Writes events as log lines, and progress as a line now and then; `metrics`: with the values of all metrics."""

    def __init__(self, metrics: bool = False) -> None:
        self._metrics = metrics
        self._told: dict[str, tuple[float, int]] = {}

    def progress(self, event: ProgressEvent) -> None:
        seconds, rows = self._told.get(event.job, (0.0, 0))
        if event.seconds - seconds < PROGRESS_SECONDS:
            return
        self._told[event.job] = event.seconds, event.rows
        # An epoch that was taken back takes its rows with it.
        rate = round(max(0, event.rows - rows) / (event.seconds - seconds))
        found = {"metrics": [sample.as_dict() for sample in samples(event)]} if self._metrics else {}
        self.event("progress", **progress_fields(event, rate), **found)

    def event(self, name: str, **fields: object) -> None:
        LOGGER.log(logging.WARNING if name in _WARNINGS else logging.INFO, name, extra={"fields": fields})


def progress_fields(event: ProgressEvent, rate: int) -> dict[str, object]:
    """A progress event as the fields of a log line; `rate` is in rows a second since the line before."""
    return {
        "job": event.job,
        "rows": event.rows,
        "rows_per_second": rate,
        "done": event.source.done,
        "total": event.source.total,
        "unit": event.source.unit,
        "lag": event.lag,
        "watermark": whole_seconds(event.watermark_us),
        "behind_seconds": round(event.behind_seconds, 3) if event.behind_seconds is not None else None,
        "commit_seconds": round(event.commit_seconds, 3),
        "seconds": round(event.seconds, 3),
        **{f"{side}_breaker": state for side, state in event.breakers.items() if state != "closed"},
    }


def whole_seconds(time_us: int | None) -> str | None:
    """A watermark for people: ISO 8601 without what is below a second; None where there is none."""
    return iso_time(time_us - time_us % 1_000_000) if time_us is not None else None


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        shown = (f"{name}={value}" for name, value in _fields(record).items() if value is not None)
        return " ".join([time, record.levelname.lower(), record.getMessage(), *shown])


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(head | _fields(record), default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return dict(fields) if isinstance(fields, Mapping) else {}


class _StandardErrorHandler(logging.Handler):
    """Writes to what standard error is at that moment, so that a live display can put lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")
        sys.stderr.flush()


def log_to_standard_error(as_json: bool) -> None:
    """Send all log lines to standard error. Replaces what an earlier call set up."""
    handler = _StandardErrorHandler()
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
