"""Windows as arithmetic on microseconds: slices, first and last window of a row, lateness.

A window is kept as *slices* of the greatest width that divides both size and slide; an emission merges the slices of a
window. Tumbling is the case of one slice a window. All expressions are BIGINT microseconds since 1970 UTC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def first_open_start(window: Window, time: exp.Expression, closed: exp.Expression) -> exp.Expression:
    """Start of the first window that holds `time` and is not closed."""
    return exp.Greatest(this=first_start(window, time), expressions=[first_start(window, closed)], ignore_nulls=True)
