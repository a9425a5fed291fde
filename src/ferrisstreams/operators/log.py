"""What the state logs of all kinds share: a batch grouped into partial results, and the merge of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE, StateLog
from ferrisstreams.operators.aggregates import PLACE, AggregatePlan, struct
from ferrisstreams.operators.windows import number

#: Parameter: the number of a tick.
TICK_NUMBER = "tick"

START, STOP = "_start", "_stop"
OUTCOME, ROWS, SEEN, LATE_WINDOWS = "_outcome", "_rows", "_seen", "_late_windows"
FIRST_ROW, LAST_ROW = "_first_row", "_last_row"
TIME, CLOSED, LAST_START = "_event_us", "_closed", "_last_start"

#: Parameters of ordered aggregates: the partition's name and the number of its rows before the batch.
PARTITION, ROW_BASE = "partition", "row_base"


@dataclass(frozen=True, slots=True)
class LogShape:
    """What a log groups by and keeps. `keys` are the names of the key columns (`_k0` …).

    `apart`: every row makes partial results of its own.
    """

    keys: tuple[str, ...]
    aggregates: AggregatePlan
    timed: bool
    apart: bool = False

    def rows_apart(self) -> LogShape:
        """The same for a batch whose sums would not fit: nothing is added up before the merge."""
        return replace(self, apart=True)

    def exactly(self) -> LogShape:
        """The same with merges that never raise."""
        return replace(self, aggregates=self.aggregates.exactly())


class GroupLog(Protocol):
    """How one kind of operator keeps its groups in a log, and the queries that are asked of it.

        rows ── reduce ──▶ partial results ──▶ StateLog: delta, panes
                           (slice, keys, …)         │
                     closing(low, high]  ◀──────────┤  windows that the watermark has passed: merged, once each
                     touched(tick)       ◀──────────┤  groups that a tick changes, with and without it: EMIT CHANGES
                     reclaim(closed)     ◀──────────┘  panes that nothing will read again go, others are compacted

    A kind of window adds a class with these methods: the log is appended to and merged by GROUP BY, never updated in
    place. A new one says in which slices a row is kept, which windows a slice is part of, and when a slice is closed.

    Queries give the merged partials with `_start` and `_stop` (with a window), in order of (end, start, keys).
    `identity` are the bounds that tell the windows of one key apart; none without a window.
    `keyed_windows`: each key has windows of its own.
    """

    identity: ClassVar[tuple[str, ...]]
    keyed_windows: ClassVar[bool]

    def reduce(self, rows: exp.Select) -> exp.Select:
        """Projected rows to partial results by outcome and group, with what the delta counts."""

    def closing(self, log: StateLog, low_us: int, high_us: int) -> exp.Select:
        """The windows that end in `(low, high]`."""

    def touched(self, log: StateLog, low_us: int, high_us: int, before: bool) -> exp.Select:
        """Of those, the groups that the tick (parameter `TICK_NUMBER`) touches; `before`: without the tick."""

    def open_from(self, closed_us: int) -> int | None:
        """Slices that begin before this are in windows only that are closed; None: a slice alone does not tell."""

    def reclaim(self, log: StateLog, closed_us: int) -> None:
        """Give back the room of what is closed, and merge what has grown."""


def grouped(
    shape: LogShape, rows: exp.Select, groups: Sequence[tuple[str, exp.Expression]], spans: bool = False
) -> exp.Select:
    """The partial results of projected rows by outcome, `groups` and keys; `spans`: also their first and last row."""
    if shape.aggregates.places:
        rows = exp.select("*", exp.alias_(place(shape.timed), PLACE)).from_(rows.subquery("placed", copy=False))
    named = [exp.alias_(expression, name) for name, expression in groups]
    keys = [column(key) for key in shape.keys]
    partials = [exp.alias_(p.expression.copy(), p.name, quoted=True) for p in shape.aggregates.partials]
    seen = exp.Max(this=column(TIME)) if shape.timed else exp.cast(exp.Null(), "BIGINT")
    count = exp.alias_(exp.Count(this=exp.Star()), ROWS)
    ends: list[exp.Expression] = [exp.Min(this=column("_row")), exp.Max(this=column("_row"))]
    first, last = ends if spans else [exp.cast(exp.Null(), "BIGINT")] * 2
    counts = [count, *(exp.alias_(value, name) for value, name in ((seen, SEEN), (first, FIRST_ROW), (last, LAST_ROW)))]
    select = exp.select(column(OUTCOME), *named, *keys, *partials, *counts).from_(rows.subquery("kept", copy=False))
    apart = [column("_row")] if shape.apart else []
    places = [number(index + 1) for index in range(1 + len(named) + len(keys))]
    return select.group_by(*places, *apart, copy=False)


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
    select = exp.select(*bounds, *keys, *merges).from_(log.subquery("log", copy=False))
    grouping = [*groups, *keys]
    return select.group_by(*[group.copy() for group in grouping], copy=False) if grouping else select


#: So many rows are never in one pane: sums that are smaller than the greatest one by this factor can be added up.
_PANE_ROWS_MAX = 1e9


def too_large(shape: LogShape, log: StateLog) -> exp.Condition | None:
    """Whether a row of the log holds a sum so large that the sum of many would not fit; None: no row can."""
    conditions = []
    for name in shape.aggregates.summed:
        most = _greatest(log.types[name])
        if most is not None:
            size = exp.Abs(this=exp.cast(column(name), "DOUBLE"))
            conditions.append(exp.GT(this=size, expression=exp.Literal.number(repr(most / _PANE_ROWS_MAX))))
    return exp.or_(*conditions) if conditions else None


def _greatest(type_: str) -> float | None:
    """The greatest number of a type whose sums raise."""
    if type_.startswith("DECIMAL"):
        precision, scale = (int(part) for part in type_.removeprefix("DECIMAL(").rstrip(")").split(","))
        return 10.0 ** (precision - scale)
    return 1e38 if type_ == "HUGEINT" else None


def tick() -> exp.Expression:
    """The number of the tick, a parameter."""
    return exp.cast(exp.Parameter(this=exp.var(TICK_NUMBER)), "BIGINT")


def same(names: Sequence[str], left: str, right: str) -> exp.Condition:
    """Equality of columns of two relations, NULL equal to NULL."""
    pairs = [exp.NullSafeEQ(this=column(name, left), expression=column(name, right)) for name in names]
    return exp.and_(*pairs) if pairs else exp.true()


def semi(rows: exp.Select, other: exp.Select, names: Sequence[str]) -> exp.Select:
    """The rows whose `names` occur in `other`."""
    on = same(names, "l", "d")
    return (
        exp.select("l.*")
        .from_(rows.subquery("l", copy=False))
        .join(other.subquery("d", copy=False), on=on, join_type="semi", copy=False)
    )


class KeyedLog:
    """Groups without a window: one pane, one slice."""

    identity: ClassVar[tuple[str, ...]] = ()
    keyed_windows: ClassVar[bool] = False

    def __init__(self, shape: LogShape) -> None:
        self._shape = shape

    def reduce(self, rows: exp.Select) -> exp.Select:
        return grouped(self._shape, rows, [(SLICE, exp.cast(number(0), "BIGINT"))]).select(
            exp.alias_(exp.cast(number(0), "BIGINT"), LATE_WINDOWS)
        )

    def closing(self, log: StateLog, low_us: int, high_us: int) -> exp.Select:
        return self._merge(log.select())

    def touched(self, log: StateLog, low_us: int, high_us: int, before: bool) -> exp.Select:
        rows = exp.select("*").from_(log.select(before=tick() if before else None).subquery("rows", copy=False))
        return self._merge(semi(rows, log.tick_rows(tick()), self._shape.keys))

    def open_from(self, closed_us: int) -> int | None:
        return None

    def reclaim(self, log: StateLog, closed_us: int) -> None:
        merge = merged(self._shape, exp.select("*").from_("log"), [column(SLICE)], [column(SLICE)])
        log.compact(merge, None, too_large(self._shape, log))

    def _merge(self, log: exp.Query) -> exp.Select:
        keys = [column(key) for key in self._shape.keys]
        query = merged(self._shape, log, [], [])
        return (
            query.order_by(*keys)
            if keys
            else query.having(exp.GT(this=exp.Count(this=exp.Star()), expression=number(0)))
        )
