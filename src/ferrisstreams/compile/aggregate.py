"""The stage of an aggregate: group the batch, append to the log, emit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.batch import Fetch, JsonValue
from ferrisstreams.compile.pipeline import BatchContext, Input, OutputStage, chunks, late_failures
from ferrisstreams.compile.results import Outcome, Tally
from ferrisstreams.compile.rows import FILTERED, KEPT, LATE
from ferrisstreams.compile.sources import MergedRows
from ferrisstreams.compile.stage import RowStage
from ferrisstreams.duck.engine import Engine, column
from ferrisstreams.duck.panes import SLICE, PaneLog
from ferrisstreams.operators.changes import as_inserts, differences
from ferrisstreams.operators.log import DELTA, LATE_WINDOWS, OUTCOME, ROWS, SEEN, GroupLog
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.plan.nodes import Emit

#: The registered name of the results that are being emitted.
MERGED = "_merged"

#: Partial results that wait in memory to be appended with others of their epoch, in one statement a pane.
PENDING_ROWS_MAX = 200_000

#: Behind any event time.
FOREVER_US = 2**61

_STATS = (
    exp.select(
        column(OUTCOME),
        column(SLICE),
        *[
            exp.cast(exp.Sum(this=column(name)), "BIGINT") if name != SEEN else exp.Max(this=column(name))
            for name in (ROWS, LATE_WINDOWS, SEEN)
        ],
    )
    .from_(DELTA)
    .group_by(exp.Literal.number(1), exp.Literal.number(2))
    .sql("duckdb")
)


@dataclass(frozen=True, slots=True)
class Emission:
    """When and how results leave: `allowed_us` and `update` from the late strategy, `retract` from the changelog.

    `late_letters`: late rows are kept as dead letters. `single` is an aggregate with one empty key and no window.
    """

    emit: Emit
    windowed: bool
    allowed_us: int
    update: bool
    retract: bool
    late_letters: bool
    single: bool
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AggregateParts:
    """The parts that the compiler has put together. `final` makes output columns of the registered merged results."""

    engine: Engine
    source: Input
    input: RowStage
    log: GroupLog
    panes: PaneLog
    output: OutputStage
    final: exp.Select
    final_names: tuple[str, ...]
    empty: Callable[[], pa.Table]


class AggregatePipeline:
    """One aggregate over a source."""

    def __init__(self, parts: AggregateParts, emission: Emission) -> None:
        self._parts = parts
        self._emission = emission
        self._log = parts.log
        self._log.open(parts.panes)
        self._epoch = 0
        self._emitted_us = NEVER_US
        self._closed_us = NEVER_US
        self._any_output = False
        self._grown = False
        self._pending: list[pa.Table] = []
        self._pending_slices: set[int] = set()

    def process(self, fetch: Fetch, context: BatchContext) -> Outcome:
        outcome = Outcome()
        rows = self._parts.source.rows(fetch, context)
        parameters = self._parts.source.parameters(fetch, context, self._closed_us)
        ran = self._parts.input.run(rows, parameters)
        outcome.rejected += ran.rejected
        slices = self._count(ran.table, outcome.tally)
        if outcome.tally.late and self._emission.late_letters:
            failures = late_failures(self._parts.input, ran, parameters)
            outcome.late_letters += rows.letters(failures, "E2301", "late")
        if slices:
            self._absorb(ran.table, slices, context.epoch, outcome)
        return outcome

    def drain(self) -> None:
        self._append_pending()

    def advance(self, watermark_us: int) -> Outcome:
        outcome = Outcome()
        self._append_pending()
        if not self._emission.windowed:
            return outcome
        closed = max(self._closed_us, watermark_us - self._emission.allowed_us)
        bound = max(self._emitted_us, watermark_us if self._emission.update else closed)
        if self._emission.emit is Emit.FINAL and bound > self._emitted_us:
            self._emit_inserts(self._log.closing(self._emitted_us, bound), outcome)
        self._emitted_us, self._closed_us = bound, closed
        return outcome

    def finish(self) -> Outcome:
        outcome = Outcome()
        self._append_pending()
        if self._emission.emit is Emit.CHANGES:
            self._emit_lone_row(outcome)
            return outcome
        # A finished job that is run again and finds nothing new says nothing new.
        table = self._log.closing(self._emitted_us, FOREVER_US) if self._grown else None
        self._grown = False
        if table is not None and self._emission.windowed:
            ends = table.column("_stop").to_pylist()
            self._emitted_us = self._closed_us = max(self._emitted_us, self._closed_us, *ends)
        self._emit_inserts(table, outcome)
        self._emit_lone_row(outcome)
        return outcome

    def reclaim(self) -> None:
        self._log.reclaim(self._closed_us)

    def snapshot(self) -> dict[str, JsonValue]:
        return {
            "emitted_us": self._emitted_us,
            "closed_us": self._closed_us,
            "any_output": self._any_output,
            "grown": self._grown,
        }

    def restore(self, snapshot: dict[str, JsonValue]) -> None:
        self._parts.panes.load()
        self._pending.clear()
        self._pending_slices.clear()
        self._emitted_us = int(str(snapshot.get("emitted_us", NEVER_US)))
        self._closed_us = int(str(snapshot.get("closed_us", NEVER_US)))
        self._any_output = bool(snapshot.get("any_output", False))
        self._grown = bool(snapshot.get("grown", False))

    # --- private ----------------------------------------------------------------------------------------------------

    def _count(self, delta: pa.Table, tally: Tally) -> list[int]:
        """Fill in the tally; the slices that were touched."""
        work = self._parts.engine.work
        work.register(DELTA, delta)
        slices = []
        for outcome, slice_, rows, late_windows, seen in work.rows(_STATS):
            match outcome:
                case int(kind) if kind == KEPT:
                    tally.kept += int(str(rows))
                    tally.late_windows += int(str(late_windows))
                    slices.append(int(str(slice_)))
                case int(kind) if kind == LATE:
                    tally.late += int(str(rows))
                case int(kind) if kind == FILTERED:
                    tally.filtered += int(str(rows))
            if seen is not None:
                tally.seen_us = max(int(str(seen)), tally.seen_us if tally.seen_us is not None else NEVER_US)
        work.unregister(DELTA)
        return slices

    def _absorb(self, delta: pa.Table, slices: list[int], epoch: int, outcome: Outcome) -> None:
        self._epoch = epoch
        self._grown = True
        self._pending.append(delta)
        self._pending_slices.update(slices)
        low, high = self._changing()
        if high <= low:
            if sum(table.num_rows for table in self._pending) > PENDING_ROWS_MAX:
                self._append_pending()
            return
        state = self._parts.engine.state
        state.register(DELTA, delta)
        before = self._log.touched(low, high) if self._emission.retract else None
        self._append_pending()
        state.register(DELTA, delta)
        after = self._log.touched(low, high)
        state.unregister(DELTA)
        if self._emission.retract:
            self._emit(differences(self._parts.engine.work, before, after, self._emission.keys), outcome)
        else:
            self._emit(after, outcome)

    def _append_pending(self) -> None:
        if not self._pending:
            return
        state = self._parts.engine.state
        rows = pa.concat_tables(self._pending)
        state.register(DELTA, rows)
        self._log.append(rows, sorted(self._pending_slices), self._epoch)
        state.unregister(DELTA)
        self._pending.clear()
        self._pending_slices.clear()

    def _changing(self) -> tuple[int, int]:
        """The ends of windows whose results have been emitted and can still change: `(low, high]`."""
        if self._emission.emit is Emit.CHANGES:
            return (self._closed_us, FOREVER_US) if self._emission.windowed else (NEVER_US, FOREVER_US)
        return (self._closed_us, self._emitted_us) if self._emission.update else (0, 0)

    def _emit_inserts(self, table: pa.Table | None, outcome: Outcome) -> None:
        if table is not None:
            self._emit(as_inserts(table) if self._emission.retract else table, outcome)

    def _emit_lone_row(self, outcome: Outcome) -> None:
        """An aggregate without keys has a result over no rows too."""
        if self._emission.single and not self._any_output:
            self._emit_inserts(self._parts.empty(), outcome)

    def _emit(self, table: pa.Table | None, outcome: Outcome) -> None:
        if table is None:
            return
        self._any_output = True
        work = self._parts.engine.work
        for chunk in chunks(table):
            work.register(MERGED, chunk)
            rows = MergedRows(work, self._parts.final, self._parts.final_names)
            made = Outcome()
            failed = self._parts.output.run(rows, {}, made).rejected
            outcome.payloads += made.payloads
            outcome.output_rejected += [*failed, *made.output_rejected]
            outcome.produced += made.produced + len(failed)
            work.unregister(MERGED)
