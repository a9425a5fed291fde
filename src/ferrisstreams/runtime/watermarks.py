"""Watermarks of a job's partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ferrisstreams.batch import JsonValue
from ferrisstreams.operators.windows import NEVER_US


class Watermarks:
    """The greatest event time seen by each partition, and the job's watermark: the least of those that count.

    A partition that is caught up and silent for `idle_ms` does not count until it speaks. The job's watermark never
    goes back. All times are microseconds, clock times milliseconds.
    """

    def __init__(self, delay_us: int, idle_ms: float | None) -> None:
        self._delay = delay_us
        self._idle_ms = idle_ms
        self._seen: dict[str, int] = {}
        self._spoke_ms: dict[str, float] = {}
        self._caught_up: dict[str, bool] = {}
        self._job = NEVER_US

    def seen_us(self, partition: str) -> int:
        """The greatest event time of the partition so far."""
        return self._seen.get(partition, NEVER_US)

    def observe(self, partition: str, seen_us: int | None, caught_up: bool, now_ms: float) -> None:
        """A fetch of the partition was processed; `seen_us` is its greatest event time."""
        if seen_us is not None:
            self._seen[partition] = max(seen_us, self.seen_us(partition))
        self._spoke_ms[partition] = now_ms
        self._caught_up[partition] = caught_up

    def job_us(self, partitions: Iterable[str], now_ms: float) -> int:
        """The job's watermark over the partitions that are not finished; over all when every one is."""
        unfinished = list(partitions) or list(self._seen)
        counting = [self.seen_us(partition) for partition in unfinished if not self._idle(partition, now_ms)]
        if counting and min(counting) > NEVER_US:
            self._job = max(self._job, min(counting) - self._delay)
        return self._job

    def current_us(self) -> int | None:
        """The job's watermark, None before there is one."""
        return self._job if self._job > NEVER_US else None

    def snapshot(self) -> dict[str, JsonValue]:
        return {"seen": dict(self._seen), "job": self._job}

    def restore(self, snapshot: JsonValue) -> None:
        assert isinstance(snapshot, Mapping)
        seen = snapshot.get("seen", {})
        assert isinstance(seen, Mapping)
        self._seen = {partition: int(str(value)) for partition, value in seen.items()}
        self._job = int(str(snapshot.get("job", NEVER_US)))
        self._spoke_ms.clear()
        self._caught_up.clear()

    def _idle(self, partition: str, now_ms: float) -> bool:
        if self._idle_ms is None or not self._caught_up.get(partition, False):
            return False
        return now_ms - self._spoke_ms[partition] >= self._idle_ms
