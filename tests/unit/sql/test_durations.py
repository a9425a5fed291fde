"""Lengths of time in every spelling."""

from __future__ import annotations

import pytest
from sqlglot import exp, parse_one

from ferrisstreams.sql.durations import duration_of, interval_of, parse_duration

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("5 minutes", 300 * SECOND),
        ("5m", 300 * SECOND),
        ("100ms", 100_000),
        ("1h", 3600 * SECOND),
        ("2 d", 172_800 * SECOND),
        ("1 hour 30 minutes", 5400 * SECOND),
        ("1 HOUR, 1 second", 3601 * SECOND),
        ("0.5 s", 500_000),
        ("0 s", 0),
        ("", None),
        ("5", None),
        ("minutes", None),
        ("1 month", None),
        ("5 fortnights", None),
        ("-5 s", None),
        ("0.0000001 s", None),
        ("99999999999999999999 d", None),
        ("5 s and more", None),
    ],
)
def test_text_is_a_length_or_not(text: str, length: int | None) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text", ["INTERVAL '90' SECOND", "INTERVAL 90 SECOND", "INTERVAL '90 seconds'", "'90s'", "(INTERVAL '1.5' MINUTE)"]
)
def test_interval_is_a_length(text: str) -> None:
    tree = parse_one(text, dialect="duckdb")
    assert isinstance(tree, exp.Expression)
    assert duration_of(tree) == 90 * SECOND


def test_canonical_interval_uses_the_largest_unit() -> None:
    lengths = (1, 1_500, 90 * SECOND, 7200 * SECOND, 86_400 * SECOND)
    texts = [interval_of(length).sql("duckdb") for length in lengths]
    units = ["1' MICROSECOND", "1500' MICROSECOND", "90' SECOND", "2' HOUR", "1' DAY"]
    assert texts == [f"INTERVAL '{unit}" for unit in units]
