"""A job's stages: what a batch goes through between source and sink.

A stateless plan is one fused statement. An aggregate is one that groups the batch into partial results, one that
appends them to the state log, and, when something is to be emitted, one that merges and one that encodes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from ferrisstreams.batch import Fetch, JsonValue, Payload, integer
from ferrisstreams.compile.message_rows import with_keys, with_traces
from ferrisstreams.compile.payload import Parameters, Reduction, Written
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.rows import AHEAD, LATE, SEEN
from ferrisstreams.compile.sources import Ahead, FetchRows, output_letter
from ferrisstreams.compile.stage import Failure, Ran, Result, Retries, Rows, RowStage, Tried
from ferrisstreams.compile.system_join import SystemJoin
from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.formats.base import ROW, Decoder
from ferrisstreams.operators.base import CLOSED_THROUGH, TICK_NUMBER
from ferrisstreams.operators.log import OUTCOME, PARTITION, ROW_BASE
from ferrisstreams.operators.windows import NEVER_US, TIME_MAX_US


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What is known before a batch: the greatest event time and the rows of its partition, and the wall time."""

    seen_us: int = NEVER_US
    row_base: int = 0
    now_us: int = 0


#: How far an event time is ahead of the clock and of all before it when the watermark is said to jump. Clocks and time
#: zones that are a little wrong are no news.
JUMP_US = 24 * 3600 * 1_000_000


class Pipeline(Protocol):
    """What a job's query does with its batches: the operator with its state, and the stages around it.

                  process(fetch)                          advance(watermark), finish()
        fetch ──▶ stage ──▶ partial results ──▶ log ──▶ merged groups ──▶ stage ──▶ Outcome: payloads, rejected rows
                                                │
                 prepare(epoch): delta to panes │ confirm(): the delta is emptied │ reclaim(): closed panes are dropped

    Without an operator `process` is all, and its outcome has the output. Every call belongs to the open epoch of the
    task, which commits it in five steps (`runtime/commit.py`) or takes it back: then `restore` goes on from what the
    last epoch kept. A pipeline opens nothing outside and reads no clock. What its outcomes add up to does not depend
    on how the rows were cut into batches. A row that fails is a value in the outcome; an error that is raised fails
    the epoch.
    """

    def process(self, fetch: Fetch, context: BatchContext, scan: int = 0) -> Outcome:
        """Everything that comes of a fetch by itself. `scan` says by which of the plan's scans it is read."""

    def prepare(self, epoch: int) -> None:
        """Append what the epoch brought to the state, in the epoch's transaction."""

    def confirm(self) -> None:
        """The epoch is durable."""

    @property
    def full(self) -> bool:
        """Whether the epoch holds so much in memory that it should end."""

    def advance(self, watermark_us: int) -> Iterable[Outcome]:
        """What closes because the watermark has come to `watermark_us`, piece by piece: to be taken to the end."""

    def finish(self) -> Iterable[Outcome]:
        """What closes because a bounded source has ended, likewise."""

    @property
    def windows_closed_by_end(self) -> int:
        """How many windows `finish` has closed, once it was taken to the end."""

    def reclaim(self) -> None:
        """After an epoch is final, in a transaction of its own: give back what is closed."""

    def snapshot(self) -> dict[str, JsonValue]:
        """What the epoch row keeps of the pipeline."""

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        """Go on from a snapshot; also reads again which panes there are."""


@dataclass(frozen=True, slots=True)
class Input:
    """Where a pipeline's rows come from: the decoder, the bound on event times ahead of the clock, system columns.

    `keyed`: the decoder reads message keys beside the records.
    """

    work: Connection
    decoder: Decoder
    time: str | None = None
    max_ahead_us: int | None = None
    system: SystemJoin | None = None
    keyed: bool = False

    def rows(self, fetch: Fetch, context: BatchContext) -> FetchRows:
        return FetchRows(self.work, self.decoder, fetch, self._ahead(context), self.system, self.keyed)

    def parameters(self, fetch: Fetch, context: BatchContext, closed_us: int, tick: int) -> Parameters:
        """All parameters that a statement over the fetch may use."""
        ahead = self._ahead(context)
        return {
            SEEN: context.seen_us,
            CLOSED_THROUGH: closed_us,
            PARTITION: fetch.key,
            ROW_BASE: context.row_base,
            TICK_NUMBER: tick,
            AHEAD: ahead.bound_us if ahead is not None else TIME_MAX_US,
        }

    def jumps(self, seen_us: int | None, context: BatchContext) -> bool:
        """Whether a batch's greatest event time makes the watermark jump ahead of the clock, where nothing forbids."""
        if seen_us is None or self.max_ahead_us is not None:
            return False
        return seen_us > max(context.now_us, context.seen_us) + JUMP_US

    def _ahead(self, context: BatchContext) -> Ahead | None:
        if self.time is None:
            return None
        if self.max_ahead_us is None:
            return Ahead(self.time, TIME_MAX_US, limited=False)
        return Ahead(self.time, min(TIME_MAX_US, context.now_us + self.max_ahead_us), limited=True)


