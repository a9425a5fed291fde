"""What a stage reads: the records of a fetch, or the merged results of a state log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Fetch, Rejected, Stage, integer
from ferrisstreams.compile.payload import Parameters, json_of
from ferrisstreams.compile.stage import Failure
from ferrisstreams.compile.system_join import SystemJoin
from ferrisstreams.duck.engine import Connection, DataError, column, first_line
from ferrisstreams.formats.base import ROW, Decoder
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.windows import TIME_MAX_US, number


@dataclass(frozen=True, slots=True)
class Ahead:
    """The event-time column and the latest time in it that is believed (microseconds); `limited` by a setting."""

    column: str
    bound_us: int
    limited: bool


class FetchRows:
    """Records of a source, decoded in the same statement that processes them."""

    def __init__(
        self,
        work: Connection,
        decoder: Decoder,
        fetch: Fetch,
        ahead: Ahead | None = None,
        system: SystemJoin | None = None,
        keyed: bool = False,
    ) -> None:
        self._work = work
        self._decoder = decoder
        self._fetch = fetch
        self._ahead = ahead
        self._system = system
        self._keyed = keyed

    @property
    def steady(self) -> bool:
        beside = self._system is not None or (self._keyed and self._fetch.messages is not None)
        return isinstance(self._fetch.records, MemoryFile) and not beside

    def scan(self) -> exp.Select:
        rows = self._decoder.scan(self._fetch)
        return rows if self._system is None else self._system.joined(self._fetch, rows)

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        diagnosis = self._decoder.diagnose(self._fetch)
        rows = exp.select("*").from_(diagnosis.relation)
        if self._system is not None:
            ordinals = self._work.rows(exp.select(ROW).from_(diagnosis.relation).order_by(ROW))
            joined = self._system.joined(self._fetch, rows, [integer(row[0]) for row in ordinals])
            rows = exp.select("*").from_(joined.subquery("settled"))
        if self._ahead is None:
            return rows, diagnosis.rejected
        believed, rejected = self._unbelieved(rows, self._ahead)
        return rows.where(believed), [*diagnosis.rejected, *rejected]

    def _unbelieved(self, rows: exp.Select, ahead: Ahead) -> tuple[exp.Expression, list[Rejected]]:
        """The condition for rows whose event time is believed, and the others."""
        time = function("epoch_us", column(ahead.column))
        inside = exp.Between(this=time, low=number(-TIME_MAX_US), high=number(ahead.bound_us))
        believed = function("coalesce", inside, exp.false())
        missing = column(ahead.column).is_(exp.null())
        # On the rows as they are read: the event time may be a system column, which is put beside them.
        found = self._work.rows(rows.select(ROW, missing, append=False).where(exp.not_(believed)).order_by(ROW))
        none = [Failure(integer(row), "", f"the record has no {ahead.column}") for row, lacks in found if lacks]
        message = f"the event time {ahead.column} is outside of the 36,500 years around 1970"
        if ahead.limited:
            message = f"the event time {ahead.column} is further ahead of the clock than watermark.max_ahead"
        wrong = [Failure(integer(row), "", message) for row, lacks in found if not lacks]
        rejected = [*self.letters(none, "E2109", "decode"), *self.letters(wrong, "E2110", "decode")]
        return believed, rejected

    def reject(self, failures: Sequence[Failure]) -> list[Rejected]:
        return self.letters(failures, "E2201", "evaluate")

    def letters(self, failures: Sequence[Failure], code: str, stage: Stage) -> list[Rejected]:
        """Rejected values with the original records of these rows."""
        records = self._decoder.raw(self._fetch, [failure.row for failure in failures])
        return [
            Rejected(
                value=record.value,
                code=code,
                message=failure.message,
                stage=stage,
                partition=self._fetch.partition,
                offset=record.offset,
                position=record.position,
                row=failure.row,
                expression=failure.expression,
                key=record.key,
                headers=record.headers,
                timestamp_ms=record.timestamp_ms,
                source=self._fetch.source,
            )
            for failure, record in zip(failures, records, strict=True)
        ]


def merged_table(operator: int) -> str:
    """The table of the results that an operator is giving, with `_row`."""
    return f"_merged{operator}"


#: Those of them that could be computed, where one could not.
_OUTPUTS = "_outputs"

#: Parameters of a statement over merged results: the rows that it takes.
_CHUNK_FROM, _CHUNK_TO = "chunk_from", "chunk_to"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of merged results from `start` up to but not including `stop`."""

    start: int
    stop: int

    @property
    def parameters(self) -> Parameters:
        return {_CHUNK_FROM: self.start, _CHUNK_TO: self.stop}

    def halves(self) -> tuple[Chunk, Chunk]:
        middle = (self.start + self.stop) // 2
        return Chunk(self.start, middle), Chunk(middle, self.stop)


