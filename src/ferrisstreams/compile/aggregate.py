"""The stage of an aggregate: group the batch into the delta, and emit what closes or changes.

A batch is one statement that adds its partial results to the delta of the open epoch. An emission is one that merges
panes and delta, and one, for each piece of bounded size, that makes and encodes the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.batch import Fetch, JsonValue, integer
from ferrisstreams.compile.grouping import Grouping
from ferrisstreams.compile.payload import Parameters
from ferrisstreams.compile.pipeline import BatchContext, Input, OutputStage
from ferrisstreams.compile.results import Jump, Outcome
from ferrisstreams.compile.sizes import Sizes
from ferrisstreams.compile.sources import MERGED, Chunk, FetchRows, MergedRows, ResultColumns
from ferrisstreams.compile.stage import Failure
from ferrisstreams.duck.engine import Connection, DataError, column
from ferrisstreams.duck.state_log import StateLog
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.changes import OP, REPLACED, as_inserts, differences
from ferrisstreams.operators.log import (
    BATCH_NUMBER,
    GroupLog,
    LogShape,
)
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.plan.nodes import Emit

#: Of the windows that were closed: the last end, and how many there are, also where each key has windows of its own.
_CLOSED = f"SELECT max(_stop), count(DISTINCT (_start, _stop)), count(*) FROM {MERGED}"

#: Behind any event time.
FOREVER_US = 2**61


#: What is asked of the state, by either way of merging it.
Question: TypeAlias = Callable[[GroupLog], exp.Select]


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


@dataclass(frozen=True, slots=True)
class AggregateParts:
    """What the compiler has put together. `columns` makes the aggregate's own columns of the merged results, `empty` is
    the merged result over no rows.

    `exact_group` asks the same of the log as `group` by merges that never raise, and cost more.
    """

    work: Connection
    source: Input
    grouping: Grouping
    shape: LogShape
    group: GroupLog
    exact_group: GroupLog
    log: StateLog
    output: OutputStage
    columns: ResultColumns
    empty: exp.Select
    sizes: Sizes


class AggregatePipeline:
    """One aggregate over a source."""

    def __init__(self, parts: AggregateParts, emission: Emission) -> None:
        self._parts = parts
        self._emission = emission
        self._emitted_us = NEVER_US
        self._closed_us = NEVER_US
        self._any_output = False
        self._grown = False
        self.windows_closed_by_end = 0

    def process(self, fetch: Fetch, context: BatchContext) -> Outcome:
        outcome = Outcome()
        rows = self._parts.source.rows(fetch, context)
        parameters = self._parts.source.parameters(fetch, context, self._closed_us)
        ran, slices = self._parts.grouping.run(rows, parameters, outcome.tally)
        outcome.rejected += ran.rejected
        if self._emission.windowed and self._parts.source.jumps(outcome.tally.seen_us, context):
            outcome.jump = self._jump(rows, self._parts.grouping.newest(ran, parameters), context)
        if outcome.tally.late and self._emission.late_letters:
            outcome.late_letters += rows.letters(self._parts.grouping.late(ran, parameters), "E2301", "late")
        if slices:
            self._grown = True
            for made in self._emit_changes(parameters):
                outcome.payloads += made.payloads
                outcome.output_rejected += made.output_rejected
                outcome.produced += made.produced
        return outcome

    def prepare(self, epoch: int) -> None:
        # What was emitted and closed in this very epoch needs no room on the disk.
        self._parts.log.prepare(epoch, self._parts.group.open_from(self._closed_us))

    def confirm(self) -> None:
        self._parts.log.confirm()

    @property
    def full(self) -> bool:
        return self._parts.log.delta_rows >= self._parts.sizes.delta_rows

    def advance(self, watermark_us: int) -> Iterator[Outcome]:
        if not self._emission.windowed:
            return
        closed = max(self._closed_us, watermark_us - self._emission.allowed_us)
        bound = max(self._emitted_us, watermark_us if self._emission.update else closed)
        if self._emission.emit is Emit.FINAL and bound > self._emitted_us:
            yield from self._emit(self._closing(bound), {})
        self._emitted_us, self._closed_us = bound, closed

    def finish(self) -> Iterator[Outcome]:
        # A finished job that is run again and finds nothing new says nothing new.
        if self._emission.emit is Emit.FINAL and self._grown:
            yield from self._emit(self._closing(FOREVER_US), {})
            if self._emission.windowed:
                last, windows, sessions = self._parts.work.rows(_CLOSED)[0]
                self.windows_closed_by_end = integer(sessions if self._parts.group.keyed_windows else windows)
                self._closed_through(last)
        self._grown = False
        if self._emission.single and not self._any_output:
            yield from self._emit(lambda _: self._inserts(self._parts.empty.copy()), {})

    def reclaim(self) -> None:
        self._parts.group.reclaim(self._parts.log, self._closed_us)

    def snapshot(self) -> dict[str, JsonValue]:
        return {
            "emitted_us": self._emitted_us,
            "closed_us": self._closed_us,
            "any_output": self._any_output,
            "grown": self._grown,
        }

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        self._parts.log.load()
        self._emitted_us = integer(snapshot.get("emitted_us", NEVER_US))
        self._closed_us = integer(snapshot.get("closed_us", NEVER_US))
        if self._emission.emit is Emit.FINAL and not self._emission.update:
            # What was shown can change no more, also where the strategy let it before.
            self._closed_us = max(self._closed_us, self._emitted_us)
        self._any_output = bool(snapshot.get("any_output", False))
        self._grown = bool(snapshot.get("grown", False))

    # --- private ----------------------------------------------------------------------------------------------------

    def _jump(self, rows: FetchRows, newest: tuple[int, int], context: BatchContext) -> Jump:
        row, event_us = newest
        (letter,) = rows.letters([Failure(row, "", "")], "E2110", "evaluate")
        before_us = context.seen_us if context.seen_us > NEVER_US else None
        return Jump(letter.position, event_us, event_us - context.now_us, before_us)

    def _emit_changes(self, parameters: Parameters) -> Iterator[Outcome]:
        """The groups of the batch whose results have been emitted and can still change."""
        low, high = self._changing()
        if high <= low:
            return
        parts = self._parts

        def changed(group: GroupLog) -> exp.Select:
            after = group.touched(parts.log, low, high, before=False)
            if not self._emission.retract:
                return after
            before = group.touched(parts.log, low, high, before=True)
            return differences(before, after, parts.shape, group.identity)

        yield from self._emit(changed, {BATCH_NUMBER: parameters[BATCH_NUMBER]})

    def _changing(self) -> tuple[int, int]:
        """The ends of windows whose results have been emitted and can still change: `(low, high]`."""
        if self._emission.emit is Emit.CHANGES:
            return (self._closed_us, FOREVER_US) if self._emission.windowed else (NEVER_US, FOREVER_US)
        return (self._closed_us, self._emitted_us) if self._emission.update else (0, 0)

    def _closing(self, bound_us: int) -> Question:
        """The windows that end up to `bound_us` and have not been emitted."""
        return lambda group: self._inserts(group.closing(self._parts.log, self._emitted_us, bound_us))

    def _closed_through(self, stop: object) -> None:
        """The greatest end among the windows that were emitted; None: there were none."""
        if stop is not None:
            self._emitted_us = self._closed_us = max(self._emitted_us, self._closed_us, integer(stop))

    def _inserts(self, query: exp.Select) -> exp.Select:
        return as_inserts(query) if self._emission.retract else query

    def _emit(self, question: Question, parameters: Parameters) -> Iterator[Outcome]:
        """Merge, make and encode; some rows at a time, because as Python objects all of a large window are many times
        larger than in the engine."""
        count = self._merge(question, parameters)
        start = 0
        while start < count:
            self._any_output = True
            stop = self._chunk_end(start, count)
            chunk = Chunk(start, stop)
            start = stop
            rows = MergedRows(self._parts.work, self._parts.columns, chunk)
            made = Outcome()
            failed = self._parts.output.run(rows, chunk.parameters, made).rejected
            made.output_rejected[:0] = failed
            made.produced += len(failed)
            yield made

    def _chunk_end(self, start: int, count: int) -> int:
        """Where the chunk from `start` ends: never between an old value and its new one."""
        stop = min(start + self._parts.sizes.output_rows, count)
        if stop == count or not self._emission.retract:
            return stop
        last = exp.select(column(OP)).from_(MERGED).where(column(ROW).eq(stop - 1))
        return stop + 1 if self._parts.work.rows(last)[0][0] == REPLACED else stop

    def _merge(self, question: Question, parameters: Parameters) -> int:
        work = self._parts.work
        try:
            return work.materialize(MERGED, _numbered(question(self._parts.group)), parameters)
        except DataError:
            return work.materialize(MERGED, _numbered(question(self._parts.exact_group)), parameters)


def _numbered(query: exp.Select) -> exp.Select:
    ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=exp.Literal.number(1))
    return exp.select(exp.alias_(ordinal, ROW), "*").from_(query.subquery("results", copy=False))
