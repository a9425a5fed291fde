"""What is run: sizes, sections, rounds. Two plans, the full one and one to try it with."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.kafka.data import Data

FEW_KEYS, MANY_KEYS = 500, 100_000
#: Event time from the first to the last record of a topic of the usual size: fifty windows, or twelve and a half.
FEW_SPAN_US, MANY_SPAN_US = 3_000_000_000, 750_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """`records` is the usual size, `slow_records` that of systems too slow for it, `warm_records` that of long runs."""

    records: int
    slow_records: int
    warm_records: int
    strategy_records: int
    unbatched_records: int
    rounds: int
    latency_seconds: float
    recovery_keys: int

    def few(self, records: int) -> Data:
        """A topic of few keys."""
        return Data(f"few-{records}", records, FEW_KEYS, FEW_SPAN_US // self.records)

    def dealt(self, records: int) -> Data:
        """A topic of few keys and two partitions."""
        return Data(f"dealt-{records}", records, FEW_KEYS, FEW_SPAN_US // self.records, partitions=2)

    def many(self, records: int) -> Data:
        """A topic of many keys."""
        return Data(f"many-{records}", records, MANY_KEYS, MANY_SPAN_US // self.records)


FULL = Plan(
    records=3_000_000,
    slow_records=600_000,
    warm_records=12_000_000,
    strategy_records=1_000_000,
    unbatched_records=2_000,
    rounds=3,
    latency_seconds=8.0,
    recovery_keys=1_000_000,
)
QUICK = Plan(
    records=300_000,
    slow_records=100_000,
    warm_records=600_000,
    strategy_records=100_000,
    unbatched_records=500,
    rounds=1,
    latency_seconds=4.0,
    recovery_keys=100_000,
)
