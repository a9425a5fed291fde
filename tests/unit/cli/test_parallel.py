"""What several workers tell, as told by one job."""

from __future__ import annotations

from ferrisstreams.cli.parallel import joined, shown, summed
from ferrisstreams.cli.summary import JobSummary
from ferrisstreams.connectors.base import ClientFigures, SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent


def test_ledgers_and_rows_are_summed_and_the_least_watermark_is_the_jobs() -> None:
    one = JobSummary("j", "finished", 2.0, 10, {"read": 10, "late": 1}, "2024-01-02T00:00:00Z", {"t-0": 7})
    two = JobSummary("j", "finished", 3.0, 5, {"read": 6, "late": 0}, "2024-01-01T00:00:00Z", {"t-1": 9})
    assert joined([one, two]) == JobSummary(
        "j", "finished", 3.0, 15, {"read": 16, "late": 1}, "2024-01-01T00:00:00Z", {"t-0": 7, "t-1": 9}
    )


def test_worker_without_a_watermark_leaves_the_job_without_one() -> None:
    parts = [JobSummary("j", "finished", watermark=mark) for mark in ("2024-01-01T00:00:00Z", None)]
    assert joined(parts).watermark is None


def test_ledger_of_a_job_of_which_a_worker_died_is_not_known() -> None:
    parts = [JobSummary("j", "stopped", 1.0, 5, {"read": 5}), JobSummary("j", "failed")]
    assert (joined(parts).ledger, joined(parts).rows) == ({}, 5)


def test_worst_state_and_breaker_are_the_jobs() -> None:
    parts = [
        JobSummary("j", state, breakers={"source": breaker})
        for state, breaker in (("finished", "closed"), ("failed", "half_open"), ("stopped", "open"))
    ]
    assert (joined(parts).state, joined(parts).breakers) == ("failed", {"source": "open"})
    assert joined(parts[:1] + parts[2:]).state == "stopped"


def test_progress_is_summed() -> None:
    client = ClientFigures(3, 30, 1.0, 2.0, 1, 0, {"committed": 4})
    source = SourceProgress(10, 20, "offsets", {"t-0": 10}, client)
    one = ProgressEvent("j", 10, source, 2_000, 1.0, {"sink": "closed"}, 5.0, 0.5, client)
    other = SourceProgress(5, 5, "offsets", {"t-1": 0}, ClientFigures(1, 10, None, None, 0, 1))
    two = ProgressEvent("j", 5, other, 1_000, 2.0, {"sink": "open"}, 6.0, 0.1)
    total = summed([one, two])
    assert total.source == SourceProgress(
        15, 25, "offsets", {"t-0": 10, "t-1": 0}, ClientFigures(4, 40, 1.0, 2.0, 1, 1, {"committed": 4})
    )
    assert (total.rows, total.watermark_us, total.seconds, total.lag) == (15, 1_000, 2.0, 10)
    assert (total.breakers, total.behind_seconds, total.commit_seconds, total.sink) == (
        {"sink": "open"},
        6.0,
        0.5,
        client,
    )


def test_error_of_a_worker_is_shown_with_code_and_hint() -> None:
    assert (
        shown({"code": "E6001", "message": "a row failed", "hint": "mend it"}) == "a row failed [E6001]\nhint: mend it"
    )
    assert shown({"code": "E6001", "message": "a row failed", "hint": None}) == "a row failed [E6001]"
