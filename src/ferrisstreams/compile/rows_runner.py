"""Runs an operator that keeps rows as they come, with a log for each side: appends a tick's rows, gives what they
change and what the watermark lets go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Fetch, JsonValue, Rejected, integer
from ferrisstreams.compile.frame import Frame, changes_on, same_columns
from ferrisstreams.compile.grouping import Grouping, GroupingStage, Way
from ferrisstreams.compile.pipeline import BatchContext
from ferrisstreams.compile.port import RunnerPort
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.runner import FOREVER_US
from ferrisstreams.compile.sizes import Sizes
from ferrisstreams.compile.sources import Chunk, MergedRows, ResultColumns, chunk_rows, merged_table
from ferrisstreams.compile.stage import Reduce, RowStage
from ferrisstreams.duck.engine import Connection, DataError, Rendered, column, creation, first_line, render
from ferrisstreams.duck.state_log import SliceGrid, StateLog
from ferrisstreams.errors import RowError
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.base import (
    HIGH,
    LOG,
    LOW,
    ROWS_IN,
    TICK_NUMBER,
    TICK_ROWS,
    Port,
    RowsOperator,
    bind,
    parameter,
)
from ferrisstreams.operators.changes import DISAPPEARED, OP, REPLACED
from ferrisstreams.operators.join import DUE
from ferrisstreams.operators.weights import Result, weight_of
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.plan.nodes import Scan
from ferrisstreams.plan.stages import Stage


@dataclass(frozen=True, slots=True)
class RowsRunnerParts:
    """What the compiler has put together. `ports` are those of all edges, each with the side that it belongs to.

    `names` are the columns of the results. `exact` is the same operator by statements that never raise, if there is
    one. `changing`: results can be taken back.
    """

    work: Connection
    ports: tuple[tuple[RunnerPort, int], ...]
    operator: RowsOperator
    exact: RowsOperator | None
    logs: tuple[StateLog, ...]
    merged: str
    names: tuple[str, ...]
    sizes: Sizes
    allowed_us: int
    changing: bool


class RowsRunner:
    """One join or table. `closed_us`: rows before it are late, and what waits for it has been given."""

    def __init__(self, parts: RowsRunnerParts) -> None:
        self._parts = parts
        self.closed_us = NEVER_US
        self._given = 0
        self._touched: int | None = None
        self._grown = False
        self._statements: dict[str, tuple[list[list[str]], Rendered]] = {}
        rows = exp.select("*").from_(chunk_rows(parts.merged).subquery("chunk"))
        self._columns = ResultColumns(rows, parts.names, rows, parts.names, rows)

    @property
    def emitted_us(self) -> int:
        return self.closed_us

    @property
    def windows_closed_by_end(self) -> int:
        return 0

    # --- rows in ----------------------------------------------------------------------------------------------------

    def read(self, fetch: Fetch, context: BatchContext, tick: int, port: int) -> Outcome:
        """Take the records of a fetch, by one of its ports."""
        taken, side = self._parts.ports[port]
        outcome, slices = taken.read(fetch, context, self.closed_us, tick)
        self._take(slices, side)
        return outcome

    def take(self, results: MergedRows, tick: int, port: int) -> Sequence[Rejected]:
        """Take results of the operator below, by one of its ports; gives those that cannot be taken."""
        taken, side = self._parts.ports[port]
        rejected, slices = taken.take(results, self.closed_us, tick)
        self._take(slices, side)
        return rejected

    def _take(self, slices: list[int], side: int) -> None:
        if slices:
            self._touched, self._grown = side, True

    # --- results out ------------------------------------------------------------------------------------------------

    def changes(self, tick: int) -> Iterator[MergedRows]:
        """What the rows of the tick change."""
        side, self._touched = self._touched, None
        operator = self._parts.operator
        if side is not None and operator.at_end is None and operator.changes[side] is not None:
            yield from self._results(f"changes{side}", {TICK_NUMBER: tick})

    def due(self, watermark_us: int) -> Iterator[MergedRows]:
        """What leaves because the watermark has come to `watermark_us`."""
        closed = max(self.closed_us, watermark_us - self._parts.allowed_us)
        if self._parts.operator.due is not None and closed > self.closed_us:
            yield from self._results("due", {LOW: self.closed_us, HIGH: closed})
        self.closed_us = closed

    def finish(self) -> Iterator[MergedRows]:
        """What leaves because the input has ended."""
        if self._parts.operator.at_end is not None and self._grown:
            yield from self._results("at_end", {})
        if self._parts.operator.due is not None and self._grown:
            yield from self._results("due", {LOW: self.closed_us, HIGH: FOREVER_US})
            last = self._parts.work.rows(exp.select(exp.Max(this=column(DUE))).from_(self._parts.merged))[0][0]
            if last is not None:
                self.closed_us = max(self.closed_us, integer(last) + 1)
        self._grown = False

    def close(self, bound_us: int) -> None:
        """Nothing above takes what is before the bound any more."""
        self.closed_us = max(self.closed_us, bound_us)

    # --- epochs -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Append what the epoch brought to the logs' tables, in the epoch's transaction."""
        for log, bound_us in zip(self._parts.logs, self._open_from(), strict=True):
            log.prepare(bound_us)

    def confirm(self) -> None:
        """The epoch is durable."""
        for log in self._parts.logs:
            log.confirm()

    @property
    def full(self) -> bool:
        """Whether the deltas are so large that the epoch should end."""
        return sum(log.delta_rows for log in self._parts.logs) >= self._parts.sizes.delta_rows

    def reclaim(self) -> None:
        """Give back what matters no more, in a transaction after the epoch's."""
        for log, port, bound_us in zip(self._parts.logs, self._parts.operator.ports, self._open_from(), strict=True):
            if bound_us is not None:
                log.drop_before(bound_us)
            if port.merges:
                log.compact(port.keep, bound_us)

    def snapshot(self) -> dict[str, JsonValue]:
        """The values that the epoch row keeps."""
        return {"closed_us": self.closed_us, "given": self._given, "grown": self._grown}

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        """Go on from a snapshot, and from the tables that there are."""
        for log in self._parts.logs:
            log.load()
        self.closed_us = integer(snapshot.get("closed_us", NEVER_US))
        self._given = integer(snapshot.get("given", 0))
        self._grown = bool(snapshot.get("grown", False))
        self._touched = None

    # --- private ----------------------------------------------------------------------------------------------------

    def _open_from(self) -> list[int | None]:
        ports = self._parts.operator.ports
        return [None if port.open_from is None else port.open_from(self.closed_us) for port in ports]

    def _results(self, question: str, parameters: Mapping[str, int]) -> Iterator[MergedRows]:
        """Keep the answer as a table, and give it some rows at a time."""
        count = self._merge(question, parameters)
        start = 0
        while start < count:
            stop = self._chunk_end(start, count)
            yield MergedRows(self._parts.work, self._columns, Chunk(start, stop), self._given)
            start = stop
        self._given += count

    def _chunk_end(self, start: int, count: int) -> int:
        """Where the chunk from `start` ends: never between an old value and its new one."""
        stop = min(start + self._parts.sizes.output_rows, count)
        if stop == count or not self._parts.changing:
            return stop
        new = exp.not_(column(OP).isin(REPLACED, DISAPPEARED))
        first = exp.select(exp.Min(this=column(ROW))).from_(self._parts.merged).where(column(ROW) >= stop - 1, new)
        found = self._parts.work.rows(first)[0][0]
        return count if found is None else integer(found) + 1

    def _merge(self, question: str, parameters: Mapping[str, int]) -> int:
        work, parts = self._parts.work, self._parts
        for log in parts.logs:
            log.settle()
        try:
            return integer(work.rows(self._statement(question), parameters)[0][0])
        except DataError as error:
            if parts.exact is None:
                raise RowError(
                    f"an aggregate of a group cannot be computed: {first_line(error).split(': ', 1)[-1]}",
                    "E2402",
                    "cast what it adds up to DOUBLE, or leave out the rows that are too large: over rows that can be"
                    " taken back a group that fails stops the job",
                ) from error
            return work.materialize(parts.merged, self._query(question, parts.exact), parameters)

    def _statement(self, question: str) -> Rendered:
        """Built once for the tables that there are: as long as these stay, only parameters change."""
        tables = [log.overlapping(None, None) for log in self._parts.logs]
        known = self._statements.get(question)
        if known is None or known[0] != tables:
            query = self._query(question, self._parts.operator)
            known = tables, render(creation(self._parts.merged, query), copy=False)
            self._statements[question] = known
        return known[1]

    def _query(self, question: str, operator: RowsOperator) -> exp.Select:
        relations: dict[str, exp.Query] = {}
        for side, log in enumerate(self._parts.logs):
            number = str(side) if side else ""
            relations[f"{LOG}{number}"] = log.select()
            relations[f"{TICK_ROWS}{number}"] = log.tick_rows(parameter(TICK_NUMBER))
        waiting = {"due": operator.due, "at_end": operator.at_end}.get(question)
        if waiting is not None:
            return bind(waiting, **relations)
        changes = operator.changes[int(question.removeprefix("changes"))]
        assert changes is not None
        return bind(changes, **relations)


