"""The last part of a fused statement for sinks in memory: rows to an Arrow table."""

from __future__ import annotations

import pyarrow.compute as pc
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
        return exp.select(*[column(name) for name in (*system, *self._names)]).from_(rows.subquery("rows", copy=False))

    def run(self, work: Connection, statement: Statement, parameters: Parameters) -> Written:
        table = work.table(statement, parameters)
        outcomes = table.column(OUTCOME)
        counts = {each["values"].as_py(): each["counts"].as_py() for each in pc.value_counts(outcomes)}
        tally = Tally(kept=counts.get(KEPT, 0), late=counts.get(LATE, 0), filtered=counts.get(FILTERED, 0))
        if self._timed:
            tally.seen_us = pc.max(table.column(TIME)).as_py()
        rows = table.select(list(self._names)).filter(pc.equal(outcomes, KEPT))
        return Written(Payload(rows, rows.num_rows), tally, 0)

    def unencodable(self, rows: exp.Select) -> exp.Select:
        return exp.select(column(ROW), json_of(self._names)).from_(rows.subquery("rows")).where(exp.false())
