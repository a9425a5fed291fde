"""Windows as arithmetic on microseconds: slices, first and last window of a row, lateness.

A window is kept as *slices* of the greatest width that divides both size and slide; an emission merges the slices of a
window. Tumbling is the case of one slice a window. All expressions are BIGINT microseconds since 1970 UTC.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from sqlglot import exp

from ferrisstreams.plan.nodes import Window, WindowKind

#: "No bound yet": far before any event time, with room for arithmetic.
NEVER_US = -(2**61)

#: Event times lie within this distance of 1970 (36,500 years): arithmetic on them cannot overflow.
TIME_MAX_US = 2**60


@dataclass(frozen=True, slots=True)
class Lateness:
    """When a row is late. With `update`, windows are emitted at their end and again on changes."""

    delay_us: int
    allowed_us: int
    update: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The rows of a batch in one slice: its start, and the ordinals of the first and the last of them."""

    start: int
    first_row: int
    last_row: int


def slice_us(window: Window) -> int:
    """Width of a slice: the greatest common divisor of size and slide."""
    return math.gcd(window.size_us, window.slide_us)


def number(value: int) -> exp.Expression:
    """A BIGINT literal."""
    literal = exp.Literal.number(abs(value))
    return exp.Paren(this=exp.Neg(this=literal)) if value < 0 else literal


def floor_to(value: exp.Expression, width: int, origin: int) -> exp.Expression:
    """The greatest `origin + n * width` at or before `value`.

    DuckDB's `%` takes the sign of the dividend: the value is first moved by many widths to where it is positive.
    """
    lift = -(-2 * TIME_MAX_US // width) * width - origin % width
    remainder = exp.Mod(this=exp.paren(exp.Add(this=value.copy(), expression=number(lift))), expression=number(width))
    return exp.paren(exp.Sub(this=value.copy(), expression=remainder))


def floor_us(value: int, width: int, origin: int) -> int:
    """The same on numbers."""
    return (value - origin) // width * width + origin


def last_start(window: Window, time: exp.Expression) -> exp.Expression:
    """Start of the last window that holds `time`; of cumulating ones, of all of them."""
    width = window.size_us if window.kind is WindowKind.CUMULATE else window.slide_us
    return floor_to(time, width, window.origin_us)


def first_start(window: Window, time: exp.Expression) -> exp.Expression:
    """Start of the first window that holds `time`."""
    before = exp.paren(exp.Sub(this=time.copy(), expression=number(window.size_us)))
    return exp.paren(floor_to(before, window.slide_us, window.origin_us) + number(window.slide_us))


def is_late(window: Window, time: exp.Expression, last: exp.Expression, closed: exp.Expression) -> exp.Expression:
    """Whether a row at `time`, whose last window starts at `last`, is late when all up to `closed` is closed."""
    if window.kind is WindowKind.SESSION:
        return exp.LT(this=time.copy(), expression=closed.copy())
    end = exp.Add(this=last.copy(), expression=number(window.size_us))
    return exp.LTE(this=end, expression=closed.copy())


def none_is_late(spans: Sequence[Span], size_us: int, slack_us: int, closed_us: int) -> bool:
    """Whether no row of a batch can be late for its tumbling window; False where it takes a closer look.

    A row is late when its window has ended by `closed_us`, or when a row before it is `slack_us` (delay and allowed
    lateness) behind the window's end. Only rows of windows that start more than the slack later can be.
    """
    ordered = sorted(spans)
    if not ordered or ordered[0].start + size_us <= closed_us:
        return not ordered
    starts = [span.start for span in ordered]
    earliest = list(accumulate((span.first_row for span in reversed(ordered)), min))[::-1]
    for span in ordered:
        later = bisect_right(starts, span.start + slack_us)
        if later < len(ordered) and earliest[later] < span.last_row:
            return False
    return True


def first_open_start(window: Window, time: exp.Expression, closed: exp.Expression) -> exp.Expression:
    """Start of the first window that holds `time` and is not closed."""
    return exp.Greatest(this=first_start(window, time), expressions=[first_start(window, closed)], ignore_nulls=True)
