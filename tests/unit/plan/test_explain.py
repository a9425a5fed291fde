"""The three forms of a plan."""

from __future__ import annotations

import json

from ferrisstreams.plan.explain import explain, explain_json, explain_mermaid, length_text
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.sql.application import parse_application


def job() -> JobPlan:
    return parse_application(
        "CREATE STREAM t (a INT, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (path = 'x');"
        "SELECT a, count(*) AS n, random() AS r FROM t WHERE a <> 1 GROUP BY a, HOP(ts, 1m, 5m) HAVING count(*) > 1",
        "app.sql",
    ).jobs[0]


def test_text_says_what_each_call_keeps() -> None:
    text = explain(job(), lambda _: {"_agg0": "a count"})
    assert "call _agg0 BIGINT NOT NULL = COUNT(*)  state: a count\n" in text
    assert "outside the answer law: random()" in text
    assert explain(job()) == explain(job())


def test_json_holds_the_same() -> None:
    document = json.loads(explain_json(job(), lambda _: {"_agg0": "a count"}))
    operators = [step["operator"] for step in document["plan"]]
    assert operators == ["Sink", "Project", "Filter", "Aggregate", "Window", "Filter", "Scan"]
    assert document["plan"][3]["state"] == {"_agg0": "a count"}
    assert document["plan"][4]["window"]["slide_us"] == 60_000_000
    assert document["plan"][6]["event_time"] == {"column": "ts", "delay_us": 0}
    assert document["plan"][0]["facts"] == {"changes": False, "event_time": None, "key": None}


def test_mermaid_draws_from_the_scan_to_the_sink() -> None:
    lines = explain_mermaid(job()).splitlines()
    assert lines[0] == "flowchart TD"
    assert lines[1].startswith('  n0["Scan t<br/>')
    assert '  n1["Filter<br/>#quot;a#quot; #lt;#gt; 1"]' in lines
    assert lines[-1] == "  n5 --> n6"


def test_lengths_are_in_the_largest_unit_that_divides() -> None:
    texts = [length_text(length) for length in (1, 1_000, 90_000_000, 3_600_000_000, 172_800_000_000)]
    assert texts == ["1 microsecond", "1 millisecond", "90 seconds", "1 hour", "2 days"]
