"""The commit of an epoch, in five steps. The state file decides, or, where outputs are in transactions, their system.

1. Drain. The epoch's batches have gone through every stage; outputs and dead letters are handed to the sinks.
2. Prepare. Flush the sinks: written and on disk. Then commit the state rows and the epoch row, and read it back.
3. Decide. With the state file as decider, step 2 was the decision. Else the positions go into the transaction, each
   with the token of the epoch, and the transaction is committed.
4. Confirm. The epoch is final: the source is notified, and the sinks publish what waited. The row of the next epoch, a
   reclaim, an idle moment or an orderly stop write it down.
5. Reclaim. Give back what is closed, in a transaction of its own that can be done again.

An error before the decision takes the open epoch back. From the decision on the epoch stands: it is what a later error
goes back to, and what fails of 4 and 5 is logged and done again (`runtime/follow_ups.py`), before the next epoch is
prepared. Where the deciding act itself raises, nothing is touched: its outcome is settled by the next start.

After an error or a crash the job goes on as at start: what is final is asked of the decider (`runtime/reconcile.py`),
an epoch that is not is deleted, and the files are cut to their marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ferrisstreams.batch import JsonValue, Limit, Positions
from ferrisstreams.clock import Clock
from ferrisstreams.compile.pipeline import Pipeline
from ferrisstreams.connectors.base import Sink, Source, Transactions
from ferrisstreams.connectors.set_aside import SetAside
from ferrisstreams.errors import ConnectorError, FencedError, StateError, UnknownOutcomeError, noted_on
from ferrisstreams.runtime.deadletter import DeadLetters
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.runtime.follow_ups import FollowUps
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.reconcile import Token, final_epoch, newest
from ferrisstreams.runtime.state_store import StateStore
from ferrisstreams.runtime.watermarks import Watermarks

#: A new job has an epoch before anything is read: it says where the job begins, and marks the sinks.
OPENING_EPOCH = 1

#: How often positions alone are an epoch, at most. Until then a crash leaves the job before what holds no record, and
#: when retention removes that, the next start cannot know that nothing is lost.
MOVED_INTERVAL_MS = 100.0

#: Reclaiming costs a durable transaction: one in this time, or in this many epochs, whichever comes first.
RECLAIM_INTERVAL_MS = 1_000.0
RECLAIM_EPOCHS = 50


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When an epoch ends: with each row (`per_record`), with each batch (`per_batch`), or by what is queued, time and
    rows (`hybrid`).

    While idle, the token is committed again every `heartbeat_ms`, so that the system outside does not forget it.
    """

    name: str = "hybrid"
    interval_ms: float = 1_000.0
    rows: int | None = None
    heartbeat_ms: float = 3_600_000.0


@dataclass(slots=True)
class Progress:
    """Where a job is: what an epoch makes durable beside the state rows.

    `starts` is where it began; `moved`: it was sent elsewhere by hand, so that what it read cannot be counted again.
    `identities` are those of what the positions belong to. `windows_closed_by_end` is of this run. `by_scan` is the
    input side of the ledger for each scan of a query that has several.
    """

    positions: dict[str, JsonValue]
    rows_read: dict[str, int]
    ledger: Ledger
    watermarks: Watermarks
    finished: bool = False
    starts: dict[str, JsonValue] = field(default_factory=dict)
    moved: bool = False
    identities: dict[str, str] = field(default_factory=dict)
    windows_closed_by_end: int = 0
    by_scan: dict[str, Ledger] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommitParts:
    """The components of a job. `transactions` decides its epochs where outputs are in them; None: the state file.
    `replaced`: where that lies which the job replaces, until an epoch behind the opening one is final.
    """

    source: Source
    sink: Sink
    dead_letters: DeadLetters | None
    pipeline: Pipeline
    store: StateStore
    clock: Clock
    faults: Faults
    follow_ups: FollowUps
    transactions: Transactions | None = None
    replaced: Sequence[SetAside] = ()


