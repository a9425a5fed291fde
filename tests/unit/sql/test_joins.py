"""FROM with joins: what a stream and a table become, and what stands above them."""

from __future__ import annotations

import pytest

from ferrisstreams.plan.nodes import Aggregate, Join, JoinKind, Scan, walk
from ferrisstreams.plan.rewrites import canonical
from ferrisstreams.sql.application import parse_application

DECLARED = """
CREATE STREAM orders (id BIGINT, who VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (connector = 'file', path = 'orders.jsonl');
CREATE STREAM payments (pid BIGINT, id INT, at TIMESTAMP, WATERMARK FOR at AS at)
WITH (connector = 'file', path = 'payments.jsonl');
CREATE STREAM events (k VARCHAR, v INT) WITH (connector = 'kafka', topic = 'events');
CREATE TABLE users (id INT, name VARCHAR, town VARCHAR, PRIMARY KEY (id)) WITH (connector = 'file', path = 'u.jsonl');
CREATE TABLE rates (a VARCHAR, b VARCHAR, rate DOUBLE, PRIMARY KEY (a, b)) WITH (connector = 'file', path = 'r.jsonl');
"""


def joins(sql: str) -> list[Join]:
    plan = parse_application(DECLARED + sql, "app.sql").jobs[-1].plan
    return [node for node in walk(plan) if isinstance(node, Join)]


@pytest.mark.parametrize(
    ("tables", "kind"),
    [
        ("orders o JOIN users u ON o.id = u.id", JoinKind.INNER),
        ("orders o LEFT JOIN users u ON o.id = u.id", JoinKind.LEFT),
        ("orders o JOIN users u USING (id)", JoinKind.INNER),
        ("orders o, users u WHERE u.id = o.id", JoinKind.INNER),
        ("users u JOIN orders o ON o.id = u.id", JoinKind.INNER),
        ("users u RIGHT JOIN orders o ON o.id = u.id", JoinKind.LEFT),
        ("orders o JOIN (SELECT id, upper(name) AS name FROM users) u ON o.id = u.id", JoinKind.INNER),
    ],
)
def test_row_of_a_stream_meets_a_table(tables: str, kind: JoinKind) -> None:
    (join,) = joins(f"SELECT o.who, u.name FROM {tables}")
    assert (join.lookup, join.kind) == (True, kind)
    assert [pair.left.sql("duckdb") for pair in join.keys] == ['"o.id"']
    assert (join.facts.changes, join.facts.event_time) == (False, "ts")
    assert join.schema.names == (*join.left.schema.names, *join.right.schema.names)


def test_other_equalities_are_conditions() -> None:
    (join,) = joins("SELECT rate FROM orders o JOIN rates r ON o.who = r.b AND r.rate = o.id AND lower(o.who) = r.a")
    assert [(pair.left.sql("duckdb"), pair.right.sql("duckdb")) for pair in join.keys] == [
        ('LOWER("who")', '"a"'),
        ('"who"', '"b"'),
    ]
    assert [tree.sql("duckdb") for tree in join.residual] == ['CAST("id" AS DOUBLE) = "rate"']


def test_stream_that_met_a_table_is_joined_in_time() -> None:
    bounded, lookup = joins(
        "SELECT o.id, u.name FROM orders o JOIN users u ON o.id = u.id JOIN payments p WITHIN 1 HOUR ON p.id = o.id"
    )
    assert lookup.lookup
    assert bounded.bound is not None
    assert (bounded.bound.left_time, bounded.bound.right_time) == ("ts", "at")


@pytest.mark.parametrize(
    ("time", "stream", "column"),
    [("ts, ", "orders", "ts"), ("_event_time, ", "orders", "ts"), ("", "events", "_timestamp")],
)
def test_windows_of_a_stream_that_met_a_table(time: str, stream: str, column: str) -> None:
    key = "s.id" if stream == "orders" else "s.v"
    sql = (
        f"SELECT town, count(*) AS n FROM {stream} s JOIN users u ON {key} = u.id"
        f" GROUP BY town, TUMBLE({time}INTERVAL '1' HOUR)"
    )
    plan = parse_application(DECLARED + sql, "app.sql").jobs[-1].plan
    (aggregate,) = (node for node in walk(plan) if isinstance(node, Aggregate))
    assert aggregate.window is not None
    assert aggregate.window.time == column
    (scan,) = (node for node in walk(plan) if isinstance(node, Scan) and node.source.name == stream)
    assert scan.source.event_time is not None


def test_tables_are_kept_joined() -> None:
    (join,) = joins("SELECT u.name, v.name AS other FROM users u LEFT JOIN users v ON u.id = v.id")
    assert not join.lookup
    assert join.facts.changes
    assert join.facts.key == ("u.id",)


_COUNTED = "(SELECT who, count(*) AS n FROM orders GROUP BY who) x"
_COUNTED_IDS = "(SELECT id, count(*) AS m FROM users GROUP BY id) y"


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        (f"{_COUNTED} FULL JOIN (SELECT k, count(*) AS m FROM events GROUP BY k) y ON x.who = y.k", None),
        (f"{_COUNTED} FULL JOIN {_COUNTED_IDS} ON x.n = y.id", ("who", "id")),
        (f"{_COUNTED_IDS} FULL JOIN {_COUNTED} ON x.n = y.id", ("id", "who")),
        (f"{_COUNTED} LEFT JOIN (SELECT k, count(*) AS m FROM events GROUP BY k) y ON x.n = y.m", ("who", "k")),
    ],
    ids=["of NULLs", "of one side", "of the other side", "left"],
)
def test_rows_that_stand_alone_on_both_sides_are_told_apart(tables: str, key: tuple[str, ...] | None) -> None:
    (join,) = joins(f"SELECT * FROM {tables}")
    assert join.facts.key == key


def test_chance_above_a_lookup_is_fixed_for_the_row_that_meets() -> None:
    plan = (
        parse_application(
            f"{DECLARED} SELECT u.name, random() AS r FROM orders o JOIN users u ON o.id = u.id WHERE random() < 0.5",
            "app.sql",
        )
        .jobs[-1]
        .plan
    )
    for node in walk(canonical(plan)):
        if isinstance(node, Join):
            assert set(node.schema.names) == {*node.left.schema.names, *node.right.schema.names}
        if isinstance(node, Scan):
            assert len(node.computed) == (2 if node.source.name == "orders" else 0)
