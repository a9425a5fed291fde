"""Runs a table that rows of a stream meet: its log, and in memory the row of each key that stands at the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp

from ferrisstreams.batch import JsonValue, integer
from ferrisstreams.compile.rows_runner import RowsRunner, RowsRunnerParts
from ferrisstreams.compile.sources import MergedRows
from ferrisstreams.duck.engine import column, creation
from ferrisstreams.operators.base import LOG, TICK_NUMBER, bind, parameter

#: Rows that were taken out and still cost a scan, beyond as many as there are, at which the table is written again.
_DEAD_ROWS = 100_000


class LookupRunner(RowsRunner):
    """A table of which nothing is given: whoever meets it reads `current`. That is derived from the log: made of it
    when the job starts or an epoch is taken back, and brought up to date after each tick.

    `keys` are the columns of the key.
    """

    def __init__(self, parts: RowsRunnerParts, keys: Sequence[str], current: str) -> None:
        super().__init__(parts)
        self._keys = keys
        self._current = current
        self._dead = 0

    def changes(self, tick: int) -> Iterator[MergedRows]:
        """Nothing; the rows of the tick take the places of those of their keys."""
        touched, self._touched = self._touched, None
        if touched is None:
            return
        work, (log,) = self._parts.work, self._parts.logs
        parameters = {TICK_NUMBER: tick}
        rows = log.tick_rows(parameter(TICK_NUMBER))
        same = exp.and_(*[column(key, "c").eq(column(key, "t")) for key in self._keys])
        keys = exp.select(*map(column, self._keys)).from_(rows.copy().subquery("rows")).distinct()
        gone = exp.Delete(
            this=exp.to_table(self._current).as_("c"), using=[keys.subquery("t")], where=exp.Where(this=same)
        )
        self._dead += integer(work.rows(gone, parameters)[0][0])
        work.execute(exp.insert(self._standing(rows), self._current), parameters)
        self._renew()
        yield from ()

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        super().restore(snapshot)
        (log,) = self._parts.logs
        self._parts.work.execute(creation(self._current, self._standing(log.select())))
        self._dead = 0

    # --- private ----------------------------------------------------------------------------------------------------

    def _standing(self, rows: exp.Query) -> exp.Select:
        """Of rows of the log the newest of each key, where it stands."""
        (port,) = self._parts.operator.ports
        return bind(port.keep, **{LOG: rows})

    def _renew(self) -> None:
        work = self._parts.work
        if self._dead < _DEAD_ROWS:
            return
        rows = integer(work.rows(exp.select(exp.Count(this=exp.Star())).from_(self._current))[0][0])
        if self._dead > rows:
            work.execute(creation(self._current, exp.select("*").from_(self._current)))
            self._dead = 0
