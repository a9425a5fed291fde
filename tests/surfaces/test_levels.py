"""An application whose query aggregates the results of an aggregate, from the command line."""

from __future__ import annotations

import json

import pytest

from tests.surfaces.conftest import Ferris

HOURS = """
CREATE STREAM s (k VARCHAR, v BIGINT, at TIMESTAMP, WATERMARK FOR at AS at)
WITH (connector = 'file', path = 'in.jsonl'{source});

CREATE STREAM hours AS
SELECT window_start AS hour, k, sum(n) AS n, max(total) AS most{call}
FROM (SELECT window_start AS minute, k, count(*) AS n, sum(v) AS total, max(v)::VARCHAR AS label
      FROM s GROUP BY k, TUMBLE(at, INTERVAL '1' MINUTE){having})
GROUP BY k, TUMBLE(minute, INTERVAL '1' HOUR)
WITH (connector = 'file', path = 'hours.jsonl'{sink});
"""


def hours(source: str = "", call: str = "", having: str = "", sink: str = "") -> str:
    return HOURS.format(source=source, call=call, having=having, sink=sink)


def rows(*minutes: int, v: int = 1) -> str:
    return "".join(
        json.dumps({"k": "a", "v": v, "at": f"2024-01-01T{minute // 60:02}:{minute % 60:02}:00Z"}) + "\n"
        for minute in minutes
    )


def test_hour_comes_when_its_last_minute_has_closed(ferris: Ferris) -> None:
    ferris.write(**{"a.sql": hours(", watch = true"), "in.jsonl": rows(0, 10, 59, 60)})
    assert ferris("run", "a.sql", "--once").code == 0
    assert ferris.lines("hours.jsonl") == [{"hour": "2024-01-01T00:00:00Z", "k": "a", "n": 3, "most": 1}]
    with (ferris.folder / "in.jsonl").open("a") as file:
        file.write(rows(61, 90, 120))
    assert ferris("run", "a.sql", "--once", "--drain").code == 0
    assert [line["n"] for line in ferris.lines("hours.jsonl")] == [3, 3, 1]


def test_rows_of_an_hour_that_the_end_has_closed_are_late(ferris: Ferris) -> None:
    ferris.write(**{"a.sql": hours(), "in.jsonl": rows(0, 10)})
    assert ferris("run", "a.sql").code == 0
    with (ferris.folder / "in.jsonl").open("a") as file:
        file.write(rows(11, 30, 59, 60, 61))
    ran = ferris("run", "a.sql", "-o", "json")
    assert ran.job["ledger"] | {"read": 7, "late": 3, "absorbed": 4, "produced": 2, "written": 2} == ran.job["ledger"]
    assert [line["n"] for line in ferris.lines("hours.jsonl")] == [2, 2]


def test_results_that_cannot_be_taken_are_letters_of_their_own(ferris: Ferris) -> None:
    call = ", sum(CAST(label AS TINYINT)) AS labels"
    ferris.write(**{"a.sql": hours(call=call, sink=", failure_strategy = 'send_to_dlq'"), "in.jsonl": rows(0, 1)})
    with (ferris.folder / "in.jsonl").open("a") as file:
        file.write(rows(2, 70, v=1000))
    ran = ferris("run", "a.sql", "-o", "json")
    assert ran.code == 0
    assert ran.job["ledger"]["derived_rejected"] == 2
    assert [line["labels"] for line in ferris.lines("hours.jsonl")] == [2]
    (letters,) = (path.name for path in ferris.folder.glob("*.dlq.jsonl"))
    headers = [line["headers"] for line in ferris.lines(letters)]
    assert [each["ferris.kind"] for each in headers] == ["derived", "derived"]
    assert 'MAX("v")' in headers[0]["ferris.expression"]
    audited = ferris("audit", "a.sql")
    assert audited.code == 0, audited.out
    assert "derived" in audited.out
    replayed = ferris("dlq", "replay", "a.sql")
    assert "output row" in replayed.out + replayed.err


def test_result_that_cannot_be_taken_ends_a_strict_job(ferris: Ferris) -> None:
    call = ", sum(CAST(label AS TINYINT)) AS labels"
    ferris.write(**{"a.sql": hours(call=call, sink=", failure_strategy = 'fail_batch'"), "in.jsonl": rows(0, v=1000)})
    ran = ferris("run", "a.sql")
    assert ran.code != 0
    assert "result of the operator below" in ran.err + ran.out


