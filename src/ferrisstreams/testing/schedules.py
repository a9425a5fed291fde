"""The ways in which a case is run: cuts into batches, batch strategies, interleavings and crashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ferrisstreams.compile.sizes import TINY_SIZES, USUAL_SIZES, Sizes
from ferrisstreams.runtime.faults import FAULT_POINTS, TRANSACTION_POINTS
from ferrisstreams.testing.chance import Chance
from ferrisstreams.testing.doubles import Cuts


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The job dies at the `hit`-th time (from 1) that it comes to `point`."""

    point: str
    hit: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """One way to run a job; `crashes` happen one after another, each in the run after the one before.

    `transactional`: outputs are in transactions, which decide the epochs. `durable` keeps state in a file. `tiny`: a
    few rows meet what is made for millions. Every schedule must give the same folded output and the same ledger.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    cuts: Cuts = field(default_factory=Cuts)
    crashes: tuple[CrashPoint, ...] = ()
    transactional: bool = False
    tiny: bool = False

    @property
    def sizes(self) -> Sizes:
        return TINY_SIZES if self.tiny else USUAL_SIZES

    @property
    def durable(self) -> bool:
        return bool(self.crashes)


#: Longer between two polls than `commit.interval`, and than a reclaim waits for the next.
_LONG_MS = 1_100.0

#: Every row is an epoch, and every epoch is reclaimed and compacted.
ONE_ROW = Schedule("one row a batch", {"batch.enable": "false"}, Cuts(poll_ms=_LONG_MS), tiny=True)
ALL_AT_ONCE = Schedule("all at once", {"batch.strategy": "fixed_size", "batch.size": "100000"})

_STRATEGIES = (
    Schedule("seven rows a batch", {"batch.strategy": "fixed_size", "batch.size": "7"}),
    Schedule("two rows a batch", {"batch.strategy": "fixed_size", "batch.size": "2"}),
    Schedule("time_window", {"batch.strategy": "time_window", "batch.window": "1ms", "batch.max_size": "3"}),
    Schedule("adaptive_size", {"batch.strategy": "adaptive_size", "batch.min_size": "1", "batch.max_size": "5"}),
    Schedule("memory_based", {"batch.strategy": "memory_based", "batch.memory_size": "100B"}),
    Schedule("low_latency", {"batch.strategy": "low_latency", "batch.max_size": "3"}),
    Schedule("default settings"),
    Schedule("nothing at every other poll", cuts=Cuts(0, poll_ms=_LONG_MS, rests=True), tiny=True),
    Schedule("tiny sizes", {"batch.strategy": "fixed_size", "batch.size": "3"}, tiny=True),
)

_EACH_BATCH = {"commit.policy": "per_batch", "batch.strategy": "fixed_size"}


def fixed(rows: int) -> Schedule:
    """Batches of exactly so many rows, each an epoch of its own."""
    return Schedule(f"{rows} rows a batch", {**_EACH_BATCH, "batch.size": str(rows)})


def all_schedules(partitions: int) -> list[Schedule]:
    """Every schedule for a source of so many partitions."""
    plain = [ONE_ROW, ALL_AT_ONCE, *_STRATEGIES, *_random_cuts(), *_interleaved(partitions), *_crashing()]
    return [*plain, *_transactional()]


def _random_cuts() -> list[Schedule]:
    return [Schedule(f"random cuts {seed}", cuts=Cuts(seed)) for seed in range(4)]


def _interleaved(partitions: int) -> list[Schedule]:
    if partitions < 2:
        return []
    turns = Schedule("partitions in turn", cuts=Cuts(in_turn=True))
    return [turns, *(Schedule(f"partitions at random {seed}", cuts=Cuts(seed, 2)) for seed in range(4, 8))]


def _crashing() -> list[Schedule]:
    single = [
        Schedule(f"crash at {point} {hit}", {**_EACH_BATCH, "batch.size": size}, crashes=(CrashPoint(point, hit),))
        for point in FAULT_POINTS
        for hit, size in ((1, "1"), (2, "2"), (3, "1"))
    ]
    double = [
        Schedule(
            f"crash at {first} and {second}",
            {"commit.policy": "hybrid", "batch.strategy": "fixed_size", "batch.size": "1"},
            crashes=(CrashPoint(first, 2), CrashPoint(second, 2)),
        )
        for first, second in zip(FAULT_POINTS, (*FAULT_POINTS[3:], *FAULT_POINTS[:3]), strict=True)
    ]
    return single + double


def _transactional() -> list[Schedule]:
    calm = Schedule("transactions", {**_EACH_BATCH, "batch.size": "2"}, transactional=True)
    resting = Schedule(
        "transactions, committed again at rest",
        {"commit.heartbeat": "1s", "batch.enable": "false"},
        Cuts(poll_ms=_LONG_MS, rests=True),
        transactional=True,
    )
    crashing = [
        Schedule(
            f"transactions, crash at {point} {hit}",
            {**_EACH_BATCH, "batch.size": size},
            crashes=(CrashPoint(point, hit),),
            transactional=True,
        )
        for point in (*TRANSACTION_POINTS, "after_write", "after_flush", "after_prepare", "before_confirm")
        for hit, size in ((1, "1"), (2, "2"), (3, "1"))
    ]
    return [calm, resting, *crashing]


def sampled(partitions: int, seed: Sequence[object], count: int) -> list[Schedule]:
    """One row a batch, all at once, and `count` others that the seed chooses; at least one of them crashes."""
    others = all_schedules(partitions)[2:]
    calm = [schedule for schedule in others if not schedule.crashes]
    crashing = [schedule for schedule in others if schedule.crashes]
    chance = Chance(*seed)
    return [ONE_ROW, ALL_AT_ONCE, *chance.sample(calm, count - count // 2), *chance.sample(crashing, count // 2)]
