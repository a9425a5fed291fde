"""Times for people and machines: ISO 8601 in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta

#: 400 years.
_CALENDAR_CYCLE_US = 146_097 * 24 * 60 * 60 * 1_000_000


def iso_time(time_us: int | None) -> str | None:
    """A time as ISO 8601 UTC, also one beyond the year 9999; None stays None."""
    if time_us is None:
        return None
    # The calendar repeats after 400 years, and Python's ends with the year 9999.
    cycles, rest_us = divmod(time_us, _CALENDAR_CYCLE_US)
    time = datetime(1970, 1, 1) + timedelta(microseconds=rest_us)
    return f"{time.year + 400 * cycles:04}{time.isoformat()[4:]}Z"