@pytest.mark.parametrize(
    ("edited", "part"),
    [
        (hours(having=" HAVING count(*) > 1"), "WHERE: was no condition"),
        (hours().replace("sum(n) AS n", "max(n) AS n"), "the aggregates that differ: was SUM(COUNT(*))"),
        (hours().replace("sum(v) AS total", "min(v) AS total"), "the aggregates that differ: was"),
        (hours().replace("'1' HOUR", "'2' HOUR"), "the window: was TUMBLE of 1 hour, is TUMBLE of 2 hours"),
    ],
)
def test_edit_of_either_level_is_refused(edited: str, part: str, ferris: Ferris) -> None:
    ferris.write(**{"a.sql": hours(), "in.jsonl": rows(0, 10)})
    assert ferris("run", "a.sql").code == 0
    ferris.write(**{"a.sql": edited})
    ran = ferris("run", "a.sql")
    assert "E5002" in ran.err + ran.out
    assert part in ran.err + ran.out


def test_order_of_either_select_list_carries_over(ferris: Ferris) -> None:
    ferris.write(**{"a.sql": hours(", watch = true"), "in.jsonl": rows(0, 10, v=3)})
    assert ferris("run", "a.sql", "--once").code == 0
    edited = hours(", watch = true").replace("count(*) AS n, sum(v) AS total", "sum(v) AS total, count(*) AS n")
    edited = edited.replace("sum(n) AS n, max(total) AS most", "max(total) AS most, sum(n) AS n")
    ferris.write(**{"a.sql": edited})
    assert ferris("run", "a.sql", "--once", "--drain").code == 0
    (line,) = ferris.lines("hours.jsonl")
    assert (line["n"], line["most"]) == (2, 3)


def test_groups_without_a_window_are_given_once(ferris: Ferris) -> None:
    text = HOURS.partition("CREATE STREAM hours")[0].format(source="") + (
        "CREATE STREAM counts AS SELECT n, count(*) AS ks FROM (SELECT k, count(*) AS n FROM s GROUP BY k) GROUP BY n"
        " EMIT FINAL WITH (connector = 'file', path = 'counts.jsonl');"
    )
    ferris.write(**{"a.sql": text, "in.jsonl": rows(0, 1, 2)})
    assert ferris("run", "a.sql").code == 0
    assert ferris.lines("counts.jsonl") == [{"n": 3, "ks": 1}]
    assert ferris("run", "a.sql").code == 0
    with (ferris.folder / "in.jsonl").open("a") as file:
        file.write(rows(3))
    ran = ferris("run", "a.sql")
    assert "E5008" in ran.err + ran.out
    assert ferris.lines("counts.jsonl") == [{"n": 3, "ks": 1}]


def test_explain_shows_both_levels(ferris: Ferris) -> None:
    ferris.write(**{"a.sql": hours()})
    shown = ferris("explain", "a.sql").out
    assert shown.count("Aggregate FINAL") == 2
    assert "tumbling 1 hour on window_start" in shown
    assert shown.count("state: decomposable") == 5


WORKERS = """
CREATE STREAM s (k VARCHAR, v BIGINT, at TIMESTAMP, WATERMARK FOR at AS at)
WITH (connector = 'kafka', topic = 'in', 'bootstrap.servers' = '127.0.0.1:1', 'partitioned.by' = 'k');

CREATE STREAM hours AS
SELECT {shown}, sum(n) AS n FROM (SELECT window_start AS minute, k AS key, upper(k) AS u, count(*) AS n
      FROM s GROUP BY k, TUMBLE(at, INTERVAL '1' MINUTE))
GROUP BY {shown}, TUMBLE(minute, INTERVAL '1' HOUR)
WITH (connector = 'kafka', topic = 'out', 'bootstrap.servers' = '127.0.0.1:1', parallelism = 2);
"""


@pytest.mark.parametrize(("shown", "code"), [("key", 0), ("u", 1)])
def test_workers_need_the_partitions_in_the_groups_of_both_levels(shown: str, code: int, ferris: Ferris) -> None:
    ferris.write(**{"a.sql": WORKERS.format(shown=shown)})
    ran = ferris("check", "a.sql")
    assert ran.code == code, ran.err + ran.out
    assert ("does not group by k" in ran.err + ran.out) == bool(code)