def chunk_rows(merged: str) -> exp.Select:
    """The merged results that are in the chunk."""
    low, high = (exp.cast(exp.Parameter(this=exp.var(name)), "BIGINT") for name in (_CHUNK_FROM, _CHUNK_TO))
    inside = exp.GTE(this=column(ROW), expression=low), exp.LT(this=column(ROW), expression=high)
    return exp.select("*").from_(merged).where(*inside)


@dataclass(frozen=True, slots=True)
class ResultColumns:
    """Statements over the rows of a chunk, with `_row`, and the names of their columns: `groups` makes those of the
    window and the keys, `all` those of the aggregates too. `exact` gives the same where sums leave their type on the
    way, and costs more."""

    groups: exp.Select
    group_names: tuple[str, ...]
    all: exp.Select
    all_names: tuple[str, ...]
    exact: exp.Select


class MergedRows:
    """A chunk of merged results, before which the operator has given `rows_before`."""

    def __init__(self, work: Connection, columns: ResultColumns, chunk: Chunk, rows_before: int) -> None:
        self._work = work
        self._columns = columns
        self._chunk = chunk
        self.rows_before = rows_before
        self._computed = columns.all

    @property
    def parameters(self) -> Parameters:
        """Those of statements over these rows."""
        return self._chunk.parameters

    @property
    def steady(self) -> bool:
        return False

    def scan(self) -> exp.Select:
        return self._columns.all

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        """The rows of the groups that can be computed: one that cannot is an output row that fails, and no other."""
        none = Chunk(self._chunk.start, self._chunk.start)
        self._work.materialize(_OUTPUTS, self._columns.all, none.parameters)
        failed = self._compute(self._chunk)
        rejected = self._letters(self._columns.groups, self._columns.group_names, failed)
        self._computed = exp.select("*").from_(_OUTPUTS)
        return self._computed.copy(), rejected

    def reject(self, failures: Sequence[Failure]) -> list[Rejected]:
        return self._letters(self._computed, self._columns.all_names, failures)

    def _compute(self, chunk: Chunk) -> list[Failure]:
        """Keep the rows of a chunk, or, where that fails, of its halves; gives those that fail alone."""
        alone = chunk.stop - chunk.start == 1
        try:
            self._work.execute(exp.insert(self._columns.all, _OUTPUTS), chunk.parameters)
            return []
        except DataError:
            return (
                self._compute_exactly(chunk) if alone else [f for half in chunk.halves() for f in self._compute(half)]
            )

    def _compute_exactly(self, chunk: Chunk) -> list[Failure]:
        """Keep a single row by sums that may leave their type on the way, or give it as one that fails."""
        try:
            self._work.execute(exp.insert(self._columns.exact, _OUTPUTS), chunk.parameters)
            return []
        except DataError as error:
            # The engine names a column of ours.
            reason = first_line(error).split(": ", 1)[-1].partition(" when casting from source column _")[0]
            return [Failure(chunk.start, "", f"an aggregate of the group cannot be computed: {reason}")]

    def _letters(self, rows: exp.Select, names: tuple[str, ...], failures: Sequence[Failure]) -> list[Rejected]:
        if not failures:
            return []
        by_row = {failure.row: failure for failure in failures}
        query = exp.select(column(ROW), json_of(names)).from_(rows.subquery("failed")).order_by(ROW)
        found = self._work.rows(query.where(column(ROW).isin(*by_row)), self._chunk.parameters)
        return [
            output_letter(str(value), "E2402", by_row[integer(row)].message, by_row[integer(row)].expression)
            for row, value in found
        ]


def output_letter(value: str, code: str, message: str, expression: str = "") -> Rejected:
    """An output row that could not be made or encoded, as JSON."""
    stage: Stage = "encode" if code == "E2401" else "evaluate"
    return Rejected(value.encode(), code, message, stage, "", -1, "output row", expression=expression)
