"""What a worker tells its parent: log lines as JSON, and among them its progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from ferrisstreams.batch import JsonValue, integer
from ferrisstreams.connectors.base import ClientFigures, SourceProgress
from ferrisstreams.runtime.observer import Observer, ProgressEvent
from ferrisstreams.runtime.watermarks import Silence

#: The name of the event that carries progress.
PROGRESS = "worker_progress"


def progress_message(event: ProgressEvent) -> dict[str, object]:
    """A progress event as the fields of a log line; `pass_on` reads it back."""
    return asdict(event)


def pass_on(line: str, observer: Observer) -> str | None:
    """Tell `observer` what a line of a worker says; the event's name, None when it is not a log line (a library wrote
    it)."""
    if not line.startswith('{"time"'):
        return None
    fields: dict[str, JsonValue] = json.loads(line)
    name = str(fields["event"])
    rest = {key: value for key, value in fields.items() if key not in ("time", "level", "event")}
    if name == PROGRESS:
        observer.progress(_event(rest))
    else:
        observer.event(name, **rest)
    return name


def _event(fields: dict[str, JsonValue]) -> ProgressEvent:
    match fields:
        case {
            "job": str(job),
            "rows": int(rows),
            "source": source,
            "watermark_us": int() | None as watermark_us,
            "seconds": float() | int() as seconds,
            "breakers": {**breakers},
            "behind_seconds": float() | int() | None as behind,
            "commit_seconds": float() | int() as since,
            "sink": sink,
            "waits_for": waits_for,
        }:
            states = {str(side): str(state) for side, state in breakers.items()}
            return ProgressEvent(
                job,
                rows,
                _source(source),
                watermark_us,
                seconds,
                states,
                behind,
                since,
                _client(sink),
                _silence(waits_for),
            )
    raise AssertionError(f"not a progress event: {fields}")


def _source(fields: JsonValue) -> SourceProgress:
    match fields:
        case {
            "done": int(done),
            "total": int() | None as total,
            "unit": str(unit),
            "lag": {**lag},
            "client": client,
        }:
            return SourceProgress(done, total, unit, _counts(lag), _client(client))
    raise AssertionError(f"not the progress of a source: {fields}")


def _client(fields: JsonValue) -> ClientFigures | None:
    match fields:
        case None:
            return None
        case {
            "waiting_records": int(records),
            "waiting_bytes": int(size),
            "round_trip_ms": float() | int() | None as mean_ms,
            "round_trip_p99_ms": float() | int() | None as p99_ms,
            "transmission_errors": int(errors),
            "timeouts": int(timeouts),
            "transactions": {**transactions},
        }:
            return ClientFigures(records, size, mean_ms, p99_ms, errors, timeouts, _counts(transactions))
    raise AssertionError(f"not what a client reports: {fields}")


def _silence(fields: JsonValue) -> Silence | None:
    match fields:
        case None:
            return None
        case {"partition": str(partition), "silent_ms": float() | int() as silent_ms}:
            return Silence(partition, silent_ms)
    raise AssertionError(f"not a silent partition: {fields}")


def _counts(fields: Mapping[object, object]) -> dict[str, int]:
    return {str(name): integer(count) for name, count in fields.items()}
