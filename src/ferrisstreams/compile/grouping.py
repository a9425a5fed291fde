"""A batch grouped into the delta: in one pass that takes no row to be late, or row by row where one may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.compile.payload import Parameters
from ferrisstreams.compile.pipeline import late_failures
from ferrisstreams.compile.results import Tally
from ferrisstreams.compile.rows import FILTERED, LATE, SEEN
from ferrisstreams.compile.stage import Failure, Ran, Rows, RowStage
from ferrisstreams.duck.engine import Connection, Rendered, column, render
from ferrisstreams.duck.state_log import SLICE, TICK, StateLog
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.base import CLOSED_THROUGH, TICK_NUMBER, parameter
from ferrisstreams.operators.log import (
    FIRST_ROW,
    LAST_ROW,
    LATE_WINDOWS,
    OUTCOME,
    ROWS,
    TIME,
)
from ferrisstreams.operators.log import SEEN as SEEN_COLUMN
from ferrisstreams.operators.windows import Span, none_is_late

#: Batches that are judged row by row after one in which a row may have been late: such input seldom comes alone.
EXACT_BATCHES = 32

#: What comes back of each group, in the order of `_Count`.
RETURNED = (OUTCOME, SLICE, ROWS, LATE_WINDOWS, SEEN_COLUMN, FIRST_ROW, LAST_ROW)

#: The result of a grouping statement: the columns `RETURNED` of each group, or one row with their number.
Groups: TypeAlias = list[tuple[object, ...]]
GroupingStage: TypeAlias = RowStage[Groups]


def _counts(delta: str) -> Rendered:
    """The statement that sums up what a tick has brought to the delta."""
    return render(
        exp.select(
            column(OUTCOME),
            column(SLICE),
            exp.cast(exp.Sum(this=column(ROWS)), "BIGINT"),
            exp.cast(exp.Sum(this=column(LATE_WINDOWS)), "BIGINT"),
            exp.Max(this=column(SEEN_COLUMN)),
            exp.Min(this=column(FIRST_ROW)),
            exp.Max(this=column(LAST_ROW)),
        )
        .from_(delta)
        .where(column(TICK).eq(parameter(TICK_NUMBER)))
        .group_by(exp.Literal.number(1), exp.Literal.number(2))
    )


@dataclass(frozen=True, slots=True)
class _Count:
    """What a batch brought of one outcome and slice."""

    outcome: int
    slice: int | None
    rows: int
    late_windows: int
    seen: int | None
    first_row: int | None
    last_row: int | None


@dataclass(frozen=True, slots=True)
class Way:
    """How a batch is grouped: `in_order` takes no row to be late, `returning` gives each group's counts at once."""

    in_order: bool
    returning: bool


@dataclass(frozen=True, slots=True)
class InOrder:
    """When rows of tumbling windows can be taken to be in order; the slack is delay and allowed lateness."""

    size_us: int
    slack_us: int

    def holds(self, counts: Sequence[_Count], parameters: Parameters) -> bool:
        """Whether no row was late, filtered and failing rows included: they move the watermark too."""
        closed_us = max(int(parameters[SEEN]) - self.slack_us, int(parameters[CLOSED_THROUGH]))
        spans = [
            Span(count.slice, count.first_row, count.last_row)
            for count in counts
            if count.slice is not None and count.first_row is not None and count.last_row is not None
        ]
        return none_is_late(spans, self.size_us, self.slack_us, closed_us)


class Grouping:
    """Runs the row statement of an aggregate and counts what it added to the delta."""

    def __init__(
        self,
        work: Connection,
        log: StateLog,
        make: Callable[[Way], GroupingStage],
        in_order: InOrder | None,
        returned_groups: int,
    ) -> None:
        self._work = work
        self._log = log
        self._sums = _counts(log.delta)
        self._make = make
        self._in_order = in_order
        self._returned_groups = returned_groups
        self._stages: dict[Way, GroupingStage] = {}
        self._exact_left = 0
        self._returning = returned_groups > 0

    def run(self, rows: Rows, parameters: Parameters, tally: Tally) -> tuple[Ran[Groups], list[int]]:
        """Add the batch to the delta and fill in the tally; also gives the slices of its kept rows."""
        if self._in_order is not None and not self._exact_left:
            ran, counts = self._group(rows, parameters, in_order=True)
            if self._in_order.holds(counts, parameters):
                return ran, self._tell(counts, tally)
            self._log.forget_tick(int(parameters[TICK_NUMBER]))
            self._exact_left = EXACT_BATCHES
        self._exact_left = max(0, self._exact_left - 1)
        ran, counts = self._group(rows, parameters, in_order=False)
        return ran, self._tell(counts, tally)

    def late(self, ran: Ran[Groups], parameters: Parameters) -> list[Failure]:
        """The late rows of a batch that had some."""
        return late_failures(self._stage(Way(False, False)), ran, parameters)

    def newest(self, ran: Ran[Groups], parameters: Parameters) -> tuple[int, int]:
        """The first row with the greatest event time of a batch, and that time."""

        def question(rows: exp.Select) -> exp.Select:
            latest = exp.Ordered(this=column(TIME), desc=True)
            return exp.select(column(ROW), column(TIME)).from_(rows.subquery("rows")).order_by(latest, ROW).limit(1)

        ((row, time),) = self._stage(Way(False, False)).ask(ran, question, parameters)
        return integer(row), integer(time)

    def _group(self, rows: Rows, parameters: Parameters, in_order: bool) -> tuple[Ran[Groups], list[_Count]]:
        returning = self._returning
        ran = self._stage(Way(in_order, returning)).run(rows, parameters)
        groups = len(ran.result) if returning else integer(ran.result[0][0])
        self._returning = 0 < self._returned_groups >= groups
        return ran, [_count(row) for row in (ran.result if returning else self._work.rows(self._sums, parameters))]

    def _stage(self, way: Way) -> GroupingStage:
        if way not in self._stages:
            self._stages[way] = self._make(way)
        return self._stages[way]

    def _tell(self, counts: Sequence[_Count], tally: Tally) -> list[int]:
        slices: list[int] = []
        for count in counts:
            match count.outcome:
                case 0 if count.slice is not None:
                    tally.kept += count.rows
                    tally.late_windows += count.late_windows
                    slices.append(count.slice)
                case _ if count.outcome == LATE:
                    tally.late += count.rows
                case _ if count.outcome == FILTERED:
                    tally.filtered += count.rows
            if count.seen is not None:
                tally.seen_us = count.seen if tally.seen_us is None else max(count.seen, tally.seen_us)
        self._log.added(slices, tally.kept)
        return slices


def _count(row: tuple[object, ...]) -> _Count:
    outcome, place, rows, late, seen, first, last = (None if value is None else integer(value) for value in row)
    return _Count(outcome or 0, place, rows or 0, late or 0, seen, first, last)
