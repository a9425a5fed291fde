"""A job's connectors under guard: each has a circuit breaker, and it is known which one failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ferrisstreams.clock import Clock
from ferrisstreams.config.resolve import Settings
from ferrisstreams.errors import ConnectorError, TransientError, UnknownOutcomeError
from ferrisstreams.runtime.breaker import BreakerSettings, BreakerState, CircuitBreaker
from ferrisstreams.runtime.observer import Observer
from ferrisstreams.runtime.settings import JobSettings

#: Calls that show, when they go well, that the system outside does its work. A sink's `write` only keeps in memory.
_TELLING_CALLS = frozenset({"poll", "flush", "commit"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` in a row without progress, or without end; the wait before each doubles up to `backoff_max_ms`."""

    retries: int
    backoff_ms: float
    backoff_max_ms: float
    endless: bool = False


@dataclass(slots=True)
class Guard:
    """The source of a job, or its sink with all that is written beside it. It outlives a reopening."""

    job: str
    side: str
    policy: RetryPolicy
    breaker: CircuitBreaker
    observer: Observer
    _error: ConnectorError | None = None
    _told: BreakerState = BreakerState.CLOSED

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """Around a call of the connector: the breaker records how it went."""
        try:
            yield
        except (TransientError, UnknownOutcomeError) as error:
            self._error = error
            self.breaker.failed()
            self.tell()
            raise
        if call in _TELLING_CALLS:
            self.breaker.succeeded()
            self.tell()

    def is_to_blame(self, error: ConnectorError) -> bool:
        """Whether this error came from here."""
        return self._error is error

    def tell(self) -> None:
        """Log the breaker's state when it is another than before."""
        state = self.breaker.state
        if state is not self._told:
            self._told = state
            self.observer.event("circuit_breaker", job=self.job, connector=self.side, state=state.value)


@dataclass(slots=True)
class Guards:
    """All sides of a job: its `sources`, and its sink."""

    sources: tuple[Guard, ...]
    sink: Guard
    sides: tuple[Guard, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.sides = (*self.sources, self.sink)

    def policy_for(self, error: ConnectorError) -> RetryPolicy:
        """How the side that failed is tried again."""
        return next((source.policy for source in self.sources if source.is_to_blame(error)), self.sink.policy)

    def tell(self) -> None:
        """Log the breakers' states where they are others than before."""
        for guard in self.sides:
            guard.tell()

    def wait_ms(self) -> float:
        """How long until all may be called: nothing is read that cannot be written."""
        return max(guard.breaker.wait_ms() for guard in self.sides)

    def states(self) -> dict[str, str]:
        """The state of each side's breaker."""
        return {guard.side: guard.breaker.state.value for guard in self.sides}


def guards_of(job: str, settings: JobSettings, clock: Clock, observer: Observer) -> Guards:
    """Those of all sides of a job. One of several sources is called by its name."""
    several = len(settings.sources) > 1
    sources = [
        guard(job, f"source {source.spec.name}" if several else "source", source.values, clock, observer)
        for source in settings.sources
    ]
    return Guards(tuple(sources), guard(job, "sink", settings.sink, clock, observer))


def guard(job: str, side: str, settings: Settings, clock: Clock, observer: Observer) -> Guard:
    """The guard of one side, by its settings."""
    breaker = BreakerSettings(
        failure_threshold=settings.integer("circuit.failure_threshold"),
        failure_rate=settings.number("circuit.failure_rate"),
        window_ms=settings.duration_ms("circuit.window"),
        recovery_timeout_ms=settings.duration_ms("circuit.recovery_timeout"),
        success_threshold=settings.integer("circuit.success_threshold"),
    )
    policy = RetryPolicy(
        retries=settings.integer("max_retries"),
        backoff_ms=settings.duration_ms("retry_backoff"),
        backoff_max_ms=settings.duration_ms("retry_backoff.max"),
        endless=settings.text("failure_strategy") == "retry_with_backoff",
    )
    return Guard(job, side, policy, CircuitBreaker(breaker, clock), observer)
