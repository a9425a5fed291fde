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
        hint_for(first) or "repair the row, or choose 'failure_strategy' = 'send_to_dlq' or 'log_and_continue'",
    )


def hint_for(row: Rejected) -> str | None:
    """What to do about a row whose failure has a likely cause outside of it: a file that is one JSON array."""
    begins_file = row.offset in (0, _MARK_BYTES) and row.timestamp_ms is None
    if begins_file and row.code in ("E2101", "E2102") and (row.value or b"").lstrip().startswith(b"["):
        return "a file that is one array has 'format' = 'json_array'"
    return None


#: Of a byte order mark, behind which a file may begin.
_MARK_BYTES = 3


class RejectionLog:
    """Which failing rows are named in the log: the first ones of each code, then every thousandth."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def worth_telling(self, row: Rejected) -> int | None:
        """How many of this code there were with this one, when it should be reported."""
        count = self._counts[row.code] = self._counts.get(row.code, 0) + 1
        return count if count <= _FIRST or count % _EVERY == 0 else None


#: Rows of one code that are named in the log before only every so many-th is.
_FIRST = 5
_EVERY = 1000
