"""Lengths of time as written in SQL, in microseconds: `INTERVAL '5' MINUTE`, `'5 minutes'`, `5m`."""

from __future__ import annotations

import re

from sqlglot import exp

_UNITS_US = {
    "us": 1, "microsecond": 1, "microseconds": 1,
    "ms": 1_000, "millisecond": 1_000, "milliseconds": 1_000,
    "s": 1_000_000, "sec": 1_000_000, "second": 1_000_000, "seconds": 1_000_000,
    "m": 60_000_000, "min": 60_000_000, "minute": 60_000_000, "minutes": 60_000_000,
    "h": 3_600_000_000, "hour": 3_600_000_000, "hours": 3_600_000_000,
    "d": 86_400_000_000, "day": 86_400_000_000, "days": 86_400_000_000,
    "week": 604_800_000_000, "weeks": 604_800_000_000,
}  # fmt: skip

#: Units of no fixed length: recognised so that the error can say why they are refused.
CALENDAR_UNITS = frozenset({"month", "months", "quarter", "quarters", "year", "years"})

_CANONICAL = (
    ("DAY", 86_400_000_000),
    ("HOUR", 3_600_000_000),
    ("MINUTE", 60_000_000),
    ("SECOND", 1_000_000),
    ("MILLISECOND", 1_000),
    ("MICROSECOND", 1),
)

_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*,?")

#: The longest length that fits a signed 64-bit count of microseconds with room for sums.
LENGTH_US_MAX = 2**62


def is_unit(word: str) -> bool:
    return word.lower() in _UNITS_US or word.lower() in CALENDAR_UNITS


def parse_duration(text: str) -> int | None:
    """Microseconds of `5 minutes`, `1h`, `1 hour 30 minutes`; None when it is not a length of fixed size."""
    at, total = 0, 0.0
    while at < len(text.rstrip()):
        part = _PART.match(text, at)
        if part is None or part[2].lower() not in _UNITS_US:
            return None
        unit = _UNITS_US[part[2].lower()]
        total += int(part[1]) * unit if part[1].isdigit() else float(part[1]) * unit
        at = part.end()
    return _whole(total) if at else None


def duration_of(node: exp.Expr) -> int | None:
    """Microseconds of an interval or of a text literal; None when it is neither or has no fixed size."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Interval):
        unit = node.args.get("unit")
        amount = node.this
        if not isinstance(amount, exp.Literal):
            return None
        return parse_duration(f"{amount.name} {unit.name}" if unit is not None else amount.name)
    if isinstance(node, exp.Cast) and node.to.is_type(exp.DType.INTERVAL):
        node = node.this
    if isinstance(node, exp.Literal) and node.is_string:
        return parse_duration(node.name)
    return None


def interval_of(length_us: int) -> exp.Interval:
    """The canonical interval of a length: the largest unit that divides it."""
    unit, size = next((unit, size) for unit, size in _CANONICAL if length_us % size == 0)
    return exp.Interval(this=exp.Literal.string(str(length_us // size)), unit=exp.var(unit))


def _whole(total: float) -> int | None:
    if total > LENGTH_US_MAX or total != int(total):
        return None
    return int(total)