class Commit:
    """Epochs of one job."""

    def __init__(self, parts: CommitParts, policy: CommitPolicy, progress: Progress) -> None:
        self._parts = parts
        self._policy = policy
        self._progress = progress
        self._last: EpochRow | None = None
        self._marks: Mapping[str, JsonValue] = {}
        self._since_ms = parts.clock.monotonic_ms()
        self._reclaimed_ms = self._since_ms
        self._reclaimed_epoch = 0
        self._told_ms = self._since_ms
        self._rows = 0
        self._dirty = False
        self._prepared = False
        self._deciding = False
        self._written = True
        self._replaced = False
        self.epoch = OPENING_EPOCH
        self._adopted = False

    # --- at start ---------------------------------------------------------------------------------------------------

    def recover(
        self,
        last: EpochRow | None,
        adopt: bool = False,
        moved: Positions | None = None,
        again: bool = False,
        begun: bool = False,
    ) -> None:
        """Go on from the last final epoch: positions, watermarks, ledger, pipeline; cut the sinks back to their marks.

        `adopt`: without state, begin where the positions outside say, when there are some. `moved`: go on from these
        positions, in whatever is there now, instead of the last epoch's. `again`: the last epoch is that of another
        query, which has read nothing: begin as a new job does. `begun`: this job did, and is opened again.
        """
        parts = self._parts
        beginning = self._row()
        if last is not None and not again:
            self._restore_progress(last)  # What a start that fails tells of the job, too.
        parts.faults.reach("after_open")
        if parts.transactions is None and last is not None and not last.confirmed:
            raise StateError(
                f"epoch {last.epoch} was waiting for a transaction, and no part of the job is transactional any more",
                "E5003",
                "run it once as it was (dlq.topic, job.mode, the sink): then it is known whether the epoch is final",
            )
        # First, because it changes nothing: a start that is refused here leaves nothing behind.
        self._check_source(None if again else last, moved)
        if last is None:
            self._check_sinks()
        if parts.transactions is not None:
            settled = self._settle(parts.transactions, last)
            if settled is not last and not again:
                self._restore_progress(settled if settled is not None else beginning)
                self._check_source(settled, moved)
            last = settled
            if last is None and adopt:
                self._adopt(parts.transactions)
        parts.pipeline.restore({})
        if last is not None:
            self._take_up(last)
        if last is not None and not again:
            self._restore_progress(last)
            parts.pipeline.restore(last.pipeline)
        if moved is not None:
            self._progress.positions.clear()
            self._progress.positions.update(moved)
        parts.faults.reach("during_recovery")
        begins = last is None or (last.has_only_begun and not begun)
        for sink, name in ((parts.sink, "sink"), (parts.dead_letters, "dead_letters")):
            if sink is not None:
                _open(sink, self._marks.get(name), begins)
        parts.source.open(self._progress.positions)
        for partition, position in parts.source.reached().items():
            if partition not in self._progress.positions:
                self._progress.positions[partition] = self._progress.starts[partition] = position
        self._progress.identities.update(parts.source.identities())
        self._begin()
        # A new sink gets a mark before anything is written: a crash in the first epoch looks unlike a foreign file.
        if begins or "sink" not in self._marks:
            self.run()
        self._replaced = True

    def _check_source(self, last: EpochRow | None, moved: Positions | None) -> None:
        if last is None or moved is not None:
            self._parts.source.check(moved or {}, {})
        else:
            self._parts.source.check(last.positions, last.identities)

    def _check_sinks(self) -> None:
        self._parts.sink.check()
        if self._parts.dead_letters is not None:
            self._parts.dead_letters.check()

    def _settle(self, transactions: Transactions, last: EpochRow | None) -> EpochRow | None:
        """What is final, by the token outside. A state that cannot be right is refused before it fences anyone."""
        self._final(transactions, last, settled=False)
        transactions.init()
        self._parts.faults.reach("after_init")
        final = self._final(transactions, last)
        if last is not None and final < last.epoch:
            self._parts.store.delete(last.epoch)
            last = self._parts.store.last()
        if last is not None and newest(found.metadata for found in transactions.committed().values()) is None:
            self._recommit(transactions, last)
        return last

    @property
    def may_be_known(self) -> bool:
        """Whether the system outside decides, and may know of an epoch."""
        return self._parts.transactions is not None and (self._deciding or self._last is not None)

    def forget_opening(self) -> bool:
        """After a job has failed behind its opening epoch, with everything closed: let the system outside forget that.
        False: it cannot, because there were positions of others in its place."""
        if self._parts.transactions is None:
            return True
        if self._adopted or self._deciding:
            return False
        self._parts.transactions.forget_committed()
        return True

    def _adopt(self, transactions: Transactions) -> None:
        self._adopted = bool(transactions.committed())
        self._progress.positions.update({name: found.offset for name, found in transactions.committed().items()})

    def _final(self, transactions: Transactions, last: EpochRow | None, settled: bool = True) -> int:
        token = newest(found.metadata for found in transactions.committed().values())
        return final_epoch(last, self._parts.store.state_id, token, self._parts.clock.now_us(), settled)

    def _recommit(self, transactions: Transactions, row: EpochRow) -> None:
        """Give the token of a final epoch to the system outside again."""
        transactions.begin()
        transactions.send(row.positions, row.epoch, self._token(row.epoch))
        transactions.commit()
        self._told_ms = self._parts.clock.monotonic_ms()

    def _token(self, epoch: int) -> str:
        return str(Token(self._parts.store.state_id, epoch))

    def _take_up(self, last: EpochRow) -> None:
        self._marks = last.marks
        self._last = last
        self._written = last.confirmed
        self.epoch = last.epoch + 1

    def _restore_progress(self, row: EpochRow) -> None:
        progress = self._progress
        progress.positions.clear()
        progress.positions.update(row.positions)
        progress.starts = dict(row.starts)
        progress.moved = row.moved
        progress.rows_read.clear()
        progress.rows_read.update(row.rows_read)
        progress.ledger.take(row.ledger)
        for name, ledger in progress.by_scan.items():
            ledger.take(row.by_scan.get(name, Ledger()))
        progress.watermarks.restore(row.watermarks)
        progress.finished = row.finished
        progress.identities = dict(row.identities)

    @property
    def decided(self) -> EpochRow | None:
        """The last epoch that is final. Any thread may ask."""
        return self._last

    @property
    def since_ms(self) -> float:
        """When the last epoch became final, or the job began, by the monotonic clock."""
        return self._since_ms

    # --- while running ----------------------------------------------------------------------------------------------

    def batch_done(self, rows: int) -> None:
        """A batch has gone through: it belongs to the open epoch."""
        self._rows += rows
        self._dirty = True

    @property
    def is_open(self) -> bool:
        """Whether there is anything to commit: batches, or positions that moved without a record."""
        return self._dirty or self._has_moved()

    def _has_moved(self) -> bool:
        positions = self._progress.positions
        return any(positions.get(name) != position for name, position in self._parts.source.reached().items())

    def bounded(self, limit: Limit) -> Limit:
        """What the next batch may hold of what its strategy allows: no more rows than belong in the open epoch."""
        most = 1 if self._policy.name == "per_record" else self._policy.rows
        if most is None:
            return limit
        return replace(limit, rows=max(1, min(limit.rows, most - self._rows)))

    def due(self, caught_up: bool) -> bool:
        """Whether the open epoch should end now. Positions alone wait for a moment: behind every transaction of another
        job there is a mark, which should not cost this one a transaction each."""
        if not self._dirty:
            return self._is_over(MOVED_INTERVAL_MS) and self._has_moved()
        if self._policy.name != "hybrid" or caught_up or self._parts.pipeline.full:
            return True
        if self._policy.rows is not None and self._rows >= self._policy.rows:
            return True
        return self._is_over(self._policy.interval_ms)

    def _is_over(self, interval_ms: float) -> bool:
        return self._parts.clock.monotonic_ms() - self._since_ms >= interval_ms

    def run(self) -> None:
        """The five steps. Raises what leaves the open epoch to be taken back."""
        # What the epoch before owes comes first: the row of this one would make its files unknown.
        self._parts.follow_ups.settle()
        row = self._prepare(self._drain())
        self._decide(row)
        self._confirm()
        self._renew_after(self._reclaim, "reclaim what is closed")

    def idle(self) -> None:
        """Nothing is going on: write down that the last epoch is final, and keep the token fresh."""
        self._parts.follow_ups.settle()
        transactions, last = self._parts.transactions, self._last
        if self._dirty or transactions is None or last is None:
            return
        self._write_down()
        if self._parts.clock.monotonic_ms() - self._told_ms >= self._policy.heartbeat_ms:
            transactions.abort()
            self._recommit(transactions, last)
            self._begin()

    def settle(self) -> None:
        """At an orderly end: what is owed, and that the last epoch is final. Raises what fails again."""
        self._parts.follow_ups.settle()
        self._write_down()

    def _write_down(self) -> None:
        """The token says it too: a failure is logged."""
        last = self._last
        if self._written or last is None:
            return

        def write() -> None:
            store = self._parts.store
            try:
                store.begin()
                store.confirm(last.epoch)
                store.finish()
            finally:
                store.rollback()

        self._written = self._parts.follow_ups.try_to("write down that the epoch is final", write)

    def rollback(self, error: BaseException) -> None:
        """Take the open epoch back: state rows, files, positions; the next start resumes where the last epoch ended.

        Nothing is touched where the outcome is not known, or another instance may own the job. What fails here is a
        note on the error: the next start does it.
        """
        parts = self._parts
        with noted_on(error):
            parts.store.rollback()
        if self._last is not None:
            self._restore_progress(self._last)
        if self._is_in_doubt(error):
            return
        if parts.transactions is not None:
            try:
                parts.transactions.abort()
            except Exception as refused:
                # What became of the transaction is settled by the next start.
                error.add_note(f"and then: {refused}")
                return
        if self._prepared:
            with noted_on(error):
                parts.store.delete(self.epoch)
        with noted_on(error):
            parts.sink.rollback(self._marks.get("sink"))
        if parts.dead_letters is not None:
            with noted_on(error):
                parts.dead_letters.rollback(self._marks.get("dead_letters"))

    def _is_in_doubt(self, error: BaseException) -> bool:
        """Whether the open epoch may be decided, or another instance own the job."""
        if isinstance(error, (FencedError, UnknownOutcomeError)):
            return True
        # Transactions that refuse a commit say so by a ConnectorError; the COMMIT of the state file says nothing.
        refused = self._parts.transactions is not None and isinstance(error, ConnectorError)
        return self._deciding and not refused

    # --- the steps --------------------------------------------------------------------------------------------------

    def _drain(self) -> EpochRow:
        self._progress.ledger.check(self._progress.by_scan)
        self._progress.positions.update(self._parts.source.reached())
        return replace(self._row(), pipeline=self._parts.pipeline.snapshot())

    def _row(self) -> EpochRow:
        """The open epoch with the job's progress so far."""
        progress = self._progress
        return EpochRow(
            epoch=self.epoch,
            at_us=self._parts.clock.now_us(),
            positions=dict(progress.positions),
            starts=dict(progress.starts),
            moved=progress.moved,
            rows_read=dict(progress.rows_read),
            ledger=replace(progress.ledger),
            by_scan={name: replace(ledger) for name, ledger in progress.by_scan.items()},
            watermarks=progress.watermarks.snapshot(),
            finished=progress.finished,
            identities=dict(progress.identities),
            confirmed=self._parts.transactions is None,
        )

    def _prepare(self, row: EpochRow) -> EpochRow:
        # A place that is not written to now keeps its mark: the next run may write there again.
        marks: dict[str, JsonValue] = {**self._marks, "sink": self._parts.sink.flush()}
        if self._parts.dead_letters is not None:
            marks["dead_letters"] = self._parts.dead_letters.flush()
        row = replace(row, marks=marks)
        self._parts.faults.reach("after_flush")
        self._parts.store.begin()
        self._parts.pipeline.prepare(row.epoch)
        self._parts.store.write(row)
        if self._parts.transactions is None:
            self._decide_by(lambda: self._parts.store.commit(row.epoch), row)
        else:
            self._prepared = True
            self._parts.store.commit(row.epoch)
            self._parts.faults.reach("after_prepare")
        return row

    def _decide(self, row: EpochRow) -> None:
        transactions = self._parts.transactions
        if transactions is not None:
            transactions.send(self._progress.positions, row.epoch, self._token(row.epoch))
            self._parts.faults.reach("after_offsets")
            self._decide_by(transactions.commit, row)
            self._told_ms = self._since_ms

    def _decide_by(self, act: Callable[[], None], row: EpochRow) -> None:
        """The deciding act. When it has returned, the epoch stands, and the next one is open."""
        self._deciding = True
        act()
        self._last = row
        self._marks = row.marks
        self.epoch = row.epoch + 1
        self._prepared = self._deciding = self._dirty = False
        self._written = row.confirmed
        self._rows = 0
        self._since_ms = self._parts.clock.monotonic_ms()

    def _confirm(self) -> None:
        parts, marks = self._parts, self._marks
        self._renew_after(parts.pipeline.confirm, "empty the delta")
        # Not owed: the next epoch tells more.
        parts.follow_ups.try_to("tell the source its positions", self._tell_source)

        def publish() -> None:
            parts.faults.reach("before_confirm")
            parts.sink.confirm(marks["sink"])

        parts.follow_ups.owe("publish the output", publish)
        if self._replaced:
            self._replaced = not parts.follow_ups.try_to("delete what was replaced", self._drop_replaced)
        letters = parts.dead_letters
        if letters is not None:
            parts.follow_ups.owe("publish the dead letters", lambda: letters.confirm(marks["dead_letters"]))
        self._begin()

    def _drop_replaced(self) -> None:
        for aside in self._parts.replaced:
            aside.drop()

    def _tell_source(self) -> None:
        self._parts.faults.reach("after_prepare" if self._parts.transactions is None else "after_transaction")
        if self._parts.transactions is None:
            self._parts.source.commit(self._progress.positions)

    def _begin(self) -> None:
        """From here on, what the sinks write belongs to the next epoch. Nothing goes out before the first write."""
        if self._parts.transactions is not None:
            self._parts.transactions.begin()

    def _renew_after(self, act: Callable[[], None], what: str) -> None:
        """Change the pipeline after the decision. When that fails it is recreated, from what the epoch has kept."""
        last = self._last
        assert last is not None
        if not self._parts.follow_ups.try_to(what, act):
            self._parts.store.rollback()
            self._parts.pipeline.restore(last.pipeline)

    def _reclaim(self) -> None:
        self._parts.faults.reach("after_confirm")
        recent = self._since_ms - self._reclaimed_ms < RECLAIM_INTERVAL_MS
        if recent and self.epoch - self._reclaimed_epoch < RECLAIM_EPOCHS:
            return
        self._reclaimed_ms, self._reclaimed_epoch = self._since_ms, self.epoch
        self._parts.store.begin()
        self._parts.store.confirm(self.epoch - 1)
        self._parts.pipeline.reclaim()
        self._parts.store.forget_before(self.epoch - 1)
        self._parts.faults.reach("during_reclaim")
        self._parts.store.finish()
        self._written = True
        self._parts.faults.reach("after_reclaim")


def _open(sink: Sink | DeadLetters, mark: JsonValue, begins: bool) -> None:
    """`begins`: nothing is final of what is written. It is written from the beginning, to another output, too, which
    is then opened as one of a new job."""
    try:
        sink.open(mark)
    except StateError:
        if not begins or mark is None:
            raise
        sink.open(None)
    else:
        if begins and mark is not None:
            sink.rollback(None)
