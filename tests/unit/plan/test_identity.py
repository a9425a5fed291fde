"""The identity of a query's state: one for all spellings of a meaning, and another for another meaning."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
import sqlglot
from sqlglot import exp

from ferrisstreams.plan.identity import Identity, SourceFacts, canonical_text, identity_of, reorder_like
from ferrisstreams.plan.identity_differences import differences
from ferrisstreams.sql.application import parse_application

STREAM = (
    "CREATE STREAM t (a INT, b VARCHAR, c DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)"
    " WITH (path = 'x');"
)
QUERY = "SELECT b, count(*) AS n, sum(a) AS total FROM t WHERE a > 1 AND c < 2 GROUP BY b, TUMBLE(ts, 1m)"
FACTS = defaultdict(lambda: SourceFacts({"connector": "file", "path": "x"}, {"format": "json"}))


def of(query: str) -> Identity:
    return identity_of(parse_application(STREAM + query, "app.sql").jobs[0].plan, FACTS)


def found(kept: Identity, now: Identity) -> list[str]:
    return [str(each) for change in differences(kept, now, lambda *_: False) for each in change.differences]


def test_identity_is_stable_over_versions() -> None:
    assert of(QUERY) == [
        {
            "id": "b1aeaf7a5d98567e",
            "inputs": [],
            "operator": "source",
            "data": {"connector": "file", "path": "x"},
            "reading": {"format": "json"},
            "columns": {"a": "INTEGER", "b": "VARCHAR", "c": "DOUBLE", "ts": "TIMESTAMP"},
            "event_time": "ts",
            "delay_us": 5_000_000,
        },
        {
            "id": "45ce527605d6d11e",
            "inputs": ["b1aeaf7a5d98567e"],
            "operator": "aggregate",
            "filters": ['"a" > 1', '"c" < 2'],
            "window": {"kind": "tumble", "size_us": 60_000_000, "slide_us": 60_000_000, "origin_us": 0},
            "keys": ['"b"'],
            "calls": ["COUNT(*)", 'SUM("a")'],
            "emit": "final",
        },
    ]


@pytest.mark.parametrize(
    "same",
    [
        "SELECT n + 1 AS m FROM (" + QUERY + ") AS q WHERE n > 5",
        QUERY.replace("AS n", "AS number"),
        QUERY.replace("1m", "INTERVAL '60 seconds'"),
        QUERY + " EMIT FINAL WITH (connector = 'stdout')",
        QUERY.replace("SELECT b,", "SELECT upper(b) AS u,"),
        QUERY.replace("FROM t", "FROM (SELECT * FROM t) AS t"),
        QUERY.replace("a > 1 AND c < 2", "(c < (2)) AND (((a) > 1))"),
        QUERY.replace("sum(a)", "SUM((t.a))"),
        "CREATE STREAM out AS " + QUERY,
    ],
)
def test_spelling_leaves_it(same: str) -> None:
    assert of(same) == of(QUERY)


def test_kept_order_of_keys_and_calls_stays() -> None:
    text = "SELECT {} FROM t GROUP BY {} EMIT CHANGES"
    kept = of(text.format("a, b, count(*) AS n, sum(c) AS s", "a, b"))
    plan = parse_application(STREAM + text.format("b, a, sum(c) AS s, count(*) AS n", "b, a"), "app.sql").jobs[0].plan
    now = identity_of(plan, FACTS)
    assert now != kept
    assert found(kept, now) == []
    assert identity_of(reorder_like(plan, kept), FACTS) == kept


def test_text_that_another_version_printed_is_the_same_expression() -> None:
    kept = json.loads(json.dumps(of(QUERY)).replace("SUM(", "sum ("))
    assert kept != of(QUERY)
    assert found(kept, of(QUERY)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("(a + b) * c", "a + b * c"), ("a - (b - c)", "a - b - c"), ("-(a + b)", "-a + b")],
)
def test_parentheses_that_matter_stay(one: str, other: str) -> None:
    texts = [canonical_text(tree) for tree in map(parsed, (one, f"({one})", other))]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def parsed(text: str) -> exp.Expression:
    tree = sqlglot.parse_one(text, dialect="duckdb")
    assert isinstance(tree, exp.Expression)
    return tree


@pytest.mark.parametrize(
    ("kept", "now", "carries"),
    [
        ("TINYINT", "HUGEINT", True), ("UINTEGER", "BIGINT", True), ("UBIGINT", "BIGINT", False),
        ("BIGINT", "UBIGINT", False), ("INTEGER", "DECIMAL(18,0)", False), ("FLOAT", "DOUBLE", False),
        ("DECIMAL(4,2)", "DECIMAL(18,2)", True), ("DECIMAL(4,2)", "DECIMAL(18,3)", False), ("DATE", "TIMESTAMP", False),
    ],
)  # fmt: skip
def test_type_carries_over_where_all_values_are_the_same(kept: str, now: str, carries: bool) -> None:
    before, after = (identity_with(kind, "max(v)") for kind in (kept, now))
    assert (found(before, after) == []) == carries


@pytest.mark.parametrize(
    "call", ["sum(v)", "max(v + 1) FILTER (WHERE v > 2)", "list(v)", "arg_max(v, v)", "avg(v * 2)"]
)
def test_wider_type_keeps_what_is_computed_from_values(call: str) -> None:
    assert found(identity_with("INTEGER", call), identity_with("BIGINT", call)) == []


@pytest.mark.parametrize("call", ["max(hash(v))", "list(v::TEXT)", "min(typeof(v))", "bit_xor(v)", "max(~v)"])
def test_wider_type_changes_what_is_computed_from_their_form(call: str) -> None:
    assert found(identity_with("INTEGER", call), identity_with("BIGINT", call)) != []


def identity_with(kind: str, call: str) -> Identity:
    text = f"CREATE STREAM s (v {kind}) WITH (path = 'x'); SELECT {call} AS r FROM s"
    return identity_of(parse_application(text, "app.sql").jobs[0].plan, FACTS)


MINUTES = "SELECT window_start, b, count(*) AS n FROM t GROUP BY b, TUMBLE(ts, 1m)"
OVER = "SELECT window_start, {} AS r FROM (" + MINUTES + ") AS q GROUP BY window_start"
SHOPS = STREAM.replace("STREAM t (", "STREAM u (")


def fates(kept: str, now: str) -> list[str]:
    """What becomes of each operator, without what differs."""
    return [str(change).split("\n")[0] for change in differences(of(kept), of(now), lambda *_: False)]


@pytest.mark.parametrize(
    ("kept", "now", "expected"),
    [
        (MINUTES, MINUTES, []),
        (
            MINUTES,
            OVER.format("max(n)"),
            [
                "kept: the source x",
                'kept: the aggregate by TUMBLE of 1 minute and "b"',
                "new: the aggregate by the windows below, of 1 minute",
            ],
        ),
        (
            OVER.format("max(n)"),
            OVER.format("min(n)"),
            [
                "kept: the source x",
                'kept: the aggregate by TUMBLE of 1 minute and "b"',
                "changed: the aggregate by the windows below, of 1 minute",
            ],
        ),
        (
            OVER.format("max(n)"),
            OVER.format("max(n)").replace("FROM t", "FROM t WHERE a > 1"),
            [
                "kept: the source x",
                'changed: the aggregate by TUMBLE of 1 minute and "b"',
                "kept: the aggregate by the windows below, of 1 minute",
            ],
        ),
        (MINUTES, "SELECT b FROM t", ["kept: the source x", 'gone: the aggregate by TUMBLE of 1 minute and "b"']),
    ],
)
def test_each_operator_is_kept_changed_new_or_gone(kept: str, now: str, expected: list[str]) -> None:
    assert fates(kept, now) == expected


UNION = "SELECT b, count(*) AS n FROM (SELECT b FROM t WHERE a > 1 UNION ALL SELECT b FROM u) AS q GROUP BY b"


def test_queries_of_a_union_are_compared_by_their_streams() -> None:
    def made(query: str) -> Identity:
        plan = parse_application(STREAM + SHOPS + query, "app.sql").jobs[0].plan
        return identity_of(
            plan, {"t": FACTS["t"], "u": SourceFacts({"connector": "file", "path": "y"}, {"format": "json"})}
        )

    def changes(query: str) -> list[str]:
        return [
            line.strip()
            for each in differences(made(UNION), made(query), lambda *_: False)
            for line in str(each).split("\n")
        ]

    assert changes(UNION.replace("a > 1", "a > 2")) == [
        "kept: the source t x",
        "kept: the source u y",
        'changed: the aggregate by "b"',
        'WHERE of the query over t: was "a" > 1, is "a" > 2',
    ]
    assert changes("SELECT b, count(*) AS n FROM u GROUP BY b") == [
        "gone: the source t x",
        "kept: the source u y",
        'changed: the aggregate by "b"',
        "the streams of the UNION ALL: was t, u, is one stream",
    ]


_JOINED = "SELECT x.b, x.a FROM t x JOIN t y ON x.a = y.a"
_OTHER_JOINED = "SELECT x.b, y.a FROM t x LEFT JOIN t y ON x.b = y.b"


def test_queries_of_a_union_may_read_operators() -> None:
    def made(*queries: str) -> Identity:
        return of(f"SELECT b, count(*) AS n FROM ({' UNION ALL '.join(queries)}) GROUP BY b")

    kept = made(_JOINED, _OTHER_JOINED, "SELECT b, a FROM t")
    assert kept[-1]["inputs"] == [kept[0]["id"], *sorted(str(join["id"]) for join in kept[1:3])]
    assert made(_JOINED, _OTHER_JOINED, "SELECT b, a FROM t") == kept
    assert found(kept, made(_JOINED, _OTHER_JOINED.replace("LEFT ", ""), "SELECT b, a FROM t"))
    assert found(kept, made(_JOINED, _OTHER_JOINED.replace("x.b, y.a", "y.b, y.a"), "SELECT b, a FROM t"))


def test_order_of_an_aggregate_over_a_union_of_tables_stays() -> None:
    table = "CREATE TABLE u (id INT PRIMARY KEY, b VARCHAR) WITH (path = 'u');"
    union = "(SELECT b, id FROM u UNION ALL SELECT b, id FROM u WHERE id > 1)"
    queries = [f"SELECT b, {calls} FROM {union} GROUP BY b" for calls in ("count(*), max(id)", "max(id), count(*)")]
    kept, now = (parse_application(table + query, "app.sql").jobs[0].plan for query in queries)
    assert identity_of(reorder_like(now, identity_of(kept, FACTS)), FACTS) == identity_of(kept, FACTS)