def rows_port(frame: Frame, edge: Stage, rows: RowShape, port: Port, log: StateLog, waits: bool = False) -> RunnerPort:
    """Where an operator takes the rows of an edge, each of which it keeps."""
    work = frame.engine.work

    def insert(projected_rows: exp.Select) -> exp.Expression:
        return log.insert(parameter(TICK_NUMBER), bind(port.append, **{ROWS_IN: projected_rows}))

    def stage(_: Way) -> GroupingStage:
        reduce: Reduce = insert
        return RowStage(work, rows, reduce, work.rows, frame.retries(edge))

    source = frame.reads(edge.source) if isinstance(edge.source, Scan) else None
    grouping = Grouping(work, log, stage, None, returned_groups=0)
    return RunnerPort(source, grouping, waits, frame.settings.late_strategy == "dead_letter")


def one_sided(
    frame: Frame, place: int, operator: RowsOperator, result: Result, row_shape: Callable[[Stage], RowShape]
) -> RowsRunnerParts:
    """The parts of the operator at a place that has one side, and waits for nothing. `row_shape` is what it keeps of
    the rows of an edge."""
    edges, (port,) = frame.graph.operators[place].ports, operator.ports
    shapes = [(edge, row_shape(edge)) for edge in edges]
    columns = same_columns([frame.columns(edge, shape, port) for edge, shape in shapes])
    log = StateLog(frame.engine, frame.log_number(place), columns, SliceGrid(1), frame.settings.sizes.read_often)
    return RowsRunnerParts(
        work=frame.engine.work,
        ports=tuple((rows_port(frame, edge, shape, port, log), 0) for edge, shape in shapes),
        operator=operator,
        exact=None,
        logs=(log,),
        merged=merged_table(place),
        names=result.names,
        sizes=frame.settings.sizes,
        allowed_us=0,
        changing=result.changing,
    )


def weight(edge: Stage) -> exp.Expression:
    """That of the rows of an edge."""
    if changes_on(edge):
        return weight_of(column(OP))
    return exp.cast(exp.Literal.number(1), "INTEGER")
