from __future__ import annotations

import pytest

from ferrisstreams.compile.results import Jump
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.runtime.watermarks import SILENCE_TOLD_MS, Silence, Watermarks

BOTH = ("a", "b")
SECOND = 1_000_000


def begun(idle_ms: float | None = 5_000, **seen: int) -> Watermarks:
    marks = Watermarks(SECOND, idle_ms)
    marks.assign(BOTH, 0)
    for name, time in seen.items():
        marks.observe(name, time * SECOND, 0)
    return marks


def test_partition_that_never_gave_a_record_is_idle_after_the_timeout() -> None:
    marks = begun(a=10)
    assert marks.job_us(BOTH, BOTH, 4_999) == NEVER_US
    assert marks.job_us(BOTH, BOTH, 5_000) == NEVER_US  # both are silent: nothing moves
    marks.observe("a", 11 * SECOND, 5_000)
    assert marks.job_us(BOTH, BOTH, 5_000) == 10 * SECOND


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


def test_jump_is_remembered_over_a_restart_until_the_clock_has_come_there() -> None:
    jump = Jump("in.jsonl:3", 100 * SECOND, 90 * SECOND, None)
    marks = begun()
    marks.observe("a", 100 * SECOND, 0, jump)
    again = begun()
    again.restore(marks.snapshot())
    assert again.furthest_jump(99 * SECOND) == jump
    assert again.furthest_jump(100 * SECOND) is None