class OutputStage:
    """Rows to payload, with what could not be made or encoded."""

    def __init__(self, stage: RowStage[Written], reduction: Reduction, retries: Retries) -> None:
        self._stage = stage
        self._reduction = reduction
        self._retries = retries

    def run(self, rows: Rows, parameters: Parameters, outcome: Outcome) -> Ran[Written]:
        """Adds payload, counts and unencodable rows to `outcome`."""
        ran = self._stage.run(rows, parameters)
        tried = Tried()
        while ran.result.unencodable and tried.again(self._retries):
            ran = self._stage.run(rows, parameters)
        written = ran.result
        outcome.tally = written.tally
        outcome.produced += written.tally.kept
        if written.payload.rows:
            outcome.payloads.append(written.payload)
        if written.unencodable:
            found = self._stage.ask(ran, self._reduction.unencodable, parameters)
            outcome.output_rejected += tried.stamp(
                [
                    output_letter(str(value), "E2401", "the row has a value that the format cannot hold")
                    for _, value in found
                ]
            )
        return ran


@dataclass(frozen=True, slots=True)
class Carrying:
    """Hands on from a record to the message that it becomes: its key with `key`, and its trace with `trace`."""

    output: OutputStage
    key: bool
    trace: bool

    def concerns(self, fetch: Fetch) -> bool:
        """Whether the fetch has anything to hand on."""
        messages = fetch.messages
        if messages is None:
            return False
        return (self.key and messages.has_keys()) or (self.trace and messages.has_headers())

    def hand_on(self, payload: Payload, fetch: Fetch, lines: Sequence[int]) -> Payload:
        """The payload with what the records of its rows hand on; `lines` are their places in the fetch."""
        assert fetch.messages is not None
        if self.key:
            payload = with_keys(payload, fetch.messages, lines)
        return with_traces(payload, fetch.messages, lines) if self.trace else payload


@dataclass(frozen=True, slots=True)
class Branch:
    """From a scan to the sink: filter and projection. `carrying` does it where something must be handed on: that costs
    more."""

    source: Input
    output: OutputStage
    carrying: Carrying | None = None

    def process(self, fetch: Fetch, context: BatchContext) -> Outcome:
        outcome = Outcome()
        parameters = self.source.parameters(fetch, context, NEVER_US, tick=0)
        rows = self.source.rows(fetch, context)
        if self.carrying is None or not self.carrying.concerns(fetch):
            outcome.rejected += self.output.run(rows, parameters, outcome).rejected
            return outcome
        ran = self.carrying.output.run(rows, parameters, outcome)
        outcome.rejected += ran.rejected
        lines = ran.result.lines
        if lines is not None:
            outcome.payloads[-1] = self.carrying.hand_on(outcome.payloads[-1], fetch, lines)
        return outcome


class StatelessPipeline:
    """A branch for each scan."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = branches

    def process(self, fetch: Fetch, context: BatchContext, scan: int = 0) -> Outcome:
        return self._branches[scan].process(fetch, context)

    def prepare(self, epoch: int) -> None:
        pass

    def confirm(self) -> None:
        pass

    @property
    def full(self) -> bool:
        return False

    def advance(self, watermark_us: int) -> Iterable[Outcome]:
        return ()

    def finish(self) -> Iterable[Outcome]:
        return ()

    @property
    def windows_closed_by_end(self) -> int:
        return 0

    def reclaim(self) -> None:
        pass

    def snapshot(self) -> dict[str, JsonValue]:
        return {}

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        pass


def late_failures(stage: RowStage[Result], ran: Ran[Result], parameters: Parameters) -> list[Failure]:
    """The late rows of a batch as failures, for dead letters."""

    def question(rows: exp.Select) -> exp.Select:
        return exp.select(column(ROW)).from_(rows.subquery("rows")).where(column(OUTCOME).eq(LATE)).order_by(ROW)

    found = stage.ask(ran, question, parameters)
    return [Failure(integer(row[0]), "", "the row is late: all its windows are closed") for row in found]
