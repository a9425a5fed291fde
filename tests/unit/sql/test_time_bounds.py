"""Bounds of a join in time: what a condition says of how far two times are apart is what the engine says of it."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from ferrisstreams.sql.dialect import Ferris
from ferrisstreams.sql.time_bounds import Interval, TimeCondition, time_condition

LEFT, RIGHT = frozenset({"l", "l2"}), frozenset({"r"})
AT = datetime(2024, 5, 1, 10)

TIMES = st.builds(
    lambda form, column, sign, number, unit: form.format(
        column=column, sign=sign, length=f"INTERVAL '{number}' {unit}"
    ),
    st.sampled_from(
        (
            "{column}",
            "({column})",
            "{column} {sign} {length}",
            "({column} {sign} {length}) - {length}",
            "{length} + {column}",
        ),
    ),
    st.sampled_from("lr"),
    st.sampled_from("+-"),
    st.integers(0, 3),
    st.sampled_from(["MICROSECOND", "SECOND"]),
)
CONDITIONS = st.one_of(
    st.builds("{} {} {}".format, TIMES, st.sampled_from(["<", "<=", ">", ">=", "="]), TIMES),
    st.builds("{} BETWEEN {} AND {}".format, TIMES, TIMES, TIMES),
)
#: How far the right time is behind the left one.
APART = [*range(-8, 9), *(s * 1_000_000 + us for s in (-7, -3, -2, -1, 1, 2, 3, 7) for us in (-3, -1, 0, 1, 3))]


def condition(text: str) -> TimeCondition | None:
    tree = sqlglot.parse_one(text, dialect=Ferris)
    assert isinstance(tree, exp.Expression)
    return time_condition(tree, LEFT, RIGHT)


@settings(deadline=None)
@given(text=CONDITIONS)
def test_interval_holds_what_the_engine_takes(text: str) -> None:
    found = condition(text)
    first, *others = (column.name for part in compared(text) for column in part.find_all(exp.Column))
    assert (found is not None) == (first not in others)
    if found is None:
        return
    low, high = found.interval.low_us, found.interval.high_us
    taken = [apart for apart in APART if (low is None or apart >= low) and (high is None or apart <= high)]
    with duckdb.connect() as con:
        times = "SELECT unnest($apart) AS apart, $l AS l, $l + to_microseconds(apart) AS r"
        rows = con.execute(f"SELECT apart FROM ({times}) WHERE {text}", {"l": AT, "apart": APART}).fetchall()
    assert sorted(row[0] for row in rows) == sorted(taken)


def compared(text: str) -> list[exp.Expr]:
    tree = sqlglot.parse_one(text, dialect=Ferris)
    if isinstance(tree, exp.Between):
        return [tree.this, tree.args["low"], tree.args["high"]]
    return [tree.this, tree.expression]


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("r BETWEEN l AND l + INTERVAL '1' SECOND", Interval(0, 1_000_000)),
        ("l BETWEEN r - INTERVAL '1' SECOND AND r", Interval(0, 1_000_000)),
        ("r >= l", Interval(0, None)),
        ("l > r", Interval(None, -1)),
        ("r = l", Interval(0, 0)),
    ],
)
def test_interval_of_a_condition(text: str, interval: Interval) -> None:
    found = condition(text)
    assert found is not None
    assert (found.left, found.right, found.interval) == ("l", "r", interval)


@pytest.mark.parametrize(
    "text",
    [
        "r BETWEEN l AND l2",  # of two columns of one side
        "r > l + INTERVAL '1' MONTH",
        "r > l + x * INTERVAL '1' SECOND",
        "r <> l",
        "r > other",
        "NOT r > l",
        "l > l2",
        "r > TIMESTAMP '2024-05-01 10:00:00'",
    ],
)
def test_other_conditions_are_none(text: str) -> None:
    assert condition(text) is None
