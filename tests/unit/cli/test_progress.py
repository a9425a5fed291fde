"""What is drawn while jobs run, as pictures of a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from ferrisstreams.cli.durations import duration_text, lag_text
from ferrisstreams.cli.progress import LiveView, Rate
from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.runtime.watermarks import Silence
from tests.terminal import Terminal, terminal

TOPIC = SourceProgress(10, None, "offsets", {"t-0": 1_000_000, "t-1": 234_567})
FILE = SourceProgress(42, 100, "bytes")
#: 2024-01-01, which is not said to be so many days behind.
BEGUN_US = 1_704_067_200_000_000

BARS = ProgressEvent("bars", 12_345_678, TOPIC, BEGUN_US, 12.0, {}, 12.3, 0.44)
TOTALS = ProgressEvent("hourly_totals", 987_654, FILE, BEGUN_US, 12.0, {}, 91_756_800.0, 0.44)
ALERTS = ProgressEvent("alerts", 5, TOPIC, None, 12.0, {"sink": "open"}, None, 75.0, None, Silence("t-1", 70_000.0))

SCENES = {"a topic": (BARS,), "a file": (TOTALS,), "three jobs": (BARS, TOTALS, ALERTS)}
PICTURES = {
    (40, "a topic"): """\
bars  running
  12,345,678 rows  1,028,806 rows/s
  lag 1,234,567  commit 0.4s ago
  12s behind
""",
    (80, "a topic"): """\
bars  running    12,345,678 rows  1,028,806 rows/s  lag 1,234,567  12s behind
""",
    (140, "a topic"): """\
bars  running    12,345,678 rows  1,028,806 rows/s  lag 1,234,567  commit 0.4s ago  12s behind  watermark\
 2024-01-01T00:00:00Z
""",
    (40, "a file"): """\
hourly_totals  running
  987,654 rows  82,304 rows/s  42%
""",
    (80, "a file"): """\
hourly_totals  running       987,654 rows     82,304 rows/s   42%
""",
    (140, "a file"): """\
hourly_totals  running       987,654 rows     82,304 rows/s   42%  ━━━━━━━━────────────  watermark 2024-01-01T00:00:00Z
""",
    (40, "three jobs"): """\
bars  running
  12,345,678 rows  1,028,806 rows/s
  lag 1,234,567  commit 0.4s ago
  12s behind
hourly_totals  running
  987,654 rows  82,304 rows/s  42%
alerts  paused
  5 rows  0 rows/s  lag 1,234,567
  commit 1m 15s ago
  sink: circuit breaker open
  waits for t-1, silent for 1m 10s
  (watermark.idle_timeout)
""",
    (80, "three jobs"): """\
bars  running
  12,345,678 rows  1,028,806 rows/s  lag 1,234,567  commit 0.4s ago
  12s behind
hourly_totals  running
  987,654 rows  82,304 rows/s  42%
alerts  paused
  5 rows  0 rows/s  lag 1,234,567  commit 1m 15s ago
  sink: circuit breaker open
  waits for t-1, silent for 1m 10s (watermark.idle_timeout)
""",
    (140, "three jobs"): """\
job            state          rows     rows/s        lag  read      commit  behind             watermark
bars           running  12,345,678  1,028,806  1,234,567          0.4s ago     12s  2024-01-01T00:00:00Z
hourly_totals  running     987,654     82,304              42%                      2024-01-01T00:00:00Z
alerts         paused            5          0  1,234,567        1m 15s ago
  alerts: sink: circuit breaker open
  alerts: waits for t-1, silent for 1m 10s (watermark.idle_timeout)
""",
}


@contextmanager
def view(columns: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, LiveView]]:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    with terminal(columns) as shown:
        shown.stream.write("$ ferris run app.sql\n")
        with redirect_stderr(shown.stream):
            yield shown, LiveView()


def below_prompt(shown: Terminal) -> str:
    return shown.picture().removeprefix("$ ferris run app.sql\n")


@pytest.mark.parametrize(("columns", "scene"), PICTURES)
def test_picture_while_jobs_run(columns: int, scene: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with view(columns, monkeypatch) as (shown, live):
        with live:
            for event in (*SCENES[scene], *SCENES[scene]):
                live.progress(event)
            assert below_prompt(shown) == PICTURES[columns, scene]
        assert below_prompt(shown).strip() == ""
        assert not shown.cursor_is_hidden


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_stop_and_what_the_terminal_echoes_leave_nothing(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with view(columns, monkeypatch) as (shown, live):
        with live:
            live.progress(BARS)
            shown.stream.write("^C")
            live.tell_stopping()
            assert below_prompt(shown).splitlines()[-1].startswith("stopping")
            live.progress(BARS)
            assert below_prompt(shown).startswith("bars  stopping")
            assert "^C" not in shown.picture()
        assert below_prompt(shown).strip() == ""


def test_stop_before_anything_is_drawn_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with view(80, monkeypatch) as (shown, live), live:
        live.tell_stopping()
        live.progress(BARS)
        note, line = below_prompt(shown).splitlines()
        assert (note[:9], line[:14]) == ("stopping:", "bars  stopping")


@pytest.mark.parametrize("columns", [40, 80])
def test_killed_process_leaves_no_line_and_a_cursor(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with view(columns, monkeypatch) as (shown, live), live:
        live.progress(BARS)
        assert shown.cursor_is_hidden
        live.release()
        assert (below_prompt(shown).strip(), shown.cursor_is_hidden) == ("", False)


def test_job_of_several_that_has_ended_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with view(140, monkeypatch) as (shown, live), live:
        for event in (BARS, ALERTS):
            live.progress(event)
        live.tell_end("alerts", "finished")
        live.tell_stopping()
        live.progress(BARS)
        _, bars, alerts = (line.split() for line in below_prompt(shown).splitlines())
        assert (bars[:2], alerts[:2]) == (["bars", "stopping"], ["alerts", "finished"])


def test_log_lines_stay_above_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with view(80, monkeypatch) as (shown, live), live:
        live.progress(BARS)
        sys.stderr.write("12:00:00 info columns_inferred\n")
        live.progress(BARS)
        assert below_prompt(shown).splitlines() == [
            "12:00:00 info columns_inferred",
            *PICTURES[80, "a topic"].splitlines(),
        ]


@pytest.mark.parametrize("total", [None, 0, 100])
def test_bounded_empty_and_endless_sources_are_drawn(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with view(80, monkeypatch) as (shown, live), live:
        live.progress(ProgressEvent("j", 20, SourceProgress(20, total, "rows"), 2**62, 0.2))
        assert shown.picture().splitlines()[-1].split()[:6] == ["j", "running", "20", "rows", "100", "rows/s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"), (9.94, "9.9s"), (10, "10s"), (60, "1m"), (61.9, "1m 1s"), (3_600, "1h"), (86_399, "23h 59m"),
        (2 * 86_400 + 5 * 3_600 + 59, "2d 5h"), (86_400 + 59, "1d"), (-75, "-1m 15s"),
    ],
)  # fmt: skip
def test_duration_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert lag_text(seconds) == (text if seconds < 86_400 else "")


def test_rows_that_were_taken_back_are_no_negative_rate() -> None:
    rate = Rate()
    assert rate.update(100, 1.0) == 100
    assert 0 <= rate.update(40, 2.0) < 100
