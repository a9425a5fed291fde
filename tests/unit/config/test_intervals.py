"""One reading of lengths of time: the engine's, where that is exact."""

from __future__ import annotations

import pytest

from ferrisstreams.config.intervals import Interval, read_amount, read_interval
from ferrisstreams.config.kinds import parse_duration_ms
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.sql.durations import interval_tree

SECOND = 1_000_000

AS_THE_ENGINE = (
    "5 minutes", "3 mins", "5m", "1h30m", "1.5 hours", "1.5 days", "1.5 years", "48 hours", "1 day 2 hours", "01:30:00",
    "-01:30", "-5 minutes", "1 day -2 hours", "@ 1 minute", "2 hours ago", "1 quarter", "1 decade", "2 weeks",
    "1 century", "1 millennium", "5 usec", "5 us", "5 msec", "5 secs", "5 hrs", "5 yr", "5 mons", "5 w", "5 c",
    "1 day 01:30", "1 hour 30 minutes ago", "1.5 weeks", "0.1 days", "1 day 1 day", "25:00:00", "-1 day 2 hours",
    "1:05:07.25", "-1.5 days", "0 s", "1 week 1 month 1.5 s", "1 DECADE 3 C",
)  # fmt: skip


def test_text_means_what_the_engine_reads() -> None:
    engine = Engine(EngineSettings())
    for text in AS_THE_ENGINE:
        tree = interval_tree(read_interval(text))
        assert engine.work.rows(f"SELECT CAST({tree.sql('duckdb')} AS TEXT)") == engine.work.rows(
            "SELECT CAST(CAST($text AS INTERVAL) AS TEXT)", {"text": text}
        ), text
    engine.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", "has a number without a unit"), ("1 day 5", "has a number without a unit"),
        ("1.5 months", "not a whole number of months"), ("0.3 us", "not a whole number of microseconds"),
        ("5 fortnights", "fortnights is not a unit of time"), ("1:70:00", "not a length of time"),
        ("P1D", "not a length of time"), ("", "not a length of time"), ("minutes", "not a length of time"),
        ("99999999999 days", "too long"), ("99999999999999999999 s", "too long"), ("5 s and more", "not a length"),
        ("1e3 s", "e is not a unit of time"), ("ago", "not a length of time"), ("1 dow", "dow is not a unit"),
    ],
)  # fmt: skip
def test_text_that_is_no_exact_length_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_interval(text)


@pytest.mark.parametrize(
    ("amount", "unit", "interval"),
    [
        ("1.5", "HOUR", Interval(0, 0, 5400 * SECOND)), ("48", "HOUR", Interval(0, 0, 172_800 * SECOND)),
        ("-2", "days", Interval(0, -2, 0)), ("+3", "mins", Interval(0, 0, 180 * SECOND)),
        ("1.5", "DAY", Interval(0, 1, 43_200 * SECOND)), ("0.25", "YEAR", Interval(3, 0, 0)),
        (".5", "s", Interval(0, 0, 500_000)), (" 7 ", "WEEK", Interval(0, 49, 0)),
        ("9007199254740993", "MICROSECOND", Interval(0, 0, 2**53 + 1)),
    ],
)  # fmt: skip
def test_number_beside_its_unit_is_exact(amount: str, unit: str, interval: Interval) -> None:
    assert read_amount(amount, unit) == interval


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1 hour 30 minutes", 5_400_000), ("1w", 604_800_000), ("250us", 0.25), ("0", 0), ("00:01", 60_000)],
)
def test_setting_reads_lengths_alike(text: str, ms: float) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["-5s", "1 month", "5", "5 minuts"])
def test_setting_has_a_fixed_length_that_is_not_negative(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration_ms(text)
