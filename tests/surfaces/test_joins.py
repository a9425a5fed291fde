"""Jobs over joins, by the command: what they say of a query that was changed."""

from __future__ import annotations

from tests.surfaces.conftest import Ferris

JOB = """
CREATE STREAM orders (id INT, customer INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
WITH ('connector' = 'file', 'path' = 'orders.jsonl');
CREATE STREAM payments (nr INT, order_id INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
WITH ('connector' = 'file', 'path' = 'payments.jsonl');
CREATE STREAM settled WITH ('connector' = 'file', 'path' = 'settled.jsonl') AS
SELECT o.id, p.nr FROM orders o LEFT JOIN payments p
ON o.id = p.order_id AND p.at BETWEEN o.at AND o.at + INTERVAL '1' HOUR;
"""
ORDERS = '{"id":1,"customer":7,"at":"2024-01-01T00:00:00Z"}\n{"id":2,"customer":8,"at":"2024-01-01T00:10:00Z"}\n'
PAYMENTS = '{"nr":71,"order_id":1,"at":"2024-01-01T00:20:00Z"}\n'


def test_changed_join_is_refused_with_what_changed(ferris: Ferris) -> None:
    ferris.write(join__sql=JOB, orders__jsonl=ORDERS, payments__jsonl=PAYMENTS)
    assert ferris("run", "join.sql").code == 0
    changes = {
        "the bound in time: was right.at from 0 days to 1 hour after left.at,": ("'1' HOUR", "'2' HOUR"),
        "the kind of the join: was left, is inner": ("LEFT JOIN", "JOIN"),
        "the columns that are kept of the left side: was at, id, is at, customer, id": (
            "SELECT o.id",
            "SELECT o.customer",
        ),
    }
    for told, (before, after) in changes.items():
        ferris.write(join__sql=JOB.replace(before, after))
        ran = ferris("run", "join.sql")
        assert ran.code == 1
        assert "[E5002]" in ran.err
        assert told in ran.err
    ferris.write(join__sql=JOB.replace("orders o", "orders x").replace("o.", "x."))
    assert ferris("run", "join.sql").code == 0
