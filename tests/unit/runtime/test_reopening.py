"""Whether a job goes on after an outside system has failed."""

from __future__ import annotations

import pytest

from ferrisstreams.clock import ManualClock
from ferrisstreams.errors import ConnectorError, FatalConnectorError, FencedError, TransientError, UnknownOutcomeError
from ferrisstreams.runtime.breaker import BreakerSettings, CircuitBreaker
from ferrisstreams.runtime.guard import Guard, Guards, RetryPolicy
from ferrisstreams.runtime.observer import Silent
from ferrisstreams.runtime.reopening import Reopening

BUSY = TransientError("busy", "E4102")
LOST = UnknownOutcomeError("no answer", "E4101")
FENCED = FencedError("fenced", "E4105")


def reopened(policy: RetryPolicy, clock: ManualClock, stopped: bool = False) -> Reopening:
    source, sink = (
        Guard("job", side, policy, CircuitBreaker(BreakerSettings(), clock), Silent()) for side in ("source", "sink")
    )
    return Reopening(Guards((source,), sink), clock, Silent(), stopped=lambda: stopped)


def attempts(error: ConnectorError, policy: RetryPolicy, epochs: list[int]) -> int:
    """How often the job may be opened again when it fails at these epochs."""
    reopening = reopened(policy, ManualClock())
    for count, epoch in enumerate(epochs):
        try:
            reopening.wait("job", error, epoch)
        except type(error):
            return count
    return len(epochs)


@pytest.mark.parametrize("error", [BUSY, LOST])
def test_attempts_are_bounded_while_nothing_moves(error: ConnectorError) -> None:
    assert attempts(error, RetryPolicy(3, 100, 1000), [7] * 9) == 3


def test_progress_gives_new_attempts() -> None:
    assert attempts(BUSY, RetryPolicy(2, 100, 1000), [7, 7, 8, 8, 9, 9, 9, 9]) == 6


def test_endless_policy_goes_on() -> None:
    assert attempts(BUSY, RetryPolicy(0, 100, 1000, endless=True), [7] * 2000) == 2000


def test_fenced_job_asks_once_and_gives_up_without_progress() -> None:
    assert attempts(FENCED, RetryPolicy(9, 100, 1000, endless=True), [7, 7]) == 1
    assert attempts(FENCED, RetryPolicy(0, 100, 1000), [7, 8, 9, 9]) == 3


def test_fatal_error_is_final() -> None:
    fatal = FatalConnectorError("no such topic", "E4103")
    assert attempts(fatal, RetryPolicy(9, 100, 1000, endless=True), [7]) == 0


def test_waits_double_up_to_their_bound() -> None:
    clock = ManualClock()
    reopening = reopened(RetryPolicy(50, 100, 1000), clock)
    for attempt in range(50):
        before = clock.monotonic_ms()
        reopening.wait("job", BUSY, 1)
        assert clock.monotonic_ms() - before <= min(1000, 100 * 2**attempt)


def test_stop_ends_a_wait() -> None:
    clock = ManualClock()
    reopened(RetryPolicy(1, 1e9, 1e9), clock, stopped=True).wait("job", BUSY, 1)
    assert clock.monotonic_ms() == 0
