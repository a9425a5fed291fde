"""The fingerprint changes exactly when state does."""

from __future__ import annotations

import pytest

from ferrisstreams.plan.fingerprint import fingerprint
from ferrisstreams.sql.application import parse_application

DECLARED = (
    "CREATE STREAM {name} ({columns}, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '{delay}' SECOND) WITH ({with_});"
)
QUERY = "SELECT b, count(*) AS n, sum(a) AS total FROM t WHERE a > 1 GROUP BY b, TUMBLE(ts, 1m)"


def of(
    query: str, name: str = "t", columns: str = "a INT, b VARCHAR", delay: int = 5, with_: str = "path = 'x'"
) -> str:
    text = DECLARED.format(name=name, columns=columns, delay=delay, with_=with_) + query
    return fingerprint(parse_application(text, "app.sql").jobs[0].plan)


def test_fingerprint_is_stable_over_versions() -> None:
    assert of(QUERY) == "931739e1d622199072a29cf9a8b6ecb3d530267ab4c0da0fb23868880fc409a2"


@pytest.mark.parametrize(
    "same",
    [
        "SELECT n + 1 AS m FROM (" + QUERY + ") AS q WHERE n > 5",
        QUERY.replace("a > 1", "a > 100"),
        QUERY.replace("AS n", "AS number"),
        QUERY.replace("1m", "INTERVAL '60 seconds'"),
        QUERY + " EMIT FINAL WITH (connector = 'stdout')",
        QUERY.replace("SELECT b,", "SELECT upper(b) AS u,"),
        QUERY.replace("FROM t", "FROM (SELECT * FROM t) AS t"),
        "CREATE STREAM out AS " + QUERY,
    ],
)
def test_what_state_does_not_depend_on_leaves_it(same: str) -> None:
    assert of(same) == of(QUERY)
    assert of(QUERY, with_="path = 'y', format = 'csv'") == of(QUERY)


@pytest.mark.parametrize(
    "other",
    [
        QUERY.replace("sum(a)", "sum(a + 1)"),
        QUERY.replace("sum(a)", "max(a)"),
        QUERY.replace("GROUP BY b", "GROUP BY a, b"),
        QUERY.replace("1m", "2m"),
        QUERY.replace("TUMBLE(ts, 1m)", "SESSION(ts, 1m)"),
        QUERY.replace("SELECT b", "SELECT b, window_start") + " EMIT CHANGES",
        "SELECT b FROM t",
    ],
)
def test_what_state_depends_on_changes_it(other: str) -> None:
    assert of(other) != of(QUERY)


def test_source_changes_it() -> None:
    other_name = of(QUERY.replace("FROM t", "FROM u"), name="u")
    found = {
        of(QUERY),
        other_name,
        of(QUERY, columns="a BIGINT, b VARCHAR"),
        of(QUERY, columns="a INT, b VARCHAR, c INT"),
    }
    assert len(found | {of(QUERY, delay=6)}) == 5


def test_stateless_plans_depend_on_their_source_only() -> None:
    assert of("SELECT a FROM t") == of("SELECT b, random() AS r FROM t WHERE a > 1")
