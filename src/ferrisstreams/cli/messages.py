"""What a worker tells its parent: log lines as JSON, and among them its progress."""

from __future__ import annotations

import json
from dataclasses import asdict

from ferrisstreams.batch import JsonValue
from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.observer import Observer, ProgressEvent

#: The name of the event that carries progress.
PROGRESS = "worker_progress"


def progress_message(event: ProgressEvent) -> dict[str, object]:
    """A progress event as the fields of a log line; `pass_on` reads it back."""
    return asdict(event)


def pass_on(line: str, observer: Observer) -> bool:
    """Tell `observer` what a line of a worker says; False when it is not a log line (a library wrote it)."""
    if not line.startswith('{"time"'):
        return False
    fields: dict[str, JsonValue] = json.loads(line)
    name = fields["event"]
    rest = {key: value for key, value in fields.items() if key not in ("time", "level", "event")}
    if name == PROGRESS:
        observer.progress(_event(rest))
    else:
        observer.event(str(name), **rest)
    return True


def _event(fields: dict[str, JsonValue]) -> ProgressEvent:
    match fields:
        case {
            "job": str(job),
            "rows": int(rows),
            "source": {"done": int(done), "total": int() | None as total, "unit": str(unit)},
            "watermark_us": int() | None as watermark_us,
            "seconds": float() | int() as seconds,
            "breakers": {**breakers},
        }:
            states = {str(side): str(state) for side, state in breakers.items()}
            return ProgressEvent(job, rows, SourceProgress(done, total, unit), watermark_us, seconds, states)
    raise AssertionError(f"not a progress event: {fields}")
