"""What a stage reads: the records of a fetch, or the merged results of a state log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Fetch, Rejected, Stage
from ferrisstreams.compile.payload import Parameters, json_of
from ferrisstreams.compile.stage import Failure
from ferrisstreams.compile.system_join import SystemJoin
from ferrisstreams.duck.engine import Connection, DataError, column
from ferrisstreams.errors import RowError
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
    ) -> None:
        self._work = work
        self._decoder = decoder
        self._fetch = fetch
        self._ahead = ahead
        self._system = system

    @property
    def steady(self) -> bool:
        return isinstance(self._fetch.records, MemoryFile) and self._system is None

    def scan(self) -> exp.Select:
        rows = self._decoder.scan(self._fetch)
        return rows if self._system is None else self._system.joined(self._fetch, rows)

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        diagnosis = self._decoder.diagnose(self._fetch)
        rows = exp.select("*").from_(diagnosis.relation)
        if self._system is not None:
            ordinals = self._work.rows(exp.select(ROW).from_(diagnosis.relation).order_by(ROW))
            joined = self._system.joined(self._fetch, rows, [int(str(row[0])) for row in ordinals])
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
        none = [Failure(int(str(row)), "", f"the record has no {ahead.column}") for row, lacks in found if lacks]
        message = f"the event time {ahead.column} is outside of the 36,500 years around 1970"
        if ahead.limited:
            message = f"the event time {ahead.column} is further ahead of the clock than watermark.max_ahead"
        wrong = [Failure(int(str(row)), "", message) for row, lacks in found if not lacks]
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
            )
            for failure, record in zip(failures, records, strict=True)
        ]


class MergedRows:
    """A chunk of merged results; `final` makes the aggregate's own columns of them."""

    def __init__(self, work: Connection, final: exp.Select, names: tuple[str, ...], chunk: Parameters) -> None:
        self._work = work
        self._chunk = chunk
        self._final = final
        self._names = names

    @property
    def steady(self) -> bool:
        return False

    def scan(self) -> exp.Select:
        return self._final

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        try:
            self._work.materialize("_outputs", self._final, self._chunk)
        except DataError as error:
            raise aggregate_error(error) from error
        return exp.select("*").from_("_outputs"), []

    def reject(self, failures: Sequence[Failure]) -> list[Rejected]:
        rows = {failure.row: failure for failure in failures}
        query = exp.select(column(ROW), json_of(self._names)).from_("_outputs").order_by(ROW)
        found = self._work.rows(query.where(column(ROW).isin(*rows))) if rows else []
        return [
            output_letter(str(value), "E2402", rows[int(str(row))].message, rows[int(str(row))].expression)
            for row, value in found
        ]


def aggregate_error(error: DataError) -> RowError:
    """Not one row fails but a whole group: there is no record to set aside, and the job stops."""
    reason = str(error).splitlines()[0]
    return RowError(
        f"an aggregate of a group cannot be computed: {reason}", "E2402", "cast its argument to a wider type"
    )


def output_letter(value: str, code: str, message: str, expression: str = "") -> Rejected:
    """An output row that could not be made or encoded, as JSON."""
    stage: Stage = "encode" if code == "E2401" else "evaluate"
    return Rejected(value.encode(), code, message, stage, "", -1, "output row", expression=expression)
