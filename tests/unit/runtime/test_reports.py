"""What a job's observer hears over reopenings and pauses."""

from __future__ import annotations

from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.breaker import BreakerSettings, CircuitBreaker
from ferrisstreams.runtime.guard import Guard, Guards, RetryPolicy
from ferrisstreams.runtime.observer import ProgressEvent, Silent
from ferrisstreams.runtime.reports import JobReports


class Heard(Silent):
    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []

    def progress(self, event: ProgressEvent) -> None:
        self.events.append(event)


def told(seconds: float, rows: int) -> ProgressEvent:
    return ProgressEvent("j", rows, SourceProgress(0, None, "rows"), 0, seconds, behind_seconds=5.0, commit_seconds=0.5)


def reports(rows: int = 0) -> tuple[JobReports, Heard, ManualClock, Guards]:
    clock, heard = ManualClock(), Heard()
    policy = RetryPolicy(1, 1, 1)
    breakers = [CircuitBreaker(BreakerSettings(failure_threshold=1), clock) for _ in range(2)]
    source, sink = (Guard("j", side, policy, b, heard) for side, b in zip(("source", "sink"), breakers, strict=True))
    guards = Guards((source,), sink)
    return JobReports(heard, guards, clock, lambda: rows), heard, clock, guards


def test_seconds_and_rows_go_on_behind_a_reopening() -> None:
    job, heard, clock, _ = reports(rows=70)
    clock.advance_ms(10_000)
    job.progress(told(seconds=10, rows=40))
    clock.advance_ms(5_000)
    job.progress(told(seconds=1, rows=30))
    assert [(event.seconds, event.rows) for event in heard.events] == [(10, 70), (15, 70)]


def test_paused_job_tells_its_breaker_and_that_time_goes_on() -> None:
    job, heard, clock, guards = reports()
    job.progress(told(seconds=0, rows=1))
    guards.sink.breaker.failed()
    clock.advance_ms(3_000)
    job.again()
    last = heard.events[-1]
    assert last.breakers == {"source": "closed", "sink": "open"}
    assert (last.seconds, last.behind_seconds, last.commit_seconds) == (3.0, 8.0, 3.5)


def test_job_that_has_not_begun_tells_nothing() -> None:
    job, heard, _, _ = reports()
    job.again()
    assert heard.events == []
