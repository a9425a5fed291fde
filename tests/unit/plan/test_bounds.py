"""What a query keeps, and whether anything bounds it."""

from __future__ import annotations

import pytest

from ferrisstreams.compile.compiler import state_kinds
from ferrisstreams.plan.bounds import growths, kept_state
from ferrisstreams.plan.nodes import Aggregate
from ferrisstreams.plan.stages import cut
from ferrisstreams.sql.application import parse_application

STREAM = "CREATE STREAM t (a INT, b VARCHAR, ts TIMESTAMP{time}) WITH (path = 'x', watch = true); "


def grown(query: str, time: str = ", WATERMARK FOR ts AS ts") -> list[str]:
    job = parse_application(STREAM.format(time=time) + query, "app.sql").jobs[0]
    return [str(growth) for growth in growths(job.plan, state_kinds)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM t",
        "SELECT count(*) AS n, sum(a) AS s FROM t",
        "SELECT b, median(a) AS m FROM t GROUP BY b, TUMBLE(ts, 1m)",
        "SELECT b, count(*) AS n FROM t GROUP BY b, SESSION(ts, 1m)",
        "SELECT window_start, max(n) AS m FROM (SELECT window_start, count(*) AS n FROM t GROUP BY TUMBLE(ts, 1m)) AS q"
        " GROUP BY window_start",
    ],
)
def test_windows_and_one_row_are_bounded(query: str) -> None:
    assert grown(query) == []


@pytest.mark.parametrize(
    ("query", "operator", "grows", "remedy"),
    [
        ("SELECT b, count(*) AS n FROM t GROUP BY b", "GROUP BY b", "each new b", "a window over ts"),
        (
            "SELECT lower(b) AS l, a, max(a) AS n FROM t GROUP BY lower(b), a",
            "LOWER(b), a",
            "each new LOWER(b), a",
            "ts",
        ),
        ("SELECT median(a) AS m FROM t", "the aggregate over all rows", "each row that it takes", "a window over ts"),
        (
            "SELECT b, max(n) AS m FROM (SELECT b, count(*) AS n FROM t GROUP BY b, TUMBLE(ts, 1m)) AS q GROUP BY b",
            "GROUP BY b",
            "each new b",
            "a window over window_end",
        ),
    ],
)
def test_state_that_nothing_bounds_says_what_would(query: str, operator: str, grows: str, remedy: str) -> None:
    (found,) = grown(query)
    assert f"{operator}: it grows with {grows}" in found
    assert f"{remedy} as one more key would bound it" in found


def test_without_event_time_it_is_to_be_declared() -> None:
    (found,) = grown("SELECT b, count(*) AS n FROM t GROUP BY b", time="")
    assert "a window over event time (declare its WATERMARK) as one more key" in found


def test_each_level_is_looked_at() -> None:
    query = "SELECT n, count(*) AS groups FROM (SELECT b, count(*) AS n FROM t GROUP BY b) AS q GROUP BY n EMIT FINAL"
    below, above = grown(query)
    assert "a window over ts" in below
    assert "a window in the query below" in above


def test_values_are_kept_where_parts_cannot_be_merged() -> None:
    text = STREAM.format(time="") + "SELECT b, median(a) AS m, count(*) AS n FROM t GROUP BY b"
    (operator,) = cut(parse_application(text, "app.sql").jobs[0].plan).operators
    kept = kept_state(operator.node, state_kinds(operator.node))
    assert kept.holds == "the values for each b, because MEDIAN(a) cannot be merged from parts"
    assert kept.read == "the keys of each tick, by a scan of the log"


@pytest.mark.parametrize(
    ("call", "holds", "grows"),
    [
        ("sum(n)", "counts and sums for each b", "each new b"),
        ("max(n)", "the values for each b", "each row that stands"),
        ("avg(n)", "the values for each b", "each row that stands"),
    ],
)
def test_over_a_table_values_are_kept_where_a_total_does_not_do(call: str, holds: str, grows: str) -> None:
    text = "CREATE TABLE u (a INT PRIMARY KEY, b VARCHAR, n INT) WITH (path = 'x');"
    plan = parse_application(f"{text} SELECT b, count(*) AS n, {call} AS s FROM u GROUP BY b", "app.sql").jobs[0].plan
    node = next(operator.node for operator in cut(plan).operators if isinstance(operator.node, Aggregate))
    kept = kept_state(node, state_kinds(node))
    assert kept.holds == f"{holds}, with how often each row stands, because its input changes"
    (growth,) = growths(plan, state_kinds)
    assert str(growth).endswith(f"it grows with {grows}; it shrinks as rows are taken back")
