"""The state of tumbling and hopping windows: slices."""

from __future__ import annotations

from typing import ClassVar

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE, StateLog
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.log import (
    CLOSED,
    LAST_START,
    LATE_WINDOWS,
    OUTCOME,
    START,
    STOP,
    TIME,
    LogShape,
    grouped,
    merged,
    semi,
    tick,
    too_large,
)
from ferrisstreams.operators.windows import (
    first_open_start,
    first_start,
    floor_to,
    floor_us,
    last_start,
    number,
    slice_us,
)
from ferrisstreams.plan.nodes import Window, WindowKind

#: The first window start that a partial result counts for: a row that was late for earlier windows of its slice.
FROM = "_from"


class WindowLog:
    """Groups by slice and keys. A hopping window also keeps from which window on a partial counts."""

    identity: ClassVar[tuple[str, ...]] = (START,)
    keyed_windows: ClassVar[bool] = False

    def __init__(self, shape: LogShape, window: Window) -> None:
        self._shape = shape
        self._window = window
        self.hops = window.size_us != window.slide_us and window.kind is not WindowKind.GIVEN

    def reduce(self, rows: exp.Select) -> exp.Select:
        window = self._window
        # The slice of a tumbling window is the window itself, whose start the row statement has made already.
        place = floor_to(column(TIME), slice_us(window), window.origin_us) if self.hops else column(LAST_START)
        groups = [(SLICE, _if_kept(place))]
        late: exp.Expression = exp.cast(number(0), "BIGINT")
        if self.hops:
            start = first_open_start(window, column(TIME), column(CLOSED))
            groups.append((FROM, _if_kept(start)))
            hops = exp.Sub(this=start.copy(), expression=first_start(window, column(TIME)))
            skipped = exp.IntDiv(this=exp.paren(hops), expression=number(window.slide_us))
            late = exp.cast(function("coalesce", exp.Sum(this=_if_kept(skipped)), number(0)), "BIGINT")
        return grouped(self._shape, rows, groups).select(exp.alias_(late, LATE_WINDOWS), copy=False)

    def reduce_in_order(self, rows: exp.Select) -> exp.Select:
        """The same for tumbling windows when no row is late. Rows that are not kept have their slice too."""
        groups = [(SLICE, column(LAST_START))]
        late = exp.cast(number(0), "BIGINT")
        return grouped(self._shape, rows, groups, spans=True).select(exp.alias_(late, LATE_WINDOWS), copy=False)

    def closing(self, log: StateLog, low_us: int, high_us: int) -> exp.Select:
        return self._merge(self._rows_between(log, low_us, high_us, None))

    def touched(self, log: StateLog, low_us: int, high_us: int, before: bool) -> exp.Select:
        rows = self._rows_between(log, low_us, high_us, tick() if before else None)
        batch = self._with_starts(log.tick_rows(tick()), low_us, high_us)
        return self._merge(semi(rows, batch, (START, *self._shape.keys)))

    def open_from(self, closed_us: int) -> int:
        # The last window that holds a slice ends at most one size after the slice begins.
        return closed_us - self._window.size_us + 1

    def reclaim(self, log: StateLog, closed_us: int) -> None:
        open_us = self.open_from(closed_us)
        log.drop_before(open_us)
        places = [column(SLICE), column(FROM)] if self.hops else [column(SLICE)]
        merge = merged(self._shape, exp.select("*").from_("log"), places, places)
        log.compact(merge, open_us, too_large(self._shape, log))

    # --- private ----------------------------------------------------------------------------------------------------

    def _rows_between(self, log: StateLog, low_us: int, high_us: int, before: exp.Expression | None) -> exp.Select:
        """The log's rows with `_start`, once for each of their windows that end in `(low, high]`."""
        rows = log.select(low_us - self._window.size_us, high_us, before)
        return self._with_starts(exp.select("*").from_(rows.subquery("rows", copy=False)), low_us, high_us)

    def _with_starts(self, rows: exp.Select, low_us: int, high_us: int) -> exp.Select:
        window = self._window
        least = low_us - window.size_us + 1
        most = floor_us(high_us - window.size_us, window.slide_us, window.origin_us)
        if not self.hops:
            inside = rows.where(column(SLICE) >= number(least), column(SLICE) <= number(most), copy=False)
            return exp.select("*", exp.alias_(column(SLICE), START)).from_(inside.subquery("slices", copy=False))
        first = -floor_us(-least, window.slide_us, -window.origin_us)
        begin = exp.Greatest(this=column(FROM), expressions=[number(first)], ignore_nulls=True)
        end = exp.Least(this=last_start(window, column(SLICE)), expressions=[number(most)], ignore_nulls=True)
        starts = function("range", begin, exp.Add(this=end, expression=number(1)), number(window.slide_us))
        inside = rows.where(
            column(SLICE) > number(low_us - window.size_us), column(SLICE) < number(high_us), copy=False
        )
        return exp.select("*", exp.alias_(function("unnest", starts), START)).from_(
            inside.subquery("slices", copy=False)
        )

    def _merge(self, rows: exp.Select) -> exp.Select:
        stop = exp.alias_(exp.Add(this=column(START), expression=number(self._window.size_us)), STOP)
        query = merged(self._shape, rows, [column(START), stop], [column(START)])
        return query.order_by(column(START), *[column(key) for key in self._shape.keys], copy=False)


def _if_kept(value: exp.Expression) -> exp.Expression:
    return exp.Case().when(column(OUTCOME).eq(0), value)
