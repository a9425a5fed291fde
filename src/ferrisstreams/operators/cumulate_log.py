"""The state of cumulating windows: slices of one step.

The windows of one size begin together and end one step after another: a slice counts for every window of its size that
ends behind it.
"""

from __future__ import annotations

from typing import ClassVar

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE, StateLog
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.log import (
    CLOSED,
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
from ferrisstreams.operators.windows import floor_to, floor_us, number
from ferrisstreams.plan.nodes import Window

#: The first window end that a partial result counts for: a row can be late for the shorter windows of its slice.
FROM = "_from"


class CumulateLog:
    """Groups by slice and keys, and by the first window that a partial counts for."""

    identity: ClassVar[tuple[str, ...]] = (STOP,)
    keyed_windows: ClassVar[bool] = False

    def __init__(self, shape: LogShape, window: Window) -> None:
        self._shape = shape
        self._window = window

    def reduce(self, rows: exp.Select) -> exp.Select:
        shortest = self._end_behind(column(TIME))
        open_ = exp.Greatest(this=shortest, expressions=[self._end_behind(column(CLOSED))], ignore_nulls=True)
        skipped = exp.IntDiv(
            this=exp.paren(exp.Sub(this=open_.copy(), expression=shortest.copy())),
            expression=number(self._window.slide_us),
        )
        late = exp.cast(function("coalesce", exp.Sum(this=_if_kept(skipped)), number(0)), "BIGINT")
        place = floor_to(column(TIME), self._window.slide_us, self._window.origin_us)
        groups = [(SLICE, _if_kept(place)), (FROM, _if_kept(open_))]
        return grouped(self._shape, rows, groups).select(exp.alias_(late, LATE_WINDOWS))

    def closing(self, log: StateLog, low_us: int, high_us: int) -> exp.Select:
        return self._merge(self._rows_between(log, low_us, high_us, None))

    def touched(self, log: StateLog, low_us: int, high_us: int, before: bool) -> exp.Select:
        rows = self._rows_between(log, low_us, high_us, tick() if before else None)
        batch = self._with_windows(log.tick_rows(tick()), low_us, high_us)
        return self._merge(semi(rows, batch, (STOP, *self._shape.keys)))

    def open_from(self, closed_us: int) -> int:
        # Slices of sizes that have ended are in closed windows only.
        return floor_us(closed_us, self._window.size_us, self._window.origin_us)

    def reclaim(self, log: StateLog, closed_us: int) -> None:
        open_us = self.open_from(closed_us)
        log.drop_before(open_us)
        places = [column(SLICE), column(FROM)]
        merge = merged(self._shape, exp.select("*").from_("log"), places, places)
        log.compact(merge, open_us, too_large(self._shape, log))

    # --- private ----------------------------------------------------------------------------------------------------

    def _end_behind(self, time: exp.Expression) -> exp.Expression:
        """The first end of a window behind `time`."""
        step = self._window.slide_us
        return exp.paren(exp.Add(this=floor_to(time, step, self._window.origin_us), expression=number(step)))

    def _rows_between(self, log: StateLog, low_us: int, high_us: int, before: exp.Expression | None) -> exp.Select:
        """The log's rows with `_start` and `_stop`, once for each of their windows that end in `(low, high]`."""
        rows = log.select(low_us - self._window.size_us, high_us, before)
        return self._with_windows(exp.select("*").from_(rows.subquery("rows")), low_us, high_us)

    def _with_windows(self, rows: exp.Select, low_us: int, high_us: int) -> exp.Select:
        window = self._window
        step, origin = window.slide_us, window.origin_us
        start = floor_to(column(SLICE), window.size_us, origin)
        first = exp.Greatest(
            this=column(FROM), expressions=[number(floor_us(low_us, step, origin) + step)], ignore_nulls=True
        )
        longest = exp.Add(this=start.copy(), expression=number(window.size_us))
        last = exp.Least(this=longest, expressions=[number(floor_us(high_us, step, origin))], ignore_nulls=True)
        stops = function("range", first, exp.Add(this=last, expression=number(1)), number(step))
        inside = rows.where(column(SLICE) > number(low_us - window.size_us), column(SLICE) < number(high_us))
        return exp.select("*", exp.alias_(start, START), exp.alias_(function("unnest", stops), STOP)).from_(
            inside.subquery("slices")
        )

    def _merge(self, rows: exp.Select) -> exp.Select:
        bounds = [column(START), column(STOP)]
        query = merged(self._shape, rows, bounds, bounds)
        return query.order_by(column(STOP), column(START), *[column(key) for key in self._shape.keys])


def _if_kept(value: exp.Expression) -> exp.Expression:
    return exp.Case().when(column(OUTCOME).eq(0), value)
