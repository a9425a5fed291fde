"""Who hears what a job does: the command's progress line, logs, tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ferrisstreams.connectors.base import ClientFigures, SourceProgress
from ferrisstreams.runtime.watermarks import Silence


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far a job is: rows read in this run, the source's progress, the watermark (us; None without), seconds, and
    the state of the circuit breaker of `source` and `sink`.

    `behind_seconds` is how far the watermark is behind the clock, `commit_seconds` the time since the last epoch became
    final (or the job began), `sink` what the sink's client reports. `waits_for` is the silent partition without which
    windows do not close.
    """

    job: str
    rows: int
    source: SourceProgress
    watermark_us: int | None
    seconds: float
    breakers: Mapping[str, str] = field(default_factory=dict)
    behind_seconds: float | None = None
    commit_seconds: float = 0.0
    sink: ClientFigures | None = None
    waits_for: Silence | None = None

    @property
    def lag(self) -> int | None:
        """Of all partitions together; None for a source that has no such thing."""
        return sum(self.source.lag.values()) if self.source.lag else None


class Observer(Protocol):
    def progress(self, event: ProgressEvent) -> None:
        """Told about five times a second."""

    def event(self, name: str, **fields: object) -> None:
        """Something that belongs in a log: its name and what goes with it."""


class Silent:
    def progress(self, event: ProgressEvent) -> None:
        pass

    def event(self, name: str, **fields: object) -> None:
        pass
