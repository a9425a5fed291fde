"""What the logs of aggregates share: rows grouped into partial results, and partial results merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.operators.aggregates import PLACE, AggregatePlan, struct
from ferrisstreams.operators.windows import number

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


def too_large(shape: LogShape, types: Mapping[str, str]) -> exp.Condition | None:
    """Whether a row of the log holds a sum so large that the sum of many would not fit; None: no row can."""
    conditions = []
    for name in shape.aggregates.summed:
        most = _greatest(types[name])
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
