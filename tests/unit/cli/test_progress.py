from __future__ import annotations

import pytest

from ferrisstreams.cli.durations import duration_text
from ferrisstreams.cli.progress import LiveView, state_text
from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.runtime.watermarks import Silence


@pytest.mark.parametrize("total", [None, 0, 100])
def test_line_is_drawn_for_bounded_empty_and_endless_sources(total: int | None) -> None:
    with LiveView() as view:
        view.progress(ProgressEvent("j", 10, SourceProgress(10, total, "rows"), None, 0.0))
        view.progress(ProgressEvent("j", 20, SourceProgress(20, total, "rows"), 2**62, 0.2))


def test_line_says_what_is_behind() -> None:
    source = SourceProgress(10, None, "offsets", {"t-0": 1_000, "t-1": 234})
    breakers = {"source": "closed", "sink": "open"}
    event = ProgressEvent("j", 10, source, 0, 0.0, breakers, behind_seconds=12.3, commit_seconds=0.44)
    shown = "[red]sink breaker open[/]  lag 1,234  watermark 1970-01-01T00:00:00Z (12s behind)  commit 0.4s ago"
    assert state_text(event) == shown


def test_bounded_file_has_nothing_behind() -> None:
    assert state_text(ProgressEvent("j", 10, SourceProgress(10, 20, "bytes"), None, 0.0)) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"), (9.94, "9.9s"), (10, "10s"), (60, "1m"), (61.9, "1m 1s"), (3_600, "1h"), (86_399, "23h 59m"),
        (2 * 86_400 + 5 * 3_600 + 59, "2d 5h"), (86_400 + 59, "1d"), (-75, "-1m 15s"),
    ],
)  # fmt: skip
def test_duration_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_rows_that_were_taken_back_are_no_negative_rate() -> None:
    with LiveView() as view:
        for rows, seconds in ((100, 1.0), (40, 2.0)):
            view.progress(ProgressEvent("j", rows, SourceProgress(rows, None, "rows"), None, seconds))


def test_partition_that_windows_wait_for_is_on_the_line() -> None:
    waits_for = Silence("t-1", 70_000.0)
    event = ProgressEvent("j", 10, SourceProgress(0, 10, "rows"), None, 0.0, waits_for=waits_for)
    assert "waits for t-1, silent for 1m 10s (watermark.idle_timeout)" in state_text(event)
