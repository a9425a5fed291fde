"""The last part of a fused statement for sinks in memory: rows to an Arrow table."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.batch import Payload
from ferrisstreams.compile.payload import Parameters, Written, json_of
from ferrisstreams.compile.results import Tally
from ferrisstreams.compile.rows import FILTERED, KEPT, LATE
from ferrisstreams.duck.engine import Connection, Statement, column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.log import OUTCOME, TIME


class Tables:
    """Typed columns as they are, for sinks in memory: every row can be written."""

    def __init__(self, names: tuple[str, ...], timed: bool) -> None:
        self._names = names
        self._timed = timed

    def reduce(self, rows: exp.Select) -> exp.Select:
        system = [OUTCOME, TIME] if self._timed else [OUTCOME]
        return exp.select(*[column(name) for name in (*system, *self._names)]).from_(rows.subquery("rows"))

    def run(self, work: Connection, statement: Statement, parameters: Parameters) -> Written:
        table = work.table(statement, parameters)
        outcomes = table.column(OUTCOME).to_pylist()
        times = table.column(TIME).to_pylist() if self._timed else []
        kept = [index for index, outcome in enumerate(outcomes) if outcome == KEPT]
        rows = table.select(list(self._names)).take(pa.array(kept, pa.int64()))
        counts = {value: outcomes.count(value) for value in (KEPT, LATE, FILTERED)}
        seen = max((time for time in times if time is not None), default=None)
        tally = Tally(kept=counts[KEPT], late=counts[LATE], filtered=counts[FILTERED], seen_us=seen)
        return Written(Payload(rows, rows.num_rows), tally, 0)

    def unencodable(self, rows: exp.Select) -> exp.Select:
        return exp.select(column(ROW), json_of(self._names)).from_(rows.subquery("rows")).where(exp.false())
