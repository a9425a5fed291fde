"""Watermarks, and what a job says of its time: which partition windows wait for, which row has made it jump."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from ferrisstreams.batch import Positions
from ferrisstreams.clock import ManualClock
from ferrisstreams.compile.results import Jump
from ferrisstreams.config.values import Property
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.runtime.watermarks import SILENCE_TOLD_MS, Silence, WatermarkRule, Watermarks
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.doubles import CollectingSink, Cuts, Records, RecordSource

BOTH = ("a", "b")
SECOND = 1_000_000


def begun(idle_ms: float | None = 5_000, **seen: int) -> Watermarks:
    marks = Watermarks({"": WatermarkRule(SECOND, idle_ms)})
    marks.assign(BOTH, 0)
    for name, time in seen.items():
        marks.observe(name, time * SECOND, 0)
    return marks


def test_partition_that_never_gave_a_record_is_idle_after_the_timeout() -> None:
    marks = begun(a=10)
    assert marks.job_us(BOTH, BOTH, 4_999) == NEVER_US
    marks.observe("a", 11 * SECOND, 4_999)
    assert marks.job_us(BOTH, BOTH, 5_000) == 10 * SECOND


def test_partitions_that_are_all_silent_hold_none_of_them_back() -> None:
    """Whichever fell silent first, also when that was in one moment, as after a restart."""
    marks = begun(a=10, b=3)
    assert marks.job_us(BOTH, BOTH, 4_999) == 2 * SECOND
    assert marks.job_us(BOTH, BOTH, 5_000) == 9 * SECOND
    again = begun()
    again.restore(begun(a=10).snapshot())
    again.assign(BOTH, 100_000)
    assert again.job_us(BOTH, BOTH, 104_999) == NEVER_US
    assert again.job_us(BOTH, {"a"}, 105_000) == NEVER_US
    assert again.job_us(BOTH, BOTH, 105_000) == 9 * SECOND


def test_partition_that_is_silent_since_a_restart_is_idle_after_the_timeout() -> None:
    marks = begun(a=10, b=3)
    assert marks.job_us(BOTH, BOTH, 0) == 2 * SECOND
    again = begun()
    again.restore(marks.snapshot())
    again.assign(BOTH, 100_000)
    again.observe("a", 12 * SECOND, 104_000)
    assert again.job_us(BOTH, BOTH, 104_999) == 2 * SECOND
    assert again.job_us(BOTH, BOTH, 105_000) == 11 * SECOND


def test_partition_that_is_found_later_is_silent_from_then_on() -> None:
    marks = begun(a=10, b=10)
    assert marks.job_us((*BOTH, "c"), (*BOTH, "c"), 4_000) == NEVER_US
    marks.observe("a", 12 * SECOND, 8_000)
    marks.observe("b", 12 * SECOND, 8_000)
    assert marks.job_us((*BOTH, "c"), (*BOTH, "c"), 8_999) == NEVER_US
    assert marks.job_us((*BOTH, "c"), (*BOTH, "c"), 9_000) == 11 * SECOND


def test_partition_of_which_records_wait_is_not_idle() -> None:
    marks = begun(a=10)
    marks.observe("a", 11 * SECOND, 9_000)
    assert marks.job_us(BOTH, {"a"}, 9_000) == NEVER_US


def test_idle_partition_counts_again_with_its_next_record_and_takes_nothing_back() -> None:
    marks = begun(a=10, b=3)
    marks.observe("a", 11 * SECOND, 6_000)
    assert marks.job_us(BOTH, BOTH, 6_000) == 10 * SECOND
    marks.observe("b", 4 * SECOND, 6_500)
    marks.observe("a", 20 * SECOND, 6_500)
    assert marks.job_us(BOTH, BOTH, 6_500) == 10 * SECOND


@pytest.mark.parametrize(
    ("idle_ms", "caught_up", "now_ms", "silence"),
    [
        (None, BOTH, SILENCE_TOLD_MS, Silence("b", SILENCE_TOLD_MS)),
        (None, BOTH, SILENCE_TOLD_MS - 1, None),
        (None, ("a",), SILENCE_TOLD_MS, None),  # its records are on their way
        (5_000, BOTH, SILENCE_TOLD_MS, None),  # nothing waits for it any more
    ],
)
def test_silent_partition_that_windows_wait_for_is_named(
    idle_ms: float | None, caught_up: tuple[str, ...], now_ms: float, silence: Silence | None
) -> None:
    marks = begun(idle_ms, a=10)
    marks.observe("a", 11 * SECOND, now_ms)
    assert marks.waits_for(BOTH, caught_up, now_ms) == silence


def test_nothing_waits_where_no_partition_is_ahead() -> None:
    assert begun(None).waits_for(BOTH, BOTH, 60_000) is None
    assert begun(None, a=10, b=10).waits_for(BOTH, BOTH, 60_000) is None


def test_nothing_waits_for_a_source_without_event_time() -> None:
    marks = Watermarks({"s": WatermarkRule(SECOND, None), "t": WatermarkRule(None, None)})
    marks.assign(("s/a", "t/a"), 0)
    marks.observe("s/a", 10 * SECOND, 0)
    marks.observe("t/a", None, 0)
    assert marks.job_us(("s/a", "t/a"), ("s/a", "t/a"), 60_000) == 9 * SECOND
    assert marks.waits_for(("s/a", "t/a"), ("s/a", "t/a"), 60_000) is None


def test_jump_is_remembered_over_a_restart_until_the_clock_has_come_there() -> None:
    jump = Jump("in.jsonl:3", 100 * SECOND, 90 * SECOND, None)
    marks = begun()
    marks.observe("a", 100 * SECOND, 0, jump)
    again = begun()
    again.restore(marks.snapshot())
    assert again.furthest_jump(99 * SECOND) == jump
    assert again.furthest_jump(100 * SECOND) is None


# -- of a job

APPLICATION = """
CREATE STREAM s (at TIMESTAMP, WATERMARK FOR at AS at) WITH (connector='file', path='in.jsonl', format='json');
CREATE STREAM out AS SELECT window_start, count(*) AS n FROM s GROUP BY TUMBLE(at, INTERVAL '1' MINUTE) EMIT FINAL
WITH (connector='file', path='out.jsonl', format='json');
"""
START_US = 1_704_067_200_000_000  # 2024-01-01


def record(day: str) -> bytes:
    return b'{"at": "%s"}' % day.encode()


class TopicOfTwo(RecordSource):
    """A source whose two partitions stay assigned to its end, as those of a topic do."""

    def partitions(self) -> Positions:
        return dict(self._next)

    def caught_up(self) -> Collection[str]:
        return {name for name in self._next if not self._left(name)}


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.silent: set[str] = set()

    def progress(self, event: ProgressEvent) -> None:
        self.silent |= {event.waits_for.partition} if event.waits_for is not None else set()

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))


def run(folder: Path, partitions: dict[str, list[bytes]], told: Told, settings: dict[str, str]) -> JobResult:
    clock = ManualClock(START_US)
    source = TopicOfTwo if len(partitions) > 1 else RecordSource
    environment = Environment(
        "app",
        folder,
        state_root=folder,
        overrides={name: Property(value, origin="with") for name, value in settings.items()},
        clock=clock,
        observer=told,
        stand_ins=StandIns(
            lambda _, block: source(Records(partitions), Cuts(poll_ms=4_000), block, clock),
            CollectingSink(),
            CollectingSink(),
        ),
    )
    return Job(parse_application(APPLICATION, "app.sql").jobs[0], environment).run()


MINUTES = [record(f"2024-01-01T00:{minute:02}:00Z") for minute in range(10)]


def test_silent_partition_that_windows_wait_for_is_named_once_with_what_to_set(tmp_path: Path) -> None:
    told = Told()
    result = run(tmp_path, {"t-0": MINUTES, "t-1": []}, told, {"batch.enable": "false"})
    assert result.error is None
    ((name, fields),) = told.events
    assert (name, fields["partition"], fields["silent_since"]) == ("windows_wait", "t-1", "2024-01-01T00:00:00Z")
    assert "watermark.idle_timeout" in str(fields["hint"])
    assert told.silent == {"t-1"}


def test_partition_that_never_gave_a_record_is_left_out_after_the_timeout(tmp_path: Path) -> None:
    told = Told()
    settings = {"batch.enable": "false", "watermark.idle_timeout": "20s"}
    result = run(tmp_path, {"t-0": MINUTES, "t-1": []}, told, settings)
    assert result.watermark == "2024-01-01T00:09:00Z"


JUMPING = [record("2024-01-01T00:00:01Z"), record("2040-01-01T00:00:00Z"), *MINUTES]


@pytest.mark.parametrize(("rows", "position"), [("1", "p byte 1"), ("100", "p byte 31")])
def test_row_that_makes_the_watermark_jump_is_named_in_log_and_summary_also_by_the_next_run(
    tmp_path: Path, rows: str, position: str
) -> None:
    told, settings = Told(), {"batch.strategy": "fixed_size", "batch.size": rows}
    result = run(tmp_path, {"p": JUMPING}, told, settings)
    assert result.ledger.late == 10
    ((name, fields),) = told.events
    assert name == "watermark_jumped"
    assert (fields["position"], fields["event_time"]) == (position, "2040-01-01T00:00:00Z")
    assert "watermark.max_ahead" in str(fields["hint"])
    assert result.watermark_jump == f"to 2040-01-01T00:00:00Z by the row at {position}, 5,844 days ahead of the clock"
    again = run(tmp_path, {"p": [*JUMPING, *MINUTES]}, Told(), settings)
    assert (again.ledger.late, again.watermark_jump) == (20, result.watermark_jump)


def test_row_that_max_ahead_rejects_makes_nothing_jump(tmp_path: Path) -> None:
    told = Told()
    result = run(tmp_path, {"p": JUMPING}, told, {"watermark.max_ahead": "1h"})
    assert (result.ledger.late, result.ledger.skipped, result.watermark_jump) == (0, 1, None)
    assert [name for name, _ in told.events] == ["row_rejected"]
