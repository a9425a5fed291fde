"""Panes: the state log of an operator as tables, one for each of some disjoint intervals of event time.

Rows are only appended. A pane whose interval has passed is dropped whole. Intervals are as wide as needed: the width
doubles while a batch would open many panes at once or many are live, so that their number stays near `PANES_LIVE_MAX`
whatever the ratio of window size to the span of the data.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import STATE_SCHEMA, Connection, column

#: Live panes that the width aims at. Each costs a table; more make every emission read more tables.
PANES_LIVE_MAX = 64

#: Panes that one batch may open: each costs a statement of 1 to 2 ms.
PANES_OPENED_MAX = 2

#: Panes widen while a batch brings each of several fewer rows than this: small ones cost more than they save.
PANE_ROWS_MIN = 10_000

#: Slices of a pane at most, when it is widened because it is small.
PANE_SLICES_MAX = 64

#: A pane with fewer rows is not worth a compaction.
COMPACT_ROWS_MIN = 200_000

#: It is compacted again when it has grown by this factor; by the second one when there was little to merge.
COMPACT_GROWTH, COMPACT_GROWTH_DISTINCT = 2, 4

EPOCH = "_epoch"
SLICE = "_slice"


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """`[start, stop)` of slice starts, in microseconds."""

    start: int
    stop: int


def intervals_to_open(live: Sequence[Interval], slices: Iterable[int], width: int) -> list[Interval]:
    """New disjoint intervals that cover the slices not yet covered: aligned to `width`, clipped by their neighbours."""
    starts = [pane.start for pane in live]
    opened: set[Interval] = set()
    for place in slices:
        index = bisect_right(starts, place)
        if index and live[index - 1].stop > place:
            continue
        start = place // width * width
        stop = start + width
        if index:
            start = max(start, live[index - 1].stop)
        if index < len(live):
            stop = min(stop, live[index].start)
        opened.add(Interval(start, stop))
    return sorted(opened)


def choose_width(live: Sequence[Interval], slices: Sequence[int], width: int) -> int:
    """The width at which these slices open few enough panes."""
    while True:
        opened = len(intervals_to_open(live, slices, width))
        if opened <= 1 or (opened <= PANES_OPENED_MAX and opened + len(live) <= PANES_LIVE_MAX):
            return width
        width *= 2


def _name(ordinal: int, pane: Interval) -> str:
    """The table of a pane: its name says the interval, so that no other table has to."""
    return f"pane_{ordinal}_{pane.start}_{pane.stop}".replace("-", "m")


def _interval(name: str) -> Interval:
    _, _, start, stop = name.replace("m", "-").split("_")
    return Interval(int(start), int(stop))


class PaneLog:
    """The log of one operator. `columns` are names and types, the first of them `_slice` (BIGINT).

    All statements run on the state connection, inside the transaction of the epoch.
    """

    def __init__(self, state: Connection, columns: Sequence[tuple[str, str]], unit_us: int) -> None:
        self._state = state
        self._columns = columns
        self._unit = unit_us
        self._width = unit_us
        self._rows: dict[Interval, int] = {}
        self._compact_at: dict[Interval, int] = {}
        self._next = 0
        self._names: dict[Interval, str] = {}

    def load(self) -> None:
        """Read which panes there are: at start and after a rollback."""
        found = self._state.rows(
            f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{STATE_SCHEMA}'"
            " AND starts_with(table_name, 'pane_')"
        )
        self._names = {_interval(str(row[0])): str(row[0]) for row in found}
        self._rows = {pane: self._count(name) for pane, name in self._names.items()}
        self._compact_at = {pane: COMPACT_GROWTH * rows for pane, rows in self._rows.items()}
        self._next = 1 + max((int(name.split("_")[1]) for name in self._names.values()), default=0)

    @property
    def live(self) -> list[Interval]:
        return sorted(self._names)

    @property
    def rows(self) -> int:
        """Rows of all panes, merged or not."""
        return sum(self._rows.values())

    def append(self, relation: str, slices: Sequence[int], epoch: int) -> None:
        """Append the kept rows (`_outcome` = 0) of a registered relation, whose slices are `slices`."""
        self._open(slices)
        starts = self.live
        touched = sorted({starts[bisect_right([p.start for p in starts], place) - 1] for place in slices})
        before = self.rows
        for pane in touched:
            self._append_to(pane, relation, epoch, whole=len(touched) == 1)
        if len(touched) > 1 and self.rows - before < PANE_ROWS_MIN * len(touched):
            self._width = min(self._width * 2, max(self._width, self._unit * PANE_SLICES_MAX))

    def select(self, low_us: int | None = None, high_us: int | None = None) -> exp.Query | None:
        """All columns of all rows of the panes that overlap `[low_us, high_us)`; None when there is no pane."""
        chosen = [
            self._table(name)
            for pane, name in sorted(self._names.items())
            if (low_us is None or pane.stop > low_us) and (high_us is None or pane.start < high_us)
        ]
        if not chosen:
            return None
        selects = [exp.select("*").from_(table) for table in chosen]
        return selects[0] if len(selects) == 1 else exp.union(*selects, distinct=False)

    def drop_through(self, bound_us: int) -> None:
        """Drop every pane all of whose slices start before `bound_us`."""
        for pane in [pane for pane in self._names if pane.stop <= bound_us]:
            self._forget(pane)

    def compact(self, merge: exp.Select, keep_from_us: int | None) -> None:
        """Rewrite panes that have grown: `merge` is a SELECT over the name `log` that yields all columns but `_epoch`.

        Rows whose slice starts before `keep_from_us` are left out.
        """
        for pane in self.live:
            before = self._rows[pane]
            if before < max(COMPACT_ROWS_MIN, self._compact_at[pane]):
                continue
            self._rewrite(pane, merge, keep_from_us)
            after = self._rows[pane]
            self._compact_at[pane] = after * (COMPACT_GROWTH if 4 * after < 3 * before else COMPACT_GROWTH_DISTINCT)

    # --- private ----------------------------------------------------------------------------------------------------

    def _open(self, slices: Sequence[int]) -> None:
        live = self.live
        self._width = choose_width(live, slices, self._width)
        for pane in intervals_to_open(live, slices, self._width):
            self._create(pane)

    def _create(self, pane: Interval) -> str:
        name = _name(self._next, pane)
        self._next += 1
        self._names[pane] = name
        self._rows[pane] = self._compact_at[pane] = 0
        definitions = [
            exp.ColumnDef(this=column(n).this, kind=exp.DataType.build(t, dialect="duckdb"))
            for n, t in ((EPOCH, "BIGINT"), *self._columns)
        ]
        schema = exp.Schema(this=self._table(name), expressions=definitions)
        self._state.execute(exp.Create(this=schema, kind="TABLE"))
        return name

    def _references(self) -> list[exp.Column]:
        return [column(name) for name, _ in self._columns]

    def _insert(self, name: str, rows: exp.Select) -> int:
        names = [column(EPOCH).this, *[reference.this for reference in self._references()]]
        target = exp.Schema(this=self._table(name), expressions=names)
        return int(str(self._state.rows(exp.Insert(this=target, expression=rows))[0][0]))

    def _append_to(self, pane: Interval, relation: str, epoch: int, whole: bool) -> None:
        kept: list[exp.Expression] = [column("_outcome").eq(0)]
        if not whole:
            kept += [column(SLICE) >= pane.start, column(SLICE) < pane.stop]
        rows = exp.select(exp.Literal.number(epoch), *self._references()).from_(relation).where(*kept)
        self._rows[pane] += self._insert(self._names[pane], rows)

    def _rewrite(self, pane: Interval, merge: exp.Select, keep_from_us: int | None) -> None:
        old = self._names[pane]
        log: exp.Select = exp.select("*").from_(self._table(old))
        if keep_from_us is not None:
            log = log.where(column(SLICE) >= keep_from_us)
        epoch = exp.select(exp.Max(this=column(EPOCH))).from_(self._table(old)).subquery()
        rows = exp.select(exp.alias_(epoch, EPOCH), *self._references()).from_(
            merge.with_("log", as_=log).subquery("m")
        )
        name = self._create(pane)
        self._rows[pane] = self._insert(name, rows)
        self._drop(old)

    def _forget(self, pane: Interval) -> None:
        self._drop(self._names.pop(pane))
        del self._rows[pane], self._compact_at[pane]

    def _drop(self, name: str) -> None:
        self._state.execute(f"DROP TABLE {STATE_SCHEMA}.{name}")

    def _count(self, name: str) -> int:
        return int(str(self._state.rows(exp.select("count(*)").from_(self._table(name)))[0][0]))

    @staticmethod
    def _table(name: str) -> exp.Table:
        return exp.table_(name, db=STATE_SCHEMA)
