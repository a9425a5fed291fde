from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.clock import ManualClock
from ferrisstreams.runtime.failures import FailurePolicy
from ferrisstreams.runtime.retry import longest_wait_ms, wait_ms


def test_longest_wait_doubles_up_to_its_bound() -> None:
    assert [longest_wait_ms(attempt, 1_000, 6_000) for attempt in range(5)] == [1_000, 2_000, 4_000, 6_000, 6_000]


@given(attempt=st.integers(0, 10**9), first=st.floats(0, 1e9), most=st.floats(0, 1e9))
def test_wait_is_drawn_from_nothing_to_the_longest(attempt: int, first: float, most: float) -> None:
    assert 0 <= wait_ms(attempt, first, most) <= longest_wait_ms(attempt, first, most) <= most


def test_waits_of_a_policy_are_as_many_as_its_retries_and_tell_when_it_failed() -> None:
    clock = ManualClock(5_000_000)
    told = []
    for failed_us in FailurePolicy("dlq", retries=3, backoff_ms=10, backoff_max_ms=20).waits(clock):
        told.append(failed_us)
        clock.advance_ms(100)
    assert len(told) == 3
    assert told[0] == 5_000_000
    assert all(100_000 <= after - before <= 120_000 for before, after in pairwise(told))
