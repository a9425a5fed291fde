"""When an outside system has failed: whether, and after which wait, the job goes on from its last final epoch."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisstreams.clock import Clock
from ferrisstreams.errors import ConnectorError, FencedError, TransientError, UnknownOutcomeError
from ferrisstreams.runtime.observer import Observer
from ferrisstreams.runtime.retry import wait_ms


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` in a row without progress, or without end; the wait before each doubles up to `backoff_max_ms`."""

    retries: int
    backoff_ms: float
    backoff_max_ms: float
    endless: bool = False


class Reopening:
    """Counts attempts since the job last made progress (its epoch moved).

    A job that was fenced asks the decider once who owns it: a broker that gave a transaction up says the same thing as
    one that has a newer instance. Fenced again without progress, there is another instance.
    """

    def __init__(self, policy: RetryPolicy, clock: Clock, observer: Observer) -> None:
        self._policy = policy
        self._clock = clock
        self._observer = observer
        self._attempts = 0
        self._fenced = 0
        self._epoch = -1

    def wait(self, job: str, error: ConnectorError, epoch: int) -> None:
        """Wait until the job may be opened again. Raises `error` when it is final."""
        if epoch > self._epoch:
            self._epoch, self._attempts, self._fenced = epoch, 0, 0
        match error:
            case FencedError() if self._fenced == 0:
                self._fenced += 1
                wait = 0.0
            case TransientError() | UnknownOutcomeError() if self._policy.endless or self._may_try():
                wait = wait_ms(self._attempts, self._policy.backoff_ms, self._policy.backoff_max_ms)
                self._attempts += 1
            case _:
                raise error
        self._observer.event(
            "job_reopens", job=job, code=error.code, message=error.message, attempt=self._attempts, wait_ms=wait
        )
        self._clock.sleep_ms(wait)

    def _may_try(self) -> bool:
        return self._attempts < self._policy.retries
