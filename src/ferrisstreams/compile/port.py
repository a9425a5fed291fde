"""Where an operator takes rows: those of a fetch, and the results of an operator below."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ferrisstreams.batch import Fetch, Rejected
from ferrisstreams.compile.grouping import Grouping
from ferrisstreams.compile.payload import Parameters
from ferrisstreams.compile.pipeline import BatchContext, Input
from ferrisstreams.compile.results import Jump, Outcome, Tally
from ferrisstreams.compile.rows import AHEAD, SEEN
from ferrisstreams.compile.sources import FetchRows, MergedRows
from ferrisstreams.compile.stage import Failure
from ferrisstreams.errors import InternalError
from ferrisstreams.operators.base import CLOSED_THROUGH, TICK_NUMBER
from ferrisstreams.operators.log import PARTITION, ROW_BASE
from ferrisstreams.operators.windows import NEVER_US, TIME_MAX_US


@dataclass(frozen=True, slots=True)
class RunnerPort:
    """`source` is None for the results of another operator. `waits`: the operator waits for the watermark, so that rows
    can be late; `late_letters`: these are kept as dead letters."""

    source: Input | None
    grouping: Grouping
    waits: bool
    late_letters: bool

    def read(self, fetch: Fetch, context: BatchContext, closed_us: int, tick: int) -> tuple[Outcome, list[int]]:
        """Append the records of a fetch; also gives the slices of the rows that are kept."""
        source = self.source
        assert source is not None
        outcome = Outcome()
        rows = source.rows(fetch, context)
        parameters = source.parameters(fetch, context, closed_us, tick)
        ran, slices = self.grouping.run(rows, parameters, outcome.tally)
        outcome.rejected += ran.rejected
        if self.waits and source.jumps(outcome.tally.seen_us, context):
            outcome.jump = _jump(rows, self.grouping.newest(ran, parameters), context)
        if outcome.tally.late and self.late_letters:
            outcome.late_letters += rows.letters(self.grouping.late(ran, parameters), "E2301", "late")
        return outcome, slices

    def take(self, results: MergedRows, closed_us: int, tick: int) -> tuple[list[Rejected], list[int]]:
        """Append results of the operator below; gives those that cannot be taken, and the slices of the others. Their
        place in the stream is the order in which that operator gives them."""
        parameters: Parameters = {
            **results.parameters,
            SEEN: NEVER_US,
            CLOSED_THROUGH: closed_us,
            PARTITION: "",
            ROW_BASE: results.rows_before,
            TICK_NUMBER: tick,
            AHEAD: TIME_MAX_US,
        }
        tally = Tally()
        ran, slices = self.grouping.run(results, parameters, tally)
        if tally.late:
            raise InternalError(f"{tally.late} results of an operator came after the window above them had closed")
        return [replace(row, stage="derive", position="result of the operator below") for row in ran.rejected], slices


def _jump(rows: FetchRows, newest: tuple[int, int], context: BatchContext) -> Jump:
    row, event_us = newest
    (letter,) = rows.letters([Failure(row, "", "")], "E2110", "evaluate")
    before_us = context.seen_us if context.seen_us > NEVER_US else None
    return Jump(letter.position, event_us, event_us - context.now_us, before_us)
