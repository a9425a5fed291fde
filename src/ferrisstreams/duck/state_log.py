"""The state log of an operator: the delta of the open epoch in memory, and durable panes of all epochs before.

The delta is a table in memory that the work connection fills tick by tick. At the end of the epoch the state
connection appends it to the panes, in the transaction of the epoch. What is read is always panes and delta together;
rolling an epoch back is forgetting the delta. Each row carries the tick in which it came: ticks are numbered over the
life of the state, and an epoch is one or several of them. The names of the tables begin with the operator's number.

Panes are tables for disjoint intervals of event time. Rows are only appended. A pane is dropped whole when the last
slice that it holds is closed: what it holds decides, not where its interval ends. Intervals are as wide as needed: the
width doubles while a batch would open many panes at once or many are live, so that their number stays near
`LogSizes.panes_live` whatever the ratio of window size to the span of the data.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.duck.engine import STATE_SCHEMA, Connection, Engine, column
from ferrisstreams.plan.expressions import type_tree, typed_as

if TYPE_CHECKING:
    import pyarrow as pa

#: Panes that one batch may open: each costs a statement of 1 to 2 ms.
PANES_OPENED_MAX = 2

#: Panes widen while a batch brings each of several fewer rows than this: small ones cost more than they save.
PANE_ROWS_MIN = 10_000

#: Slices of a pane at most, when it is widened because it is small.
PANE_SLICES_MAX = 64

#: It is compacted again when it has grown by this factor; by the second one when there was little to merge.
COMPACT_GROWTH, COMPACT_GROWTH_DISTINCT = 2, 4

#: What the delta holds of a tick besides the kept columns: outcome, rows, greatest event time, late windows, and the
#: ordinals of the first and the last row.
DELTA_COUNTS = (
    *(("_outcome", "INTEGER"), ("_rows", "BIGINT"), ("_seen", "BIGINT"), ("_late_windows", "BIGINT")),
    *(("_first_row", "BIGINT"), ("_last_row", "BIGINT")),
)

TICK = "_t"

#: What it was called when each epoch was a tick.
FORMER_TICK = "_epoch"

SLICE = "_slice"


@dataclass(frozen=True, slots=True)
class LogSizes:
    """From which size on a log saves room and time. Results do not depend on it; tests make everything happen early.

    `panes_live`: live panes that the width aims at. Each costs a table; more make every emission read more tables.
    `compact_rows`: a pane with fewer rows is not worth a compaction.
    """

    panes_live: int = 64
    compact_rows: int = 2_000_000


@dataclass(frozen=True, slots=True)
class SliceGrid:
    """Where slices begin: every `unit_us` from `origin_us` on, in both directions."""

    unit_us: int
    origin_us: int = 0

    def doubled(self) -> SliceGrid:
        return SliceGrid(2 * self.unit_us, self.origin_us)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """`[start, stop)` of slice starts, in microseconds."""

    start: int
    stop: int


def intervals_to_open(live: Sequence[Interval], slices: Iterable[int], grid: SliceGrid) -> list[Interval]:
    """New disjoint intervals that cover the slices not yet covered: cells of `grid`, clipped by their neighbours."""
    starts = [pane.start for pane in live]
    opened: set[Interval] = set()
    for place in slices:
        index = bisect_right(starts, place)
        if index and live[index - 1].stop > place:
            continue
        start = place - (place - grid.origin_us) % grid.unit_us
        stop = start + grid.unit_us
        if index:
            start = max(start, live[index - 1].stop)
        if index < len(live):
            stop = min(stop, live[index].start)
        opened.add(Interval(start, stop))
    return sorted(opened)


def choose_panes(live: Sequence[Interval], slices: Sequence[int], grid: SliceGrid, panes_live: int) -> SliceGrid:
    """The grid of the panes, wider where these slices would open many panes at once, or too many are live already.

    It ends: slices on both sides of a live pane never come into one, however wide it is.
    """
    span = slices[-1] - slices[0]
    while len(intervals_to_open(live, slices, grid)) > PANES_OPENED_MAX and grid.unit_us <= span:
        grid = grid.doubled()
    opened = len(intervals_to_open(live, slices, grid))
    return grid.doubled() if opened and opened + len(live) > panes_live else grid


def _definition(name: str, type_: str) -> exp.ColumnDef:
    return exp.ColumnDef(this=column(name).this, kind=type_tree(type_))


def _name(operator: int, ordinal: int, pane: Interval) -> str:
    """The table of a pane: its name says the interval, so that no other table has to."""
    return f"pane_{operator}_{ordinal}_{pane.start}_{pane.stop}".replace("-", "m")


def _interval(name: str) -> Interval:
    *_, start, stop = name.replace("m", "-").split("_")
    return Interval(int(start), int(stop))


def _ordinal(name: str) -> int:
    return int(name.split("_")[2])


def delete_after(state: Connection, tick: int) -> None:
    """Take the rows of later ticks out of all panes, in the open transaction. None of them may have been compacted."""
    for name in _pane_names(state):
        state.execute(exp.delete(exp.table_(name, db=STATE_SCHEMA)).where(column(TICK) > tick))


def take_over_panes(state: Connection) -> None:
    """Make panes of one operator, with an epoch to a tick, those of now, in the open transaction."""
    for name in _pane_names(state):
        now = name.replace("pane_", "pane_0_", 1)
        state.execute(f"ALTER TABLE {STATE_SCHEMA}.{name} RENAME COLUMN {FORMER_TICK} TO {TICK}")
        state.execute(f"ALTER TABLE {STATE_SCHEMA}.{name} RENAME TO {now}")


def count_rows(state: Connection, tick: int, is_former: bool = False) -> list[int]:
    """Rows of each operator's panes up to a tick; of the only one of a format before (`is_former`). One statement,
    however many panes there are."""
    names: dict[int, list[str]] = {}
    for name in sorted(_pane_names(state)):
        names.setdefault(0 if is_former else int(name.split("_")[1]), []).append(name)
    if not names:
        return []
    until = column(FORMER_TICK if is_former else TICK) <= tick
    counts = [
        exp.select(exp.Literal.number(operator).as_("operator"), exp.Count(this=exp.Star()).as_("n"))
        .from_(exp.table_(name, db=STATE_SCHEMA))
        .where(until)
        for operator, panes in names.items()
        for name in panes
    ]
    each = counts[0] if len(counts) == 1 else exp.union(*counts, distinct=False, copy=False)
    total = exp.cast(exp.Sum(this=column("n")), "BIGINT")
    rows = state.rows(exp.select("operator", total).from_(each.subquery("counts")).group_by("operator"))
    found = {integer(operator): integer(count) for operator, count in rows}
    return [found.get(operator, 0) for operator in range(max(found) + 1)]


def _pane_names(state: Connection) -> list[str]:
    """The tables of all operators."""
    found = state.rows(
        f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{STATE_SCHEMA}'"
        " AND starts_with(table_name, 'pane_')"
    )
    return [str(row[0]) for row in found]


class StateLog:
    """The log of one operator. `columns` are names and types of what is kept, the first of them `_slice` (BIGINT).

    `operator` is its number in the job, `grid` that of the slices. `delta` is a table of the engine's own database,
    which is in memory.
    """

    def __init__(
        self,
        engine: Engine,
        operator: int,
        columns: Sequence[tuple[str, str]],
        grid: SliceGrid,
        sizes: LogSizes = LogSizes(),
    ) -> None:
        self.delta = f"memory.main._delta{operator}"
        self._operator = operator
        self._sizes = sizes
        self._engine = engine
        self._work = engine.work
        self._state = engine.state
        self._columns = columns
        self._panes = self._grid = grid
        self._rows: dict[Interval, int] = {}
        self._newest: dict[Interval, int] = {}
        self._compact_at: dict[Interval, int] = {}
        self._next = 0
        self._names: dict[Interval, str] = {}
        self._slices: set[int] = set()
        self._pending: list[pa.Table] = []  # Ticks that are not in the table of the delta.
        self._is_tabled = False
        self._delta_rows = 0

    # --- delta ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read which panes there are, and begin with an empty delta: at start."""
        found = self._found() if self._engine.holds_tables else []
        self._names = {_interval(name): name for name, _, _ in found}
        self._widen(found)
        held = {pane: self._held(pane, name) for pane, name in self._names.items()}
        self._rows = {pane: rows for pane, (rows, _) in held.items()}
        self._newest = {pane: newest for pane, (_, newest) in held.items()}
        self._compact_at = {pane: COMPACT_GROWTH * rows for pane, rows in self._rows.items()}
        self._next = 1 + max(map(_ordinal, self._names.values()), default=0)
        definitions = [_definition(name, type_) for name, type_ in ((TICK, "BIGINT"), *DELTA_COUNTS, *self._columns)]
        table = exp.Schema(this=exp.to_table(self.delta), expressions=definitions)
        self._work.execute(exp.Create(this=table, kind="TABLE", replace=True))
        self._forget_delta()

    def insert(self, tick: exp.Expression, rows: exp.Select, returned: Sequence[str] = ()) -> exp.Insert:
        """The statement that adds a tick's partial results, with their counts, to the delta; it gives the columns
        `returned` of each, or how many there are."""
        names = [*(name for name, _ in DELTA_COUNTS), *self._names_kept()]
        target = exp.Schema(this=exp.to_table(self.delta), expressions=[column(name).this for name in (TICK, *names)])
        partials = rows.subquery("partials", copy=False)
        values = exp.select(tick, *[column(name) for name in names]).from_(partials, copy=False)
        returning = exp.Returning(expressions=[column(name) for name in returned]) if returned else None
        return exp.Insert(this=target, expression=values, returning=returning)

    def put(self, partials: pa.Table, slices: Iterable[int], rows: int) -> None:
        """Add a tick's partial results to the delta as they are: `_t` and the kept columns, as Arrow carries them."""
        self._pending.append(partials)
        self._slices.update(slices)
        self._delta_rows += rows

    def _show_pending(self, connection: Connection) -> exp.Select:
        """What was put, readable by a connection, with the types of the log."""
        import pyarrow as pa

        name = f"_pending{self._operator}"
        connection.show(name, pa.concat_tables(self._pending))
        kept = [exp.alias_(typed_as(column(n), type_), n, quoted=True) for n, type_ in self._columns]
        return exp.select(column(TICK), *kept).from_(name)

    def settle(self) -> None:
        """Make a table's rows of what was put: before any statement that reads the delta."""
        if self._pending:
            names = ("_outcome", TICK, *self._names_kept())
            target = exp.Schema(this=exp.to_table(self.delta), expressions=[column(name).this for name in names])
            rows = self._show_pending(self._work).select(exp.alias_(exp.Literal.number(0), "_outcome"))
            rows.set("expressions", [rows.expressions[-1], *rows.expressions[:-1]])
            self._work.execute(exp.Insert(this=target, expression=rows))
            self._pending.clear()
            self._is_tabled = True

    def forget_tick(self, tick: int) -> None:
        """Take a tick out of the delta: it is done again."""
        self._work.execute(exp.delete(self.delta).where(column(TICK).eq(tick)))

    def added(self, slices: Iterable[int], rows: int) -> None:
        """A tick's partial results are in the delta's table: the slices of its kept rows, and how many rows it took."""
        self._slices.update(slices)
        self._delta_rows += rows
        self._is_tabled = True

    @property
    def rows(self) -> int:
        """Rows of the panes and of the delta, about."""
        return sum(self._rows.values()) + self._delta_rows

    @property
    def types(self) -> dict[str, str]:
        """The kept columns and their types."""
        return dict(self._columns)

    @property
    def delta_rows(self) -> int:
        return self._delta_rows

    def select(
        self, low_us: int | None = None, high_us: int | None = None, before: exp.Expression | None = None
    ) -> exp.Query:
        """All kept columns of the panes that overlap `[low_us, high_us)` and of the delta.

        With `before`, the delta only up to but not including this tick.
        """
        tables = [self._table(name) for name in self.overlapping(low_us, high_us)]
        delta = exp.select(*self._references()).from_(self.delta).where(column("_outcome").eq(0))
        if before is not None:
            delta = delta.where(exp.LT(this=column(TICK), expression=before.copy()))
        selects = [*[exp.select(*self._references()).from_(table) for table in tables], delta]
        return delta if len(selects) == 1 else exp.union(*selects, distinct=False, copy=False)

    def overlapping(self, low_us: int | None, high_us: int | None) -> list[str]:
        """The tables of the panes that overlap `[low_us, high_us)`."""
        return [
            name
            for pane, name in sorted(self._names.items())
            if (low_us is None or pane.stop > low_us) and (high_us is None or pane.start < high_us)
        ]

    def tick_rows(self, tick: exp.Expression) -> exp.Select:
        """The kept rows of one tick of the delta."""
        return exp.select("*").from_(self.delta).where(column("_outcome").eq(0), column(TICK).eq(tick.copy()))

    # --- epochs -----------------------------------------------------------------------------------------------------

    def prepare(self, keep_from_us: int | None) -> None:
        """Append the delta to the panes, in the open transaction of the state connection.

        Rows whose slice starts before `keep_from_us` are left out: nothing will read them again.
        """
        slices = sorted(place for place in self._slices if keep_from_us is None or place >= keep_from_us)
        if not slices:
            return
        self._open(slices)
        live = self.live
        starts = [pane.start for pane in live]
        touched = sorted({live[bisect_right(starts, place) - 1] for place in slices})
        before = sum(self._rows.values())
        whole = len(touched) == 1 and len(slices) == len(self._slices)
        for pane in touched:
            self._append_to(pane, None if whole else slices[0])
            self._newest[pane] = max(self._newest[pane], slices[bisect_left(slices, pane.stop) - 1])
        small = len(touched) > 1 and sum(self._rows.values()) - before < PANE_ROWS_MIN * len(touched)
        if small and self._panes.unit_us < self._grid.unit_us * PANE_SLICES_MAX:
            self._panes = self._panes.doubled()

    def confirm(self) -> None:
        """The epoch is durable: the delta starts over."""
        if self._is_tabled:
            self._work.execute(f"DELETE FROM {self.delta}")
        self._forget_delta()

    def _forget_delta(self) -> None:
        self._pending.clear()
        self._is_tabled = False
        self._slices.clear()
        self._delta_rows = 0

    @property
    def live(self) -> list[Interval]:
        return sorted(self._names)

    def drop_before(self, open_us: int) -> None:
        """Drop every pane that holds no slice which begins at or after `open_us`."""
        for pane in [pane for pane, newest in self._newest.items() if newest < open_us]:
            self._drop(self._names.pop(pane))
            del self._rows[pane], self._newest[pane], self._compact_at[pane]

    def compact(
        self,
        merge: exp.Select,
        keep_from_us: int | None,
        unless: exp.Condition | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        """Rewrite panes that have grown: `merge` is a SELECT over the name `log` that yields the kept columns, with its
        parameters.

        Rows whose slice starts before `keep_from_us` are left out. A pane with a row that is as `unless` says stays as
        it is: the merge could raise, and take the whole transaction with it.
        """
        for pane in self.live:
            before = self._rows[pane]
            if before < max(self._sizes.compact_rows, self._compact_at[pane]):
                continue
            if unless is None or not self._has(pane, unless):
                self._rewrite(pane, merge, keep_from_us, parameters)
            after = self._rows[pane]
            self._compact_at[pane] = after * (COMPACT_GROWTH if 4 * after < 3 * before else COMPACT_GROWTH_DISTINCT)

    # --- private ----------------------------------------------------------------------------------------------------

    def _open(self, slices: Sequence[int]) -> None:
        live = self.live
        self._panes = choose_panes(live, slices, self._panes, self._sizes.panes_live)
        for pane in intervals_to_open(live, slices, self._panes):
            self._create(pane)
            self._newest[pane] = pane.start

    def _create(self, pane: Interval) -> str:
        name = _name(self._operator, self._next, pane)
        self._next += 1
        self._names[pane] = name
        self._rows[pane] = self._compact_at[pane] = 0
        definitions = [_definition(n, t) for n, t in ((TICK, "BIGINT"), *self._columns)]
        schema = exp.Schema(this=self._table(name), expressions=definitions)
        self._state.execute(exp.Create(this=schema, kind="TABLE"))
        self._engine.holds_tables = True
        return name

    def _found(self) -> list[tuple[str, str, str]]:
        """The panes that there are, with names and types of their columns."""
        rows = self._state.rows(
            f"SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = '{STATE_SCHEMA}'"
            f" AND starts_with(table_name, 'pane_{self._operator}_')"
        )
        return [(str(table), str(name), str(type_)) for table, name, type_ in rows]

    def _widen(self, found: Iterable[tuple[str, str, str]]) -> None:
        """Give the panes the types of now: a column of the source may be wider than when they were made."""
        now = dict(self._columns)
        for table, name, type_ in found:
            if now.get(name, type_) != type_:
                wider = exp.AlterColumn(this=column(name).this, dtype=type_tree(now[name]))
                self._state.execute(exp.Alter(this=self._table(table), kind="TABLE", actions=[wider]))

    def _names_kept(self) -> list[str]:
        return [name for name, _ in self._columns]

    def _references(self) -> list[exp.Column]:
        return [column(name) for name in self._names_kept()]

    def _insert(self, name: str, rows: exp.Select, parameters: Mapping[str, object] | None = None) -> int:
        names = [column(TICK).this, *[reference.this for reference in self._references()]]
        target = exp.Schema(this=self._table(name), expressions=names)
        return integer(self._state.rows(exp.Insert(this=target, expression=rows), parameters)[0][0])

    def _append_to(self, pane: Interval, first: int | None) -> None:
        """Append the delta's rows of a pane, from the slice `first` on; None: the delta as a whole."""
        if self._pending:
            self._rows[pane] += self._insert(self._names[pane], self._show_pending(self._state))
        if not self._is_tabled:
            return
        rows = exp.select(column(TICK), *self._references()).from_(self.delta).where(column("_outcome").eq(0))
        if first is not None:
            rows = rows.where(column(SLICE) >= max(pane.start, first), column(SLICE) < pane.stop)
        self._rows[pane] += self._insert(self._names[pane], rows)

    def _rewrite(
        self, pane: Interval, merge: exp.Select, keep_from_us: int | None, parameters: Mapping[str, object] | None
    ) -> None:
        old = self._names[pane]
        log: exp.Select = exp.select("*").from_(self._table(old))
        if keep_from_us is not None:
            log = log.where(column(SLICE) >= keep_from_us)
        newest = exp.select(exp.Max(this=column(TICK))).from_(self._table(old)).subquery()
        rows = exp.select(exp.alias_(newest, TICK), *self._references()).from_(
            merge.with_("log", as_=log).subquery("m")
        )
        name = self._create(pane)
        self._rows[pane] = self._insert(name, rows, parameters)
        self._drop(old)

    def _has(self, pane: Interval, condition: exp.Condition) -> bool:
        found = exp.select(exp.Literal.number(1)).from_(self._table(self._names[pane])).where(condition).limit(1)
        return bool(self._state.rows(found))

    def _drop(self, name: str) -> None:
        self._state.execute(f"DROP TABLE {STATE_SCHEMA}.{name}")

    def _held(self, pane: Interval, name: str) -> tuple[int, int]:
        """How many rows a pane has, and its newest slice; of one that was emptied, where it begins."""
        count, newest = self._state.rows(
            exp.select(exp.Count(this=exp.Star()), exp.Max(this=column(SLICE))).from_(self._table(name))
        )[0]
        return integer(count), pane.start if newest is None else integer(newest)

    @staticmethod
    def _table(name: str) -> exp.Table:
        return exp.table_(name, db=STATE_SCHEMA)
