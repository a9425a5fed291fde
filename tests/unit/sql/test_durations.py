"""Intervals in SQL: one meaning wherever they stand, one form."""

from __future__ import annotations

import pytest
from sqlglot import exp

from ferrisstreams.config.intervals import read_interval
from ferrisstreams.sql.dialect import Ferris
from ferrisstreams.sql.durations import canonical_interval, duration_of, interval_tree, parse_duration

SECOND = 1_000_000


def parsed(text: str) -> exp.Expression:
    tree = Ferris().parser().parse(Ferris().tokenize(f"SELECT {text}"), text)[0]
    assert isinstance(tree, exp.Select)
    found = tree.expressions[0]
    assert isinstance(found, exp.Expression)
    return found


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("5 minutes", 300 * SECOND), ("5m", 300 * SECOND), ("100ms", 100_000), ("2 d", 172_800 * SECOND),
        ("1 HOUR, 1 second", 3601 * SECOND), ("0.5 s", 500_000), ("0 s", 0), ("5", None), ("1 month", None),
        ("-5 s", None), ("0.0000001 s", None), ("5 fortnights", None),
    ],
)  # fmt: skip
def test_text_is_a_length_or_not(text: str, length: int | None) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "INTERVAL '90' SECOND", "INTERVAL 90 SECONDS", "INTERVAL '90 secs'", "'90s'", "(INTERVAL '1.5' MINUTE)",
        "INTERVAL 1.5 MINS", "INTERVAL '90' s", "INTERVAL (90) SECOND", "INTERVAL '00:01:30'", "'90 s'::INTERVAL",
        "INTERVAL (-(-90)) SECOND", "INTERVAL '-90 s ago'", "INTERVAL '1 minute 30 seconds'",
    ],
)  # fmt: skip
def test_interval_is_a_length(text: str) -> None:
    assert duration_of(parsed(text)) == 90 * SECOND
    assert canonical_interval(parsed(text)).sql("duckdb") == "INTERVAL '90' SECOND"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1 us", "'1' MICROSECOND"), ("1500 us", "'1500' MICROSECOND"), ("7200 s", "'2' HOUR"), ("48h", "'48' HOUR"),
        ("2 d", "'2' DAY"), ("1 w", "'7' DAY"), ("14 months", "'14' MONTH"), ("24 months", "'2' YEAR"),
        ("1 day 26 hours", "'1 day 26 hours'"), ("0 days", "'0' SECOND"), ("-90 m", "'-90' MINUTE"),
        ("1 mon -1 d 1.5 s", "'1 month -1 day 1500 milliseconds'"),
        ("9007199254740993 us", "'9007199254740993 microseconds'"),
    ],
)  # fmt: skip
def test_form_keeps_months_days_and_time_apart(text: str, form: str) -> None:
    interval = read_interval(text)
    tree = interval_tree(interval)
    assert tree.sql("duckdb") == f"INTERVAL {form}"
    assert canonical_interval(parsed(tree.sql("duckdb"))) == tree


@pytest.mark.parametrize(
    "text", ["interval + 1", "interval - 1", "interval = 5", "interval", "t.interval", "interval * 2"]
)
def test_word_without_a_length_is_a_name(text: str) -> None:
    tree = parsed(text)
    assert not list(tree.find_all(exp.Interval))
    assert [column.name for column in tree.find_all(exp.Column)] == ["interval"]
