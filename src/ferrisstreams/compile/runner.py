"""Runs an operator, whatever it is: appends a tick's rows to its log, and gives what changes and what is due.

A tick's rows are one statement, which adds what they come to to the delta of the open epoch. What the operator gives is
one that reads panes and delta, and one, for each piece of bounded size, by whoever takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Fetch, JsonValue, Rejected, integer
from ferrisstreams.compile.current import CurrentGroups
from ferrisstreams.compile.payload import Parameters
from ferrisstreams.compile.pipeline import BatchContext
from ferrisstreams.compile.port import RunnerPort
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.sizes import Sizes
from ferrisstreams.compile.sources import Chunk, MergedRows, ResultColumns
from ferrisstreams.duck.engine import Connection, DataError, Rendered, column, creation, render
from ferrisstreams.duck.state_log import StateLog
from ferrisstreams.errors import StateError
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.base import (
    CLOSED_THROUGH,
    HIGH,
    LOG,
    LOW,
    TICK_NUMBER,
    TICK_ROWS,
    Operator,
    bind,
    parameter,
)
from ferrisstreams.operators.changes import OP, REPLACED, as_inserts, differences
from ferrisstreams.operators.log import LogShape
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.plan.nodes import Emit

#: Of the windows that were closed: the last end, and how many there are, also where each key has windows of its own.
_CLOSED = "SELECT max(_stop), count(DISTINCT (_start, _stop)), count(*) FROM "

#: Behind any event time.
FOREVER_US = 2**61

#: What is asked of the state: what a tick has changed, what the watermark lets go, the result over no rows.
_CHANGES, _DUE, _EMPTY = "changes", "due", "empty"

_NONE: Parameters = {}


@dataclass(frozen=True, slots=True)
class Emission:
    """When and how results leave: `allowed_us` and `update` from the late strategy, `retract` from the changelog.

    `single` is an aggregate with one empty key and no window.
    `once`: its results are given at the end of the input to an operator that cannot take them again.
    """

    emit: Emit
    windowed: bool
    allowed_us: int
    update: bool
    retract: bool
    single: bool
    once: bool


@dataclass(frozen=True, slots=True)
class RunnerParts:
    """What the compiler has put together. `columns` makes the operator's own columns of the results in the table
    `merged`, `empty` is the result over no rows. There are several `ports` where the rows of several scans meet.

    `exact` is the same operator over the same log by merges that never raise, and cost more. `keep_unless`: a pane
    with a row that is so is kept as it is, because merging it may raise. `current` serves small ticks of results that
    change, where values can be held so.
    """

    work: Connection
    ports: tuple[RunnerPort, ...]
    shape: LogShape
    operator: Operator
    exact: Operator
    log: StateLog
    keep_unless: exp.Condition | None
    current: CurrentGroups | None
    merged: str
    columns: ResultColumns
    empty: exp.Select
    sizes: Sizes


class Runner:
    """One operator over the rows of a source, or over the results of another operator.

    `closed_us`: windows that end up to it are closed. `emitted_us`: those that do have been given.
    """

    def __init__(self, parts: RunnerParts, emission: Emission) -> None:
        self._parts = parts
        self._emission = emission
        self.emitted_us = NEVER_US
        self.closed_us = NEVER_US
        self._given = 0
        self._any_output = False
        self._grown = False
        self._touched = False
        self.windows_closed_by_end = 0
        self._statements: dict[str, tuple[list[str], Rendered]] = {}

    # --- rows in ----------------------------------------------------------------------------------------------------

    def read(self, fetch: Fetch, context: BatchContext, tick: int, port: int) -> Outcome:
        """Take the records of a fetch, by one of its ports."""
        source, current = self._parts.ports[port].source, self._parts.current
        assert source is not None
        if current is not None and current.on:
            outcome = Outcome()
            rows = source.rows(fetch, context)
            quick, slices = current.read(
                rows, source.parameters(fetch, context, self.closed_us, tick), outcome.tally, port
            )
            outcome.rejected += quick.rejected
            self._take(slices)
            return outcome
        outcome, slices = self._parts.ports[port].read(fetch, context, self.closed_us, tick)
        self._take(slices)
        if current is not None:
            current.observe(outcome.tally.kept)
        return outcome

    def take(self, results: MergedRows, tick: int, port: int) -> Sequence[Rejected]:
        """Take results of the operator below, by one of its ports; gives those that cannot be taken."""
        rejected, slices = self._parts.ports[port].take(results, self.closed_us, tick)
        self._take(slices)
        return rejected

    def _take(self, slices: list[int]) -> None:
        if not slices:
            return
        if self._emission.once and self._any_output:
            raise StateError(
                "the input goes on after its end, at which groups without a window were given to the aggregate above",
                "E5008",
                "start over with `ferris state reset`; or give the query below a window, whose results come as it ends",
            )
        self._grown = self._touched = True

    # --- results out ------------------------------------------------------------------------------------------------

    def changes(self, tick: int) -> Iterator[MergedRows]:
        """The groups that the tick has touched, whose results have been given and can still change."""
        touched, self._touched = self._touched, False
        low, high = self._changing()
        if not touched or high <= low:
            return
        current = self._parts.current
        if current is not None and current.on:
            try:
                yield from self._counted(current.changes())
                return
            except DataError:
                current.drop()
        yield from self._results(_CHANGES, low, high, {TICK_NUMBER: tick})
        if current is not None:
            current.start_when_due()

    def due(self, watermark_us: int) -> Iterator[MergedRows]:
        """The windows that close because the watermark has come to `watermark_us`."""
        if not self._emission.windowed:
            return
        closed = max(self.closed_us, watermark_us - self._emission.allowed_us)
        bound = max(self.emitted_us, watermark_us if self._emission.update else closed)
        if self._emission.emit is Emit.FINAL and bound > self.emitted_us:
            yield from self._results(_DUE, self.emitted_us, bound)
        self.emitted_us, self.closed_us = bound, closed

    def finish(self) -> Iterator[MergedRows]:
        """What closes because the input has ended."""
        # A finished job that is run again and finds nothing new says nothing new.
        if self._emission.emit is Emit.FINAL and self._grown:
            yield from self._results(_DUE, self.emitted_us, FOREVER_US)
            if self._emission.windowed:
                last, windows, sessions = self._parts.work.rows(_CLOSED + self._parts.merged)[0]
                self.windows_closed_by_end = integer(sessions if self._parts.operator.keyed_windows else windows)
                self._closed_through(last)
        self._grown = False
        if self._emission.single and not self._any_output:
            yield from self._results(_EMPTY, 0, 0)

    def close(self, bound_us: int) -> None:
        """Windows that end up to `bound_us` are closed: nothing above takes them any more."""
        self.emitted_us, self.closed_us = max(self.emitted_us, bound_us), max(self.closed_us, bound_us)

    # --- epochs -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Append what the epoch brought to the panes, in the epoch's transaction."""
        # What was emitted and closed in this very epoch needs no room on the disk.
        self._parts.log.prepare(self._open_from())

    def confirm(self) -> None:
        """The epoch is durable."""
        self._parts.log.confirm()

    @property
    def full(self) -> bool:
        """Whether the delta is so large that the epoch should end."""
        return self._parts.log.delta_rows >= self._parts.sizes.delta_rows

    def reclaim(self) -> None:
        """Give back what is closed, in a transaction after the epoch's."""
        log, open_us = self._parts.log, self._open_from()
        if open_us is not None:
            log.drop_before(open_us)
        closed = {CLOSED_THROUGH: self.closed_us}
        log.compact(self._parts.operator.port.keep, open_us, self._parts.keep_unless, closed)

    def snapshot(self) -> dict[str, JsonValue]:
        """The values that the epoch row keeps."""
        return {
            "emitted_us": self.emitted_us,
            "closed_us": self.closed_us,
            "given": self._given,
            "any_output": self._any_output,
            "grown": self._grown,
        }

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        """Go on from a snapshot, and from the panes that there are."""
        self._parts.log.load()
        if self._parts.current is not None:
            self._parts.current.drop()
        self.emitted_us = integer(snapshot.get("emitted_us", NEVER_US))
        self.closed_us = integer(snapshot.get("closed_us", NEVER_US))
        if self._emission.emit is Emit.FINAL and not self._emission.update:
            # What was shown can change no more, also where the strategy let it before.
            self.closed_us = max(self.closed_us, self.emitted_us)
        self._given = integer(snapshot.get("given", 0))
        self._any_output = bool(snapshot.get("any_output", False))
        self._grown = bool(snapshot.get("grown", False))
        self._touched = False

    # --- private ----------------------------------------------------------------------------------------------------

    def _changing(self) -> tuple[int, int]:
        """The ends of windows whose results have been emitted and can still change: `(low, high]`."""
        if self._emission.emit is Emit.CHANGES:
            return (self.closed_us, FOREVER_US) if self._emission.windowed else (NEVER_US, FOREVER_US)
        return (self.closed_us, self.emitted_us) if self._emission.update else (0, 0)

    def _open_from(self) -> int | None:
        open_from = self._parts.operator.port.open_from
        return None if open_from is None else open_from(self.closed_us)

    def _closed_through(self, stop: object) -> None:
        """The greatest end among the windows that were emitted; None: there were none."""
        if stop is not None:
            self.emitted_us = self.closed_us = max(self.emitted_us, self.closed_us, integer(stop))

    def _results(
        self, question: str, low_us: int, high_us: int, parameters: Parameters = _NONE
    ) -> Iterator[MergedRows]:
        """Merge, and give the results some rows at a time, because as Python objects all of a large window are many
        times larger than in the engine."""
        count = self._merge(question, low_us, high_us, {**parameters, LOW: low_us, HIGH: high_us})
        start = 0
        while start < count:
            self._any_output = True
            stop = self._chunk_end(start, count)
            yield MergedRows(self._parts.work, self._parts.columns, Chunk(start, stop), self._given)
            start = stop
        self._given += count

    def _counted(self, results: Iterable[MergedRows]) -> Iterator[MergedRows]:
        for chunk in results:
            self._any_output = True
            yield chunk

    def _chunk_end(self, start: int, count: int) -> int:
        """Where the chunk from `start` ends: never between an old value and its new one."""
        stop = min(start + self._parts.sizes.output_rows, count)
        if stop == count or not self._emission.retract:
            return stop
        last = exp.select(column(OP)).from_(self._parts.merged).where(column(ROW).eq(stop - 1))
        return stop + 1 if self._parts.work.rows(last)[0][0] == REPLACED else stop

    def _merge(self, question: str, low_us: int, high_us: int, parameters: Parameters) -> int:
        """Keep the answer as a table; how many rows it has."""
        self._parts.log.settle()
        work, parts = self._parts.work, self._parts
        reach_us = parts.operator.port.reach_us
        bounds = (None, None) if reach_us is None else (low_us - reach_us, high_us)
        try:
            return integer(work.rows(self._statement(question, parts.operator, bounds), parameters)[0][0])
        except DataError:
            return work.materialize(parts.merged, self._query(question, parts.exact, bounds), parameters)

    def _statement(self, question: str, operator: Operator, bounds: tuple[int | None, int | None]) -> Rendered:
        """Built once for the panes that there are: as long as these stay, only parameters change."""
        panes = self._parts.log.overlapping(*bounds)
        known = self._statements.get(question)
        if known is None or known[0] != panes:
            statement = render(creation(self._parts.merged, self._query(question, operator, bounds)), copy=False)
            self._statements[question] = known = panes, statement
        return known[1]

    def _query(self, question: str, operator: Operator, bounds: tuple[int | None, int | None]) -> exp.Select:
        log, retract = self._parts.log, self._emission.retract
        match question:
            case "changes":
                query = self._touched_results(operator, log.select(*bounds))
                if retract:
                    before = self._touched_results(operator, log.select(*bounds, before=parameter(TICK_NUMBER)))
                    query = differences(before, query, self._parts.shape, operator.identity)
            case "due":
                query = bind(operator.due, **{LOG: log.select(*bounds)})
                query = as_inserts(query) if retract else query
            case _:
                query = as_inserts(self._parts.empty.copy()) if retract else self._parts.empty.copy()
        return _numbered(query)

    def _touched_results(self, operator: Operator, log: exp.Query) -> exp.Select:
        """The results of the log in what a tick has touched."""
        return bind(operator.changes, **{LOG: log, TICK_ROWS: self._parts.log.tick_rows(parameter(TICK_NUMBER))})


def _numbered(query: exp.Select) -> exp.Select:
    ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=exp.Literal.number(1))
    return exp.select(exp.alias_(ordinal, ROW), "*").from_(query.subquery("results", copy=False))
