"""What a run of all systems found: a row for each, also for those that could not be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from benchmarks.kafka.figures import Figures
from benchmarks.kafka.install import InstallError
from benchmarks.kafka.latency import Latency
from benchmarks.kafka.recovery import Recovery
from benchmarks.kafka.run import RunError, System

Found = TypeVar("Found")


@dataclass(slots=True)
class Row(Generic[Found]):
    """A system in a section: what its rounds gave, or why there is nothing."""

    system: System
    records: int
    taken: list[Found] = field(default_factory=list)
    failure: str | None = None

    def attempt(self, measure: Callable[[], Found]) -> str:
        """Measure once more, unless the system has failed already; what to say about it."""
        if self.failure is not None:
            return f"skipped: {self.failure}"
        try:
            self.taken.append(measure())
        except InstallError as absent:
            self.failure = f"not installed: {absent}"
            return self.failure
        except RunError as failed:
            self.failure = str(failed).splitlines()[0]
            return str(failed)
        return str(self.taken[-1])


@dataclass(slots=True)
class Section(Generic[Found]):
    """A table of the page."""

    title: str
    rows: list[Row[Found]]


@dataclass(slots=True)
class Results:
    """All tables, in the order of the page."""

    rates: list[Section[Figures]] = field(default_factory=list)
    strategies: list[Section[Figures]] = field(default_factory=list)
    workers: list[Section[Figures]] = field(default_factory=list)
    latencies: list[Row[Latency]] = field(default_factory=list)
    recoveries: list[Row[Recovery]] = field(default_factory=list)
