from __future__ import annotations

import json
import re

import pytest

from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.telemetry.logs import PROGRESS_SECONDS, LogObserver, log_to_standard_error, whole_seconds


def test_event_is_one_json_object_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_standard_error(as_json=True)
    LogObserver().event("row_rejected", job="j", position='a "b"\n', count=2)
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    assert fields == {"level": "info", "event": "row_rejected", "job": "j", "position": 'a "b"\n', "count": 2}


def test_event_is_readable_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_standard_error(as_json=False)
    LogObserver().event("row_rejected", job="j", watermark=None)
    assert re.fullmatch(r"\d\d:\d\d:\d\d info row_rejected job=j\n", capsys.readouterr().err)


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_standard_error(as_json=True)
    observer = LogObserver()
    for tenth in range(35):
        seconds = tenth * PROGRESS_SECONDS / 10
        observer.progress(ProgressEvent("j", tenth, SourceProgress(tenth, None, "rows"), 0, seconds))
    told = [json.loads(line)["rows"] for line in capsys.readouterr().err.splitlines()]
    assert told == [10, 20, 30]


@pytest.mark.parametrize("metrics", [False, True])
def test_progress_line_says_what_is_behind(metrics: bool, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_standard_error(as_json=True)
    source = SourceProgress(7, None, "offsets", {"t-0": 3, "t-1": 4})
    LogObserver(metrics).progress(ProgressEvent("j", 700, source, 0, 14.0, {"sink": "open"}, 2.5, 0.5))
    fields = json.loads(capsys.readouterr().err)
    shown = {"rows_per_second": 50, "lag": 7, "behind_seconds": 2.5, "commit_seconds": 0.5, "sink_breaker": "open"}
    assert fields.items() >= shown.items()
    assert ("metrics" in fields) == metrics
    if metrics:
        labels = {"job": "j", "partition": "t-1"}
        assert {"name": "ferris_consumer_lag_records", "labels": labels, "value": 4} in fields["metrics"]


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (1_999_999, "1970-01-01T00:00:01Z"),
        (2**62, "148108-07-06T14:00:27Z"),
        (-(2**62), "-144169-06-28T09:59:32Z"),
    ],
)
def test_time_of_any_year_is_shown_in_whole_seconds(time_us: int | None, text: str | None) -> None:
    assert whole_seconds(time_us) == text
