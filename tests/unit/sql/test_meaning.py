"""A plan means what DuckDB says that the query means: both are run over the same rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlglot import exp

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.plan.nodes import Aggregate, AssignWindow, Filter, Plan, Project, Scan, Sink
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import parse_application

SCHEMA = Schema(
    (
        Column("a", "INTEGER"),
        Column("b", "VARCHAR"),
        Column("c", "DECIMAL(10,2)"),
        Column("ok", "BOOLEAN"),
        Column("l", "INTEGER[]"),
        Column("s", "STRUCT(x INTEGER, y VARCHAR)"),
        Column("ts", "TIMESTAMP"),
        Column("Mixed", "TINYINT"),
    )
)
ROWS = """
    (1, 'x', 1.10, true, [1, 2], {'x': 1, 'y': 'p'}, TIMESTAMP '2024-01-01 00:00:00', 1),
    (2, 'y', 2.25, false, [3], {'x': 2, 'y': 'q'}, TIMESTAMP '2024-01-01 00:01:00', 2),
    (3, 'x', NULL, NULL, [], {'x': NULL, 'y': 'r'}, TIMESTAMP '2024-01-02 10:00:00', 100),
    (NULL, NULL, -5.00, true, NULL, NULL, NULL, NULL)
"""

QUERIES = (
    "SELECT * FROM t",
    "SELECT * EXCLUDE (l, s) REPLACE (a + 1 AS a) FROM t AS u WHERE u.a > 1",
    "SELECT a + 1 AS d, d * 2 AS e, -e AS f FROM t WHERE d > 2",
    "SELECT a - (b = 'x')::INT AS d, 10 - d AS e, NOT ok AS n, NOT n AS m FROM t",
    "SELECT MIXED, t.mixed + 1 AS m FROM T",
    "SELECT s.x, t.s.y AS y, s.x + 1 AS x1, (s).y AS y2, l[1] AS l1, l[1:2] AS l2, s['x'] AS sx FROM t",
    "SELECT list_transform(l, lambda v: v * a) AS p, [v + a FOR v IN l IF v > 1] AS r FROM t",
    "SELECT c * 1.10 AS d, c / 3 AS e, c // 2 AS f, c % 2 AS g, a / 2 AS h, a ** 2 AS i, a & 1 AS j FROM t",
    "SELECT CASE WHEN a > 1 THEN b END AS p, CASE b WHEN 'x' THEN 1 END AS q, coalesce(b, '-') AS r FROM t",
    "SELECT b LIKE 'x%' AS p, b IN ('x', 'z') AS q, a BETWEEN 1 AND 2 AS r, b ~ 'x' AS v FROM t",
    "SELECT date_trunc('day', ts) AS d, extract(hour FROM ts) AS h, strftime(ts, '%Y') AS y FROM t",
    "SELECT jaro_winkler_similarity(b, 'xy', 0.5) AS j, list_reduce(l, lambda p, q: p + q, 10) AS r FROM t",
    "SELECT regexp_replace(b, '[XY]', '!', 'gi') AS r, date_diff('minute', ts, TIMESTAMP '2024-01-03') AS d FROM t",
    "SELECT e + 1 AS f FROM (SELECT a * 2 AS e, b FROM t WHERE a > 1) AS u WHERE e < 100 AND b = 'x'",
    "SELECT 10 - d AS e, d * d AS f FROM (SELECT a - 1 AS d FROM t) AS u",
    "SELECT d || 'z' AS e, n + Mixed AS f FROM (SELECT '5' AS d, 1 AS n, Mixed FROM t) AS u",
    "SELECT n + 1 AS m FROM (SELECT 100::TINYINT AS n, ok FROM t) AS u WHERE ok",
    "WITH u AS (SELECT a AS k, c FROM t), v(m, d) AS (SELECT k, c * 2 FROM u WHERE k > 1) SELECT m, d + 1 AS e FROM v",
    "SELECT p, q FROM (SELECT a, b FROM t) AS u(p, q) WHERE p = 1 OR q = 'y'",
    "SELECT count(*) AS n FROM t",
    "SELECT count(*) AS n, sum(a) AS p, avg(a) AS q, max(c) AS u, count(DISTINCT b) AS v FROM t WHERE a > 100",
    "SELECT b, sum(a) / count(*) + 1 AS p, sum(a) - -count(*) AS q, count(*) FILTER (WHERE ok) AS r FROM t GROUP BY b",
    "SELECT upper(b) AS b, count(*) AS n FROM t GROUP BY b",
    "SELECT upper(b) AS u, count(*) AS n FROM t GROUP BY u",
    "SELECT a % 2 AS k, b, count(*) AS n, (a % 2) * 10 + sum(c) AS m FROM t GROUP BY 1, b",
    "SELECT b, ok, count(*) AS n FROM t GROUP BY ALL",
    "SELECT count(*) AS n FROM t GROUP BY (b, ok)",
    "SELECT b FROM t GROUP BY b HAVING count(*) > 1 AND max(a) < 10",
    "SELECT b, count(*) AS n FROM t GROUP BY b HAVING n > 1 OR b = 'y'",
    "SELECT 1 AS one, 'k' AS k, count(*) + 1 AS n FROM t HAVING count(*) > 0",
    "SELECT mode() WITHIN GROUP (ORDER BY b) AS q, percentile_cont(0.5) WITHIN GROUP (ORDER BY a) AS r FROM t",
    "SELECT string_agg(b, ',' ORDER BY a DESC) AS p, list(a ORDER BY a) AS q, arg_max(b, a) AS r FROM t",
    "SELECT k, n * 2 AS m FROM (SELECT b AS k, count(*) AS n FROM t GROUP BY b) AS u WHERE n > 1 AND k <> 'z'",
    "SELECT k, sum(d) AS m FROM (SELECT b AS k, a * 2 - 1 AS d FROM t WHERE a > 0) AS u WHERE d > 1 GROUP BY k",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(EngineSettings())
    names = ", ".join(f'"{column.name}"' for column in SCHEMA)
    types = ", ".join(f'"{column.name}" {column.type}' for column in SCHEMA)
    engine.work.execute(f"CREATE TABLE t ({types})")
    engine.work.execute(f"INSERT INTO t ({names}) VALUES {ROWS}")
    yield engine
    engine.close()


def _as_select(plan: Plan) -> exp.Select:
    """A canonical plan without a window as one statement."""
    match plan:
        case Sink():
            return _as_select(plan.input)
        case Scan():
            return exp.select("*").from_(plan.source.name)
        case Project():
            items = [exp.alias_(named.expression.copy(), named.name, quoted=True) for named in plan.columns]
            return exp.select(*items).from_(_as_select(plan.input).subquery("_p"))
        case Filter():
            return exp.select("*").from_(_as_select(plan.input).subquery("_f")).where(*plan.conjuncts)
        case Aggregate():
            items = [exp.alias_(n.expression.copy(), n.name, quoted=True) for n in (*plan.keys, *plan.calls)]
            select = exp.select(*items).from_(_as_select(plan.input).subquery("_a"))
            return select.group_by(*[n.expression.copy() for n in plan.keys]) if plan.keys else select
        case AssignWindow():
            raise AssertionError("no windows here")


@pytest.mark.parametrize("query", QUERIES)
def test_plan_gives_what_the_query_gives(engine: Engine, query: str) -> None:
    grouped = "count(" in query or "sum(" in query or "agg(" in query or "quantile" in query or "GROUP BY" in query
    text = f"{query} EMIT FINAL" if grouped else query
    plan = parse_application(text, "app.sql", tables={"t": SCHEMA}).jobs[0].plan
    statement = _as_select(plan)
    types = [(column.name, column.type) for column in plan.schema]
    assert engine.work.types(statement) == types == engine.work.types(query)
    assert sorted(map(repr, engine.work.rows(statement))) == sorted(map(repr, engine.work.rows(query)))
