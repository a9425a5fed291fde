"""Watermarks of a job's partitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from ferrisstreams.batch import JsonValue, integer, is_partition_of, mapping
from ferrisstreams.compile.results import Jump
from ferrisstreams.operators.windows import NEVER_US

#: How long a partition holds windows back, with nothing to read, until it is worth a word.
SILENCE_TOLD_MS = 10_000.0


@dataclass(frozen=True, slots=True)
class Silence:
    """A partition that was read to its end and holds the watermark back, and for how long it has given nothing."""

    partition: str
    silent_ms: float


@dataclass(frozen=True, slots=True)
class SavedWatermarks:
    """What an epoch keeps of them: what each partition has seen, the job's own, and the jumps by partition."""

    seen_us: Mapping[str, int] = field(default_factory=dict)
    job_us: int = NEVER_US
    jumps: Mapping[str, Jump] = field(default_factory=dict)

    @property
    def current_us(self) -> int | None:
        """The job's watermark, None before there is one."""
        return self.job_us if self.job_us > NEVER_US else None

    def to_json(self) -> dict[str, JsonValue]:
        jumps: dict[str, JsonValue] = {name: asdict(jump) for name, jump in self.jumps.items()}
        return {"seen": dict(self.seen_us), "job": self.job_us, "jumps": jumps}

    @classmethod
    def from_json(cls, value: JsonValue) -> SavedWatermarks:
        """Raises InternalError. What was written before there were jumps has none."""
        saved = mapping(value)
        return cls(
            {partition: integer(seen) for partition, seen in mapping(saved["seen"]).items()},
            integer(saved["job"]),
            {partition: Jump.from_json(jump) for partition, jump in mapping(saved.get("jumps", {})).items()},
        )


@dataclass(frozen=True, slots=True)
class WatermarkRule:
    """Of a source: how far its watermark stays behind its newest row (None: it has no event time), and after how long a
    silence a partition of it holds nothing back."""

    delay_us: int | None
    idle_ms: float | None


class Watermarks:
    """The greatest event time seen by each partition, and the job's watermark: the least of those that count.

    A partition that is caught up and has been silent for `idle_ms` does not count until it speaks; one that has given
    nothing in this run is silent since it was assigned. When all of them are silent, the one that is furthest counts:
    none holds another one back, in whatever order they fell silent. The job's watermark never goes back. All times
    are microseconds, clock times milliseconds. `rules` are those of the sources, by name (empty: the only one).
    """

    def __init__(self, rules: Mapping[str, WatermarkRule]) -> None:
        self._rules = rules
        self._seen: dict[str, int] = {}
        self._since_ms: dict[str, float] = {}
        self._jumps: dict[str, Jump] = {}
        self._job = NEVER_US

    def seen_us(self, partition: str) -> int:
        """The greatest event time of the partition so far."""
        return self._seen.get(partition, NEVER_US)

    def source_seen_us(self, source: str) -> int:
        """The greatest event time of all partitions of a source so far."""
        return max((seen for name, seen in self._seen.items() if is_partition_of(source, name)), default=NEVER_US)

    def assign(self, partitions: Iterable[str], now_ms: float) -> None:
        """These are read: a partition that is not known yet is silent from now on."""
        for partition in partitions:
            self._since_ms.setdefault(partition, now_ms)

    def observe(self, partition: str, seen_us: int | None, now_ms: float, jump: Jump | None = None) -> None:
        """A fetch of the partition was processed; `seen_us` is its greatest event time."""
        if seen_us is not None:
            self._seen[partition] = max(seen_us, self.seen_us(partition))
        if jump is not None:
            self._jumps[partition] = jump
        self._since_ms[partition] = now_ms

    def job_us(self, partitions: Iterable[str], caught_up: Collection[str], now_ms: float) -> int:
        """The job's watermark over the partitions that are not finished; over all when every one is.

        `caught_up` are those of which nothing waits to be read.
        """
        unfinished = list(partitions)
        self.assign(unfinished, now_ms)
        names = self._timed(unfinished or list(self._seen))
        counting = [self._through_us(name) for name in names if not self._idle(name, caught_up, now_ms)]
        through_us = min(counting) if counting else max(map(self._through_us, names), default=NEVER_US)
        if through_us > NEVER_US:
            self._job = max(self._job, through_us)
        return self._job

    def waits_for(self, partitions: Iterable[str], caught_up: Collection[str], now_ms: float) -> Silence | None:
        """The partition that holds the watermark back though nothing of it waits to be read: others are ahead."""
        counting = [name for name in self._timed(partitions) if not self._idle(name, caught_up, now_ms)]
        least = min(counting, key=self.seen_us, default=None)
        if least is None or self.seen_us(least) >= max(self._seen.values(), default=NEVER_US):
            return None
        silent_ms = now_ms - self._since_ms.get(least, now_ms)
        return Silence(least, silent_ms) if least in caught_up and silent_ms >= SILENCE_TOLD_MS else None

    def current_us(self) -> int | None:
        """The job's watermark, None before there is one."""
        return self._job if self._job > NEVER_US else None

    def furthest_jump(self, now_us: int) -> Jump | None:
        """The jump that went furthest, as long as the clock has not come to where it went."""
        ahead = [jump for jump in self._jumps.values() if jump.event_us > now_us]
        return max(ahead, key=lambda jump: jump.event_us, default=None)

    def snapshot(self) -> SavedWatermarks:
        """What an epoch keeps."""
        return SavedWatermarks(dict(self._seen), self._job, dict(self._jumps))

    def restore(self, saved: SavedWatermarks) -> None:
        """Go on from what an epoch kept."""
        self._seen, self._job, self._jumps = dict(saved.seen_us), saved.job_us, dict(saved.jumps)
        self._since_ms.clear()

    def _rule(self, partition: str) -> WatermarkRule:
        if len(self._rules) == 1:
            return next(iter(self._rules.values()))
        return next(rule for source, rule in self._rules.items() if is_partition_of(source, partition))

    def _timed(self, partitions: Iterable[str]) -> list[str]:
        """Those of sources with an event time."""
        return [name for name in partitions if self._rule(name).delay_us is not None]

    def _through_us(self, partition: str) -> int:
        """The watermark of a partition."""
        seen_us = self.seen_us(partition)
        return seen_us - (self._rule(partition).delay_us or 0) if seen_us > NEVER_US else NEVER_US

    def _idle(self, partition: str, caught_up: Collection[str], now_ms: float) -> bool:
        idle_ms = self._rule(partition).idle_ms
        if idle_ms is None or partition not in caught_up:
            return False
        return now_ms - self._since_ms.get(partition, now_ms) >= idle_ms
