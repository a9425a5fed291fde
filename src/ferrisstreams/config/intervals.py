"""Lengths of time as text: the one reading of them, for settings, windows, watermarks and expressions.

As in the engine an interval has months, days and microseconds, which do not become one another: a day is not always 24
hours to whoever adds it to a date, and 48 hours are not shown as 2 days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_DAY_US = 86_400_000_000

#: Each unit's one name, how many of its part it is, and the words for it. The parts are those of the engine.
_UNITS = {
    "microseconds": (
        ("HOUR", 3_600_000_000, ("h", "hr", "hrs", "hour", "hours")),
        ("MINUTE", 60_000_000, ("m", "min", "mins", "minute", "minutes")),
        ("SECOND", 1_000_000, ("s", "sec", "secs", "second", "seconds")),
        ("MILLISECOND", 1_000, ("ms", "msec", "msecs", "millisecond", "milliseconds")),
        ("MICROSECOND", 1, ("us", "usec", "usecs", "microsecond", "microseconds")),
    ),
    "days": (("DAY", 1, ("d", "day", "days")), ("WEEK", 7, ("w", "week", "weeks"))),
    "months": (
        ("MONTH", 1, ("mon", "mons", "month", "months")),
        ("QUARTER", 3, ("quarter", "quarters")),
        ("YEAR", 12, ("y", "yr", "yrs", "year", "years")),
        ("DECADE", 120, ("decade", "decades")),
        ("CENTURY", 1_200, ("c", "century", "centuries")),
        ("MILLENNIUM", 12_000, ("millennium", "millennia", "millenniums")),
    ),
}

#: A unit of time by each of its words: its part, how many of that it is, and its one name.
UNITS = {word: (part, size, name) for part, units in _UNITS.items() for name, size, words in units for word in words}

_MONTHS_MAX, _DAYS_MAX, _MICROSECONDS_MAX = 2**31 - 1, 2**31 - 1, 2**62

_PART = re.compile(r"\s*,?\s*([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)\s*([A-Za-z]+)")
_CLOCK = re.compile(r"\s*,?\s*([+-]?)(\d{1,9}):([0-5]?\d)(?::([0-5]?\d(?:\.\d*)?))?\s*")
_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)\s*")


@dataclass(frozen=True, slots=True)
class Interval:
    """Months, days and microseconds, each with its own sign."""

    months: int
    days: int
    microseconds: int

    @property
    def length_us(self) -> int | None:
        """Microseconds, when it has a fixed length: a month has none."""
        total = self.days * _DAY_US + self.microseconds
        return None if self.months or abs(total) > _MICROSECONDS_MAX else total

    def parts(self) -> list[tuple[int, str]]:
        """The numbers that are not zero, each with the largest unit of its part that needs no fraction."""
        found = []
        if self.months:
            found.append((self.months // 12, "YEAR") if self.months % 12 == 0 else (self.months, "MONTH"))
        if self.days:
            found.append((self.days, "DAY"))
        if self.microseconds or not found:
            units = _UNITS["microseconds"]
            unit, size = next((name, size) for name, size, _ in units if self.microseconds % size == 0)
            found.append((self.microseconds // size, unit) if self.microseconds else (0, "SECOND"))
        return found


def read_interval(text: str) -> Interval:
    """`5 minutes`, `1h30m`, `1 day -2 hours`, `01:30:00.5`, `2 weeks ago`. Raises ValueError with what is wrong."""
    rest, ago = text.strip().removeprefix("@"), False
    if rest.lower().endswith("ago") and not rest[-4:-3].isalpha():
        rest, ago = rest[:-3].rstrip(), True
    found, at = _Sum(), 0
    while at < len(rest.rstrip()):
        clock, part = _CLOCK.match(rest, at), _PART.match(rest, at)
        if clock is not None and clock.end() >= len(rest.rstrip()):
            seconds = int(clock[2]) * 3600 + int(clock[3]) * 60 + Fraction(clock[4] or 0)
            found.add(-seconds if clock[1] == "-" else seconds, "second")
            at = clock.end()
        elif part is not None:
            found.add(_fraction(part[1]), part[2])
            at = part.end()
        else:
            raise ValueError(_unread(text, rest[at:]))
    if at == 0:
        raise ValueError(f"'{text}' is not a length of time")
    return found.interval(text, -1 if ago else 1)


def read_amount(amount: str, unit: str) -> Interval:
    """A number written beside its unit. Raises ValueError with what is wrong."""
    number = _NUMBER.fullmatch(amount)
    if number is None:
        raise ValueError(f"'{amount}' is not a number of units {unit}")
    found = _Sum()
    found.add(_fraction(number[1]), unit)
    return found.interval(f"{amount} {unit}", 1)


def _fraction(number: str) -> Fraction:
    return Fraction(number.rstrip("."))


def _unread(text: str, rest: str) -> str:
    if _NUMBER.fullmatch(rest):
        return f"'{text}' has a number without a unit"
    return f"'{text}' is not a length of time"


class _Sum:
    """What the parts of an interval come to, each in its own kind."""

    def __init__(self) -> None:
        self._sums = {"months": Fraction(0), "days": Fraction(0), "microseconds": Fraction(0)}

    def add(self, number: Fraction | int, word: str) -> None:
        if word.lower() not in UNITS:
            raise ValueError(f"{word} is not a unit of time")
        part, size, _ = UNITS[word.lower()]
        self._sums[part] += number * size

    def interval(self, text: str, sign: int) -> Interval:
        """A fraction of a day is hours; one of a month or a microsecond is nothing that there is."""
        months, days = self._sums["months"], self._sums["days"]
        whole_days = int(days)
        microseconds = self._sums["microseconds"] + (days - whole_days) * _DAY_US
        if months.denominator != 1:
            raise ValueError(f"'{text}' is not a whole number of months")
        if microseconds.denominator != 1:
            raise ValueError(f"'{text}' is not a whole number of microseconds")
        made = Interval(sign * int(months), sign * whole_days, sign * int(microseconds))
        if abs(made.months) > _MONTHS_MAX or abs(made.days) > _DAYS_MAX or abs(made.microseconds) > _MICROSECONDS_MAX:
            raise ValueError(f"'{text}' is too long")
        return made
