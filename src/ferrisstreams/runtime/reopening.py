"""When an outside system has failed: whether, and after which wait, the job goes on from its last final epoch."""

from __future__ import annotations

from collections.abc import Callable

from ferrisstreams.clock import Clock
from ferrisstreams.errors import ConnectorError, FencedError, TransientError, UnknownOutcomeError
from ferrisstreams.runtime.guard import Guards, RetryPolicy
from ferrisstreams.runtime.observer import Observer
from ferrisstreams.runtime.retry import wait_ms

#: A wait is made of naps, so that a stop is heard in the middle.
_NAP_MS = 100.0


class Reopening:
    """Counts attempts since the job last made progress (its epoch moved). An open circuit breaker holds the job longer.

    A job that was fenced asks the decider once who owns it: a broker that gave a transaction up says the same thing as
    one that has a newer instance. Fenced again without progress, there is another instance.

    `waiting` is called now and then while the job waits.
    """

    def __init__(
        self,
        guards: Guards,
        clock: Clock,
        observer: Observer,
        stopped: Callable[[], bool] = lambda: False,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._guards = guards
        self._stopped = stopped
        self._waiting = waiting
        self._clock = clock
        self._observer = observer
        self._attempts = 0
        self._fenced = 0
        self._epoch = -1

    def wait(self, job: str, error: ConnectorError, epoch: int) -> None:
        """Wait until the job may be opened again, or is to stop. Raises `error` when it is final."""
        policy = self._guards.policy_for(error)
        if epoch > self._epoch:
            self._epoch, self._attempts, self._fenced = epoch, 0, 0
        match error:
            case FencedError() if self._fenced == 0:
                self._fenced += 1
                wait = 0.0
            case TransientError() | UnknownOutcomeError() if self._may_try(policy):
                wait = wait_ms(self._attempts, policy.backoff_ms, policy.backoff_max_ms)
                self._attempts += 1
            case _:
                raise error
        wait = max(wait, self._guards.wait_ms())
        self._observer.event(
            "job_reopens", job=job, code=error.code, message=error.message, attempt=self._attempts, wait_ms=wait
        )
        self._nap(wait)
        self._guards.tell()

    def _may_try(self, policy: RetryPolicy) -> bool:
        return policy.endless or self._attempts < policy.retries

    def _nap(self, duration_ms: float) -> None:
        left_ms = duration_ms
        while left_ms > 0 and not self._stopped():
            self._clock.sleep_ms(min(left_ms, _NAP_MS))
            left_ms -= _NAP_MS
            self._waiting()
