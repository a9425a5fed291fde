"""Who is told what a job does: the command's progress line, logs, tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ferrisstreams.connectors.base import SourceProgress


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far a job is: rows read in this run, the source's progress, the watermark (us; None without), seconds, and
    the state of the circuit breaker of `source` and `sink`."""

    job: str
    rows: int
    source: SourceProgress
    watermark_us: int | None
    seconds: float
    breakers: Mapping[str, str] = field(default_factory=dict)


class Observer(Protocol):
    def progress(self, event: ProgressEvent) -> None:
        """Told about five times a second."""

    def event(self, name: str, **fields: object) -> None:
        """Something that belongs into a log: its name and what goes with it."""


class Silent:
    def progress(self, event: ProgressEvent) -> None:
        pass

    def event(self, name: str, **fields: object) -> None:
        pass
