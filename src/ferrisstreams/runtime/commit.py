"""The commit of an epoch, in five steps, with the state file as decider.

1. Drain. The epoch's batches have gone through every stage; outputs and dead letters are handed to the sinks.
2. Prepare. Flush the sinks: written and on disk. Then commit the state rows and the epoch row, and read it back.
3. Decide. With the state file as decider, step 2 was the decision. Tell the source.
4. Confirm. The epoch is final: marks and positions are remembered for a rollback, and the sinks publish what waited.
5. Reclaim. Give back what is closed, in a transaction of its own that can be done again.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrisstreams.batch import JsonValue
from ferrisstreams.clock import Clock
from ferrisstreams.compile.pipeline import Pipeline
from ferrisstreams.connectors.base import Sink, Source
from ferrisstreams.duck.store import EpochRow, StateStore
from ferrisstreams.runtime.deadletter import DeadLetters
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.watermarks import Watermarks

#: Reclaiming costs a durable transaction: one in this time, or in this many epochs, whichever comes first.
RECLAIM_INTERVAL_MS = 1_000.0
RECLAIM_EPOCHS = 50


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When an epoch ends: `per_record`, `per_batch`, or `hybrid` by what is queued, time and rows."""

    name: str = "hybrid"
    interval_ms: float = 1_000.0
    rows: int | None = None


@dataclass(slots=True)
class Progress:
    """Where a job is: what an epoch makes durable beside the state rows."""

    positions: dict[str, JsonValue]
    rows_read: dict[str, int]
    ledger: Ledger
    watermarks: Watermarks
    finished: bool = False


@dataclass(frozen=True, slots=True)
class CommitParts:
    source: Source
    sink: Sink
    dead_letters: DeadLetters | None
    pipeline: Pipeline
    store: StateStore
    clock: Clock
    faults: Faults


class Commit:
    """Epochs of one job."""

    def __init__(self, parts: CommitParts, policy: CommitPolicy, progress: Progress) -> None:
        self._parts = parts
        self._policy = policy
        self._progress = progress
        self._last: EpochRow | None = None
        self._marks: dict[str, JsonValue] = {}
        self._since_ms = parts.clock.monotonic_ms()
        self._reclaimed_ms = self._since_ms
        self._reclaimed_epoch = 0
        self._rows = 0
        self._dirty = False
        self.epoch = 1
        self.batches = 0

    # --- at start ---------------------------------------------------------------------------------------------------

    def recover(self, last: EpochRow | None) -> None:
        """Go on from the last epoch: positions, watermarks, ledger, pipeline; cut the sinks back to their marks."""
        parts = self._parts
        parts.pipeline.restore({})
        if last is not None:
            self._restore(last)
        parts.faults.reach("during_recovery")
        parts.sink.open(self._marks.get("sink"))
        if parts.dead_letters is not None:
            parts.dead_letters.open(self._marks.get("dead_letters"))
        parts.source.open(self._progress.positions)
        # A new sink gets a mark before anything is written: a crash in the first epoch is told from a foreign file.
        if last is None or "sink" not in self._marks:
            self.run()

    def _restore(self, last: EpochRow) -> None:
        self._restore_progress(last.content)
        self._parts.pipeline.restore(_mapping(last.content["pipeline"]))
        self._marks = _mapping(last.content["marks"])
        self._last = last
        self.epoch = last.epoch + 1

    def _restore_progress(self, content: dict[str, JsonValue]) -> None:
        progress = self._progress
        progress.positions.clear()
        progress.positions.update(_mapping(content["positions"]))
        progress.rows_read.clear()
        progress.rows_read.update({name: int(str(n)) for name, n in _mapping(content["rows_read"]).items()})
        kept = Ledger.from_json(content["ledger"])
        for name, value in kept.as_dict().items():
            setattr(progress.ledger, name, value)
        progress.watermarks.restore(content["watermarks"])
        progress.finished = bool(content["finished"])

    # --- while running ----------------------------------------------------------------------------------------------

    def batch_done(self, rows: int) -> None:
        """A batch has gone through: it belongs to the open epoch."""
        self._rows += rows
        self.batches += 1
        self._dirty = True

    def due(self, caught_up: bool) -> bool:
        """Whether the open epoch should end now."""
        if not self._dirty:
            return False
        if self._policy.name != "hybrid" or caught_up or self._parts.pipeline.full:
            return True
        if self._policy.rows is not None and self._rows >= self._policy.rows:
            return True
        return self._parts.clock.monotonic_ms() - self._since_ms >= self._policy.interval_ms

    def run(self) -> None:
        """The five steps."""
        row = self._drain()
        self._prepare(row)
        self._decide()
        self._confirm(row)
        self._reclaim()

    def rollback(self) -> None:
        """Take the open epoch back: state rows, files, positions; the source is sent to where the last epoch ended."""
        self._parts.store.rollback()
        self._parts.sink.rollback(self._marks.get("sink"))
        if self._parts.dead_letters is not None:
            self._parts.dead_letters.rollback(self._marks.get("dead_letters"))
        if self._last is not None:
            self._restore_progress(self._last.content)

    # --- the steps --------------------------------------------------------------------------------------------------

    def _drain(self) -> EpochRow:
        progress = self._progress
        progress.ledger.check()
        content: dict[str, JsonValue] = {
            "positions": dict(progress.positions),
            "rows_read": dict(progress.rows_read),
            "ledger": dict(progress.ledger.as_dict()),
            "watermarks": progress.watermarks.snapshot(),
            "pipeline": self._parts.pipeline.snapshot(),
            "finished": progress.finished,
            "confirmed": True,
            "at_us": self._parts.clock.now_us(),
        }
        return EpochRow(self.epoch, content)

    def _prepare(self, row: EpochRow) -> None:
        # A place that is not written to now keeps its mark: the next run may write there again.
        marks: dict[str, JsonValue] = {**self._marks, "sink": self._parts.sink.flush()}
        if self._parts.dead_letters is not None:
            marks["dead_letters"] = self._parts.dead_letters.flush()
        row.content["marks"] = marks
        self._parts.faults.reach("after_flush")
        self._parts.store.begin()
        self._parts.pipeline.prepare(row.epoch)
        self._parts.store.commit(row)
        self._parts.faults.reach("after_prepare")

    def _decide(self) -> None:
        self._parts.source.commit(self._progress.positions)

    def _confirm(self, row: EpochRow) -> None:
        self._parts.faults.reach("before_confirm")
        self._parts.pipeline.confirm()
        self._last = row
        self._marks = _mapping(row.content["marks"])
        self.epoch = row.epoch + 1
        self._rows = 0
        self.batches = 0
        self._dirty = False
        self._since_ms = self._parts.clock.monotonic_ms()
        # Last: should a sink fail here, the epoch stands all the same, and `open` publishes at the next start.
        self._parts.sink.confirm(self._marks["sink"])
        if self._parts.dead_letters is not None:
            self._parts.dead_letters.confirm(self._marks["dead_letters"])
        self._parts.faults.reach("after_confirm")

    def _reclaim(self) -> None:
        recent = self._since_ms - self._reclaimed_ms < RECLAIM_INTERVAL_MS
        if recent and self.epoch - self._reclaimed_epoch < RECLAIM_EPOCHS:
            return
        self._reclaimed_ms, self._reclaimed_epoch = self._since_ms, self.epoch
        self._parts.store.begin()
        self._parts.pipeline.reclaim()
        self._parts.store.forget_before(self.epoch - 1)
        self._parts.faults.reach("during_reclaim")
        self._parts.store.finish()
        self._parts.faults.reach("after_reclaim")


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict)
    return value
