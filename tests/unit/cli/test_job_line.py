from __future__ import annotations

import pytest

from ferrisstreams.cli.job_line import JobProgress, job_block, job_line, job_table, notes, state_of
from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.runtime.watermarks import Silence

TOPIC = SourceProgress(10, None, "offsets", {"t-0": 1_000_000, "t-1": 234_567})
LAGGING = ProgressEvent("bars", 12_345_678, TOPIC, 0, 12.0, behind_seconds=12.3, commit_seconds=0.44)
NEEDED = ("bars", "running", "12,345,678 rows", "1,028,806 rows/s", "lag 1,234,567")


def progress(event: ProgressEvent, rate: float = 1_028_806.4, name: str = "bars") -> JobProgress:
    return JobProgress(name, state_of(event), event, rate)


@pytest.mark.parametrize("width", range(1, 160))
def test_name_state_rows_rate_and_lag_are_there_at_every_width(width: int) -> None:
    for lines in (job_line(progress(LAGGING), width), job_block(progress(LAGGING), width)):
        shown = "".join("".join(lines).split())
        assert all("".join(needed.split()) in shown for needed in NEEDED), lines
        assert all(len(line) <= max(width, 3) for line in lines)


def test_watermark_is_dropped_first() -> None:
    whole = job_line(progress(LAGGING), 200)[0]
    assert whole.endswith("lag 1,234,567  commit 0.4s ago  12s behind  watermark 1970-01-01T00:00:00Z")
    (shorter,) = job_line(progress(LAGGING), len(whole) - 1)
    assert shorter.endswith("commit 0.4s ago  12s behind")


@pytest.mark.parametrize("width", range(20, 160))
def test_table_is_no_wider_than_the_terminal_and_has_labels(width: int) -> None:
    jobs = [progress(LAGGING, name=name) for name in ("bars", "totals_of_each_hour")]
    lines = job_table(jobs, width)
    assert all(len(line) <= width for line in lines)
    labels = lines[0].split()
    assert labels[:5] == ["job", "state", "rows", "rows/s", "lag"] or all("rows/s" in "".join(lines) for _ in jobs)


def test_data_of_another_day_is_not_said_to_be_behind() -> None:
    old = ProgressEvent("bars", 1, TOPIC, 0, 1.0, behind_seconds=91_756_800.0)
    assert "behind" not in job_line(progress(old), 200)[0]


def test_bounded_source_shows_how_much_of_it_was_read() -> None:
    event = ProgressEvent("bars", 1, SourceProgress(42, 100, "bytes"), None, 1.0, behind_seconds=5.0)
    line = job_line(progress(event), 200)[0]
    assert " 42%  ━━━━━━━━────────────" in line
    assert not any(word in line for word in ("behind", "commit", "lag"))


def test_what_stands_in_the_way_is_the_state_and_a_note() -> None:
    broken = ProgressEvent("j", 1, TOPIC, None, 1.0, {"source": "closed", "sink": "open"})
    assert (state_of(broken), notes(broken)) == ("paused", ["sink: circuit breaker open"])
    silent = ProgressEvent("j", 1, TOPIC, None, 1.0, waits_for=Silence("t-1", 70_000.0))
    assert (state_of(silent), notes(silent)) == (
        "waiting",
        ["waits for t-1, silent for 1m 10s (watermark.idle_timeout)"],
    )
    assert "  waits for t-1, silent for 1m 10s (watermark.idle_timeout)" in job_line(progress(silent), 79)


def test_job_without_progress_has_a_name_and_a_state() -> None:
    assert job_table([JobProgress("a", "failed"), progress(LAGGING)], 99)[1].split() == ["a", "failed"]
