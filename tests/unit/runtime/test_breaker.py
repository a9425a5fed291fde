"""The circuit breaker against a model that keeps every call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.clock import ManualClock
from ferrisstreams.runtime.breaker import BreakerSettings, BreakerState, CircuitBreaker


def opened(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(BreakerSettings(), clock)
    for _ in range(5):
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    breaker = CircuitBreaker(BreakerSettings(), ManualClock())
    for _ in range(4):
        breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.state is BreakerState.CLOSED
    for _ in range(4):
        breaker.failed()
    assert breaker.state is BreakerState.OPEN


def test_half_of_the_calls_of_the_window_open_it() -> None:
    breaker = CircuitBreaker(BreakerSettings(), ManualClock())
    for _ in range(4):
        breaker.succeeded()
        breaker.failed()
    assert breaker.state is BreakerState.CLOSED, "eight calls say nothing"
    breaker.succeeded()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN


def test_calls_before_the_window_do_not_count() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(BreakerSettings(), clock)
    for _ in range(4):
        breaker.succeeded()
        breaker.failed()
    clock.advance_ms(61_000)
    breaker.succeeded()
    breaker.failed()
    assert breaker.state is BreakerState.CLOSED


def test_open_breaker_waits_for_its_timeout_and_then_tries() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    assert breaker.wait_ms() == 30_000
    clock.advance_ms(29_999)
    assert (breaker.state, breaker.wait_ms()) == (BreakerState.OPEN, 1)
    clock.advance_ms(1)
    assert (breaker.state, breaker.wait_ms()) == (BreakerState.HALF_OPEN, 0)


def test_successes_close_a_half_open_one_and_a_failure_opens_it_again() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance_ms(30_000)
    breaker.succeeded()
    breaker.succeeded()
    breaker.failed()
    assert (breaker.state, breaker.wait_ms()) == (BreakerState.OPEN, 30_000)
    clock.advance_ms(30_000)
    for state in (BreakerState.HALF_OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED):
        breaker.succeeded()
        assert breaker.state is state


def test_closed_again_it_begins_from_nothing() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance_ms(30_000)
    for _ in range(3):
        breaker.succeeded()
    breaker.failed()
    assert breaker.state is BreakerState.CLOSED


def test_memory_does_not_grow_with_calls() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(BreakerSettings(), clock)
    for _ in range(20_000):
        clock.advance_ms(7)
        breaker.succeeded()
    assert len(breaker._pieces) <= 61


CALLS = st.lists(st.tuples(st.sampled_from([0, 10, 999, 1_000, 5_000]), st.booleans()), max_size=80)


@given(calls=CALLS, threshold=st.integers(1, 4), rate=st.sampled_from([0.2, 0.5, 1.0]), successes=st.integers(1, 3))
def test_breaker_is_what_the_calls_say(
    calls: list[tuple[int, bool]], threshold: int, rate: float, successes: int
) -> None:
    """Window and pieces are whole seconds here, so that the model may keep each call with its second."""
    clock = ManualClock()
    breaker = CircuitBreaker(BreakerSettings(threshold, rate, 60_000, 3_000, successes), clock)
    state, until, row, good = "closed", 0, 0, 0
    seen: list[tuple[float, bool]] = []
    piece: float | None = None
    for wait_ms, ok in calls:
        clock.advance_ms(wait_ms)
        now = clock.monotonic_ms()
        piece = now if piece is None or now - piece >= 1_000 else piece
        if state == "open" and now >= until:
            state, good = "half_open", 0
        assert breaker.state.value == state
        seen = [one for one in seen if one[0] > now - 60_000] + [(piece, ok)]
        row = 0 if ok else row + 1
        if ok and state == "half_open":
            good += 1
            if good >= successes:
                state, seen, piece = "closed", [], None
        elif not ok:
            rated = len(seen) >= 10 and sum(not good for _, good in seen) >= rate * len(seen)
            if state == "half_open" or row >= threshold or rated:
                state, until = "open", now + 3_000
        (breaker.succeeded if ok else breaker.failed)()
        assert breaker.state.value == state
