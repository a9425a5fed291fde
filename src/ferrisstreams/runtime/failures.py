"""What becomes of rows that fail: the failure strategy of a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ferrisstreams.batch import Rejected
from ferrisstreams.clock import Clock
from ferrisstreams.errors import RowError
from ferrisstreams.runtime.retry import wait_ms


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """`route` is what becomes of a failing row in the end: `skip`, `dlq` or `fail`. `retries`: attempts before that."""

    route: str
    retries: int = 0
    backoff_ms: float = 0.0
    backoff_max_ms: float = 0.0

    def waits(self, clock: Clock) -> Iterator[int]:
        """Before each new attempt: the wall time (us) of the failure, after the wait."""
        for attempt in range(self.retries):
            failed_us = clock.now_us()
            clock.sleep_ms(wait_ms(attempt, self.backoff_ms, self.backoff_max_ms))
            yield failed_us


def fail_on(rejected: Sequence[Rejected]) -> RowError:
    """The error of a job whose strategy is to fail: it names the first row."""
    first = rejected[0]
    shown = (first.value or b"")[:200].decode("utf-8", "replace")
    return RowError(
        f"{first.position}: {first.message}\n  {shown}",
        "E6001",
        "repair the row, or choose 'failure_strategy' = 'send_to_dlq' or 'log_and_continue'",
    )


class RejectionLog:
    """Which failing rows are named in the log: the first ones of each code, then every thousandth."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def worth_telling(self, row: Rejected) -> int | None:
        """How many of this code there were with this one, when it should be told."""
        count = self._counts[row.code] = self._counts.get(row.code, 0) + 1
        return count if count <= _FIRST or count % _EVERY == 0 else None


#: Rows of one code that are named in the log before only every so many-th is.
_FIRST = 5
_EVERY = 1000
