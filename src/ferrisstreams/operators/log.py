"""What the state logs of all kinds share: a batch grouped into partial results, and the merge of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.duck.panes import SLICE, PaneLog
from ferrisstreams.operators.aggregates import PLACE, AggregatePlan, struct
from ferrisstreams.operators.windows import number

#: The registered name of the batch's partial results, on both connections.
DELTA = "_delta"

START, STOP = "_start", "_stop"
OUTCOME, ROWS, SEEN, LATE_WINDOWS = "_outcome", "_rows", "_seen", "_late_windows"
TIME, CLOSED, LAST_START = "_ts", "_closed", "_last_start"

#: Parameters of ordered aggregates: the partition's name and the number of its rows before the batch.
PARTITION, ROW_BASE = "partition", "row_base"


@dataclass(frozen=True, slots=True)
class LogShape:
    """What a log groups by and keeps. `keys` are the names of the key columns (`_k0` …)."""

    keys: tuple[str, ...]
    aggregates: AggregatePlan
    timed: bool


class GroupLog(Protocol):
    """The state of one aggregate: partial results by group, and what is asked of them."""

    def reduce(self, rows: exp.Select) -> exp.Select:
        """Projected rows to partial results by outcome and group, with `_rows`, `_seen` and `_late_windows`."""

    def open(self, panes: PaneLog) -> None:
        """Use these panes."""

    def append(self, delta: pa.Table, slices: Sequence[int], epoch: int) -> None:
        """Append the batch's partial results."""

    def closing(self, low_us: int, high_us: int) -> pa.Table | None:
        """Merged results of the windows that end in `(low, high]`, in order of (end, start, keys)."""

    def touched(self, low_us: int, high_us: int) -> pa.Table | None:
        """Merged results of the groups that the registered delta touches and that end in `(low, high]`."""

    def reclaim(self, closed_us: int) -> None:
        """Give back the room of what is closed, and merge what has grown."""


def grouped(shape: LogShape, rows: exp.Select, groups: Sequence[tuple[str, exp.Expression]]) -> exp.Select:
    """The partial results of projected rows by outcome, `groups` and keys."""
    if shape.aggregates.places:
        rows = exp.select("*", exp.alias_(place(shape.timed), PLACE)).from_(rows.subquery("placed"))
    named = [exp.alias_(expression, name) for name, expression in groups]
    keys = [column(key) for key in shape.keys]
    partials = [exp.alias_(p.expression.copy(), p.name, quoted=True) for p in shape.aggregates.partials]
    seen = exp.Max(this=column(TIME)) if shape.timed else exp.cast(exp.Null(), "BIGINT")
    count = exp.alias_(exp.Count(this=exp.Star()), ROWS)
    select = exp.select(column(OUTCOME), *named, *keys, *partials, count, exp.alias_(seen, SEEN)).from_(
        rows.subquery("kept")
    )
    return select.group_by(*[number(index + 1) for index in range(1 + len(named) + len(keys))])


def place(timed: bool) -> exp.Expression:
    """A row's place in stream order: event time, partition, row number in the partition."""
    partition = exp.cast(exp.Parameter(this=exp.var(PARTITION)), "VARCHAR")
    base = exp.cast(exp.Parameter(this=exp.var(ROW_BASE)), "BIGINT")
    ordinal = exp.Add(this=base, expression=column("_row"))
    return struct(t=column(TIME), p=partition, s=ordinal) if timed else struct(p=partition, s=ordinal)


def merged(shape: LogShape, log: exp.Query, bounds: Sequence[exp.Expr], groups: Sequence[exp.Expression]) -> exp.Select:
    """The merge of a log: `bounds` (aliased), the keys and the merged partials, grouped by `groups` and the keys."""
    keys = [column(key) for key in shape.keys]
    merges = [exp.alias_(p.merge.copy(), p.name, quoted=True) for p in shape.aggregates.partials]
    select = exp.select(*bounds, *keys, *merges).from_(log.subquery("log"))
    grouping = [*groups, *keys]
    return select.group_by(*[group.copy() for group in grouping]) if grouping else select


def kept_delta() -> exp.Select:
    """The kept rows of the registered delta."""
    return exp.select("*").from_(DELTA).where(column(OUTCOME).eq(0))


def same(names: Sequence[str], left: str, right: str) -> exp.Condition:
    """Equality of columns of two relations, NULL equal to NULL."""
    pairs = [exp.NullSafeEQ(this=column(name, left), expression=column(name, right)) for name in names]
    return exp.and_(*pairs) if pairs else exp.true()


def semi(rows: exp.Select, other: exp.Select, names: Sequence[str]) -> exp.Select:
    """The rows whose `names` occur in `other`."""
    on = same(names, "l", "d")
    return exp.select("l.*").from_(rows.subquery("l")).join(other.subquery("d"), on=on, join_type="semi")


def run(state: Connection, query: exp.Select | None) -> pa.Table | None:
    """The query's rows; None when there is nothing."""
    if query is None:
        return None
    table = state.table(query)
    return table if table.num_rows else None


class KeyedLog:
    """Groups without a window: one pane, one slice."""

    def __init__(self, state: Connection, shape: LogShape) -> None:
        self._state = state
        self._shape = shape
        self._panes: PaneLog | None = None

    def reduce(self, rows: exp.Select) -> exp.Select:
        return grouped(self._shape, rows, [(SLICE, exp.cast(number(0), "BIGINT"))]).select(
            exp.alias_(exp.cast(number(0), "BIGINT"), LATE_WINDOWS)
        )

    def open(self, panes: PaneLog) -> None:
        self._panes = panes

    def append(self, delta: pa.Table, slices: Sequence[int], epoch: int) -> None:
        assert self._panes is not None
        self._panes.append(DELTA, slices, epoch)

    def closing(self, low_us: int, high_us: int) -> pa.Table | None:
        assert self._panes is not None
        log = self._panes.select()
        return run(self._state, self._merge(log)) if log is not None else None

    def touched(self, low_us: int, high_us: int) -> pa.Table | None:
        assert self._panes is not None
        log = self._panes.select()
        if log is None:
            return None
        rows = exp.select("*").from_(log.subquery("panes"))
        return run(self._state, self._merge(semi(rows, kept_delta(), self._shape.keys)))

    def reclaim(self, closed_us: int) -> None:
        assert self._panes is not None
        merge = merged(self._shape, exp.select("*").from_("log"), [column(SLICE)], [column(SLICE)])
        self._panes.compact(merge, None)

    def _merge(self, log: exp.Query) -> exp.Select:
        keys = [column(key) for key in self._shape.keys]
        query = merged(self._shape, log, [], [])
        return query.order_by(*keys) if keys else query
