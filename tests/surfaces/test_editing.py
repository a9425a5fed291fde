"""A query that is edited between two runs: what carries over, what is refused with the difference, and what is new.

Each row of the table *Editing a query* in `docs/identities.md` is run here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.errors import StateError
from ferrisstreams.plan.fingerprint import fingerprint
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.formatter import format_text

COUNTS = """
CREATE STREAM t (k TEXT, a INT, b DECIMAL(6,2), ts TIMESTAMP)
WITH (connector = 'file', path = 'in.jsonl', format = 'json');

CREATE STREAM out AS
SELECT k, count(*) AS n, max(a) AS m, sum(b) AS s FROM t WHERE a > 1 AND b < 90 GROUP BY k
WITH (connector = 'file', path = 'out.jsonl');
"""

WINDOWS = """
CREATE STREAM t (k TEXT, a INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (connector = 'file', path = '{path}', format = 'json', watch = true);

CREATE STREAM out AS
SELECT window_start, k, count(*) AS n FROM t GROUP BY k, TUMBLE(ts, INTERVAL '1' MINUTE) {emit}
WITH (connector = 'file', path = 'out.jsonl'{properties});
"""
WINDOWED = WINDOWS.format(path="in.jsonl", emit="", properties="")

ROWS = [
    {"k": "a", "a": 5, "b": 1.25, "ts": "2024-01-01T00:00:01Z"},
    {"k": "b", "a": 2, "b": 2.50, "ts": "2024-01-01T00:00:02Z"},
    {"k": "a", "a": 1, "b": 9.99, "ts": "2024-01-01T00:00:03Z"},
]
MORE = [
    {"k": "a", "a": 7, "b": 0.25, "ts": "2024-01-01T00:00:04Z"},
    {"k": "c", "a": 3, "b": 4.00, "ts": "2024-01-01T00:00:05Z"},
]


@dataclass
class Project:
    folder: Path

    def write(self, rows: list[dict[str, object]], name: str = "in.jsonl") -> None:
        with (self.folder / name).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def run(self, text: str, rows_max: int | None = None) -> JobResult:
        plan = parse_application(text, "app.sql").jobs[0]
        state = self.folder / ".ferris"
        return Job(plan, Environment("app", self.folder, state_root=state, rows_max=rows_max)).run()

    def out(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]

    def last(self, key: str = "a") -> dict[str, object]:
        return [row for row in self.out() if row.get("k", key) == key][-1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write(ROWS)
    return made


def edited(text: str, *edits: tuple[str, str]) -> str:
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    return text


SELECT = "SELECT k, count(*) AS n, max(a) AS m, sum(b) AS s FROM t"
CARRIED = {
    "the select list above the same groups": (
        (SELECT, "SELECT max(a) + count(*) AS both, k, count(*) AS n, max(a) AS m, sum(b) AS s FROM t"),
    ),
    "the order of aggregates": ((SELECT, "SELECT sum(b) AS s, max(a) AS m, k, count(*) AS n FROM t"),),
    "names": (("FROM t WHERE a > 1 AND", "FROM t AS u WHERE (u.a > (1)) AND"),),
    "the name of the stream": (("STREAM t ", "STREAM other "), ("FROM t ", "FROM other ")),
    "order, spelling and comments": (
        ("a > 1 AND b < 90", "(90 > b OR b < 90) AND a > 1 /* both */"),
        ("(90 > b OR b < 90)", "b<90"),
    ),
    "the sink and settings": (("'out.jsonl'", "'out.jsonl', 'batch.size' = 1, 'commit.policy' = 'per_batch'"),),
    "a column that the groups do not read": (("a INT,", "a INT, extra TEXT, "), (", ts TIMESTAMP", "")),
    "NOT NULL": (("k TEXT", "k TEXT NOT NULL"),),
    "a wider whole number": (("a INT", "a BIGINT"),),
    "a wider decimal": (("DECIMAL(6,2)", "DECIMAL(12,2)"),),
}


@pytest.mark.parametrize("edits", CARRIED.values(), ids=CARRIED.keys())
def test_edit_that_means_the_same_goes_on(project: Project, edits: tuple[tuple[str, str], ...]) -> None:
    assert project.run(COUNTS).error is None
    project.write(MORE)
    result = project.run(edited(COUNTS, *edits))
    assert result.error is None, result.error
    assert (result.rows, result.ledger.read) == (2, 5)
    found = project.last()
    assert (found["n"], found["m"], found["s"]) == (2, 7, 1.5)


def test_wider_column_holds_wider_values(project: Project) -> None:
    project.run(COUNTS)
    project.write([{"k": "a", "a": 2**40, "b": 1}])
    assert project.run(COUNTS).ledger.skipped == 1
    project.write([{"k": "a", "a": 2**41, "b": 1}])
    wider = edited(COUNTS, ("a INT", "a BIGINT"))
    assert project.run(wider).error is None
    assert project.last()["m"] == 2**41
    narrower = project.run(COUNTS).error
    assert narrower is not None
    assert "the column a: was BIGINT, is INTEGER" in narrower.message


REFUSED = {
    "WHERE": ((("a > 1", "a > 2"),), 'WHERE: was "a" > 1 AND "b" < 90, is "a" > 2 AND "b" < 90'),
    "no WHERE": ((("WHERE a > 1 AND b < 90", ""),), 'WHERE: was "a" > 1 AND "b" < 90, is no condition'),
    "GROUP BY": (
        (("GROUP BY k", "GROUP BY k, a % 2"), ("SELECT k", "SELECT k, a % 2 AS r")),
        'GROUP BY: was "k", is "k", "a" % 2',
    ),
    "an aggregate": ((("max(a)", "min(a)"),), 'the aggregates that differ: was MAX("a"), is MIN("a")'),
    "what an aggregate is of": ((("sum(b)", "sum(b + a)"),), 'differ: was SUM("b"), is SUM("b" + "a")'),
    "an aggregate more": (
        (("count(*) AS n", "count(*) AS n, min(a) AS l"),),
        'the aggregates that differ: was none, is MIN("a")',
    ),
    "an aggregate less": (
        ((", max(a) AS m", ""),),
        'the aggregates that differ: was MAX("a"), is none',
    ),
    "EMIT": ((("GROUP BY k", "GROUP BY k EMIT FINAL"),), "EMIT: was CHANGES, is FINAL"),
    "a window": (
        (
            (", ts TIMESTAMP", ", ts TIMESTAMP, WATERMARK FOR ts AS ts"),
            ("GROUP BY k", "GROUP BY k, TUMBLE(ts, 1m) EMIT CHANGES"),
            ("SELECT k", "SELECT window_start, k"),
        ),
        "the window: was no window, is TUMBLE of 1 minute",
    ),
    "event time": (
        ((", ts TIMESTAMP", ", ts TIMESTAMP, WATERMARK FOR ts AS ts"),),
        "event time: was not given, is 'ts'",
    ),
    "another type": ((("a INT", "a DOUBLE"),), "the column a: was INTEGER, is DOUBLE"),
    "a narrower type": ((("DECIMAL(6,2)", "DECIMAL(5,2)"),), "the column b: was DECIMAL(6,2), is DECIMAL(5,2)"),
    "how the rows are read": (
        (("format = 'json'", "format = 'json', 'timestamp.format' = '%d.%m.%Y'"),),
        "'timestamp.format' of the source: was not given, is '%d.%m.%Y'",
    ),
    "another file": ((("'in.jsonl'", "'other.jsonl'"),), "the source's path: was 'in.jsonl', is 'other.jsonl'"),
    "another connector": (
        (("connector = 'file', path = 'in.jsonl', format = 'json'", "connector = 'datagen', rows = 3"),),
        "the source's connector: was 'file', is 'datagen'",
    ),
    "no aggregate": (
        ((SELECT, "SELECT k FROM t"), ("GROUP BY k", "")),
        'gone: the aggregate by "k"',
    ),
}


@pytest.mark.parametrize(("edits", "difference"), REFUSED.values(), ids=REFUSED.keys())
def test_edit_that_means_another_state_is_refused_with_the_difference(
    project: Project, edits: tuple[tuple[str, str], ...], difference: str
) -> None:
    project.run(COUNTS)
    project.write(MORE)
    project.write(MORE, "other.jsonl")
    before = project.out()
    refused = project.run(edited(COUNTS, *edits))
    check_refused(refused, difference)
    assert project.out() == before
    assert project.run(COUNTS).ledger.read == 5


def check_refused(result: JobResult, difference: str) -> None:
    assert isinstance(result.error, StateError)
    assert (result.error.code, result.rows) == ("E5002", 0)
    assert difference in result.error.message
    for line in result.error.message.splitlines()[1:]:
        if not line.startswith("    "):
            assert line.split(":")[0] in ("  kept", "  changed", "  new", "  gone")
            continue
        was, now = line.partition(": was ")[2].split(", is ", 1)
        assert was != now
    assert "ferris state reset" in str(result.error.hint)
    assert "@name" in str(result.error.hint)


@pytest.mark.parametrize(
    ("edits", "difference"),
    [
        ((("'5' SECOND", "'6' SECOND"),), "the watermark's delay: was 5 seconds, is 6 seconds"),
        ((("'1' MINUTE", "'2' MINUTES"),), "the window: was TUMBLE of 1 minute, is TUMBLE of 2 minutes"),
        ((("'1' MINUTE", "'1' MINUTE, INTERVAL '6' SECOND"),), "is TUMBLE of 1 minute from 6 seconds"),
        ((("TUMBLE(ts, INTERVAL", "SESSION(ts, INTERVAL"),), "is SESSION of 1 minute"),
        ((("TUMBLE(ts, ", "HOP(ts, INTERVAL '20' SECOND, "),), "is HOP of 1 minute every 20 seconds"),
        ((("GROUP BY k, ", "GROUP BY "), ("start, k, ", "start, ")), 'GROUP BY: was "k", is one group'),
    ],
)
def test_edit_of_a_window_or_its_watermark_is_refused(
    project: Project, edits: tuple[tuple[str, str], ...], difference: str
) -> None:
    assert project.run(WINDOWED, rows_max=3).error is None
    check_refused(project.run(edited(WINDOWED, *edits), rows_max=3), difference)


@pytest.mark.parametrize(
    "edits",
    [
        (("MINUTE)", "MINUTE) HAVING count(*) > 0"), ("start, k,", "start, k, window_end AS e,")),
        (("'1' MINUTE", "'60 seconds'"), ("'5' SECOND", "'5000' MILLISECONDS")),
        (("'out.jsonl'", "'out.jsonl', 'allowed.lateness' = '1m', 'watermark.idle_timeout' = '5s'"),),
        (("'out.jsonl'", "'out.jsonl', 'allowed.lateness' = '1m', 'late.data.strategy' = 'update'"),),
    ],
)
def test_edit_around_a_window_goes_on(project: Project, edits: tuple[tuple[str, str], ...]) -> None:
    project.run(WINDOWED, rows_max=3)
    project.write([{"k": "a", "a": 1, "ts": f"2024-01-01T00:0{minute}:10Z"} for minute in (0, 3)])
    assert project.run(edited(WINDOWED, *edits), rows_max=2).error is None
    assert project.last()["n"] == 3


def test_window_that_was_shown_and_can_change_no_more_takes_no_rows(project: Project) -> None:
    update = edited(
        WINDOWED, ("'out.jsonl'", "'out.jsonl', 'allowed.lateness' = '10m', 'late.data.strategy' = 'update'")
    )
    project.write([{"k": "a", "a": 1, "ts": "2024-01-01T00:03:00Z"}])
    project.run(update, rows_max=4)
    assert project.last()["n"] == 2
    project.write([{"k": "a", "a": 1, "ts": "2024-01-01T00:00:10Z"}])
    drop = project.run(edited(update, ("update", "drop")), rows_max=1)
    assert (drop.rows, drop.ledger.late) == (1, 1)


def test_several_edits_are_told_at_once(project: Project) -> None:
    project.run(COUNTS)
    error = project.run(
        edited(COUNTS, ("a > 1", "a > 2"), ("GROUP BY k", "GROUP BY k, a"), ("SELECT k", "SELECT k, a"))
    ).error
    assert error is not None
    assert error.message.splitlines()[1:] == [
        "  kept: the source in.jsonl",
        '  changed: the aggregate by "k"',
        '    WHERE: was "a" > 1 AND "b" < 90, is "a" > 2 AND "b" < 90',
        '    GROUP BY: was "k", is "k", "a"',
    ]


def test_rows_that_are_written_as_they_come_have_a_state_that_is_positions_alone(project: Project) -> None:
    rows = edited(COUNTS, (SELECT, "SELECT k, a FROM t"), ("GROUP BY k", ""))
    project.run(rows)
    project.write(MORE)
    other = edited(
        rows, ("k, a FROM", "upper(k) AS k, a * 2 AS a, c FROM"), ("a > 1", "a > 6"), ("a INT,", "a INT, c INT,")
    )
    assert project.run(other).rows == 2
    assert project.last("A") == {"k": "A", "a": 14, "c": None}
    check_refused(project.run(COUNTS), 'new: the aggregate by "k"')
    project.write(MORE, "other.jsonl")
    elsewhere = edited(rows, ("'in.jsonl'", "'other.jsonl'"))
    check_refused(project.run(elsewhere), "the source's path: was 'in.jsonl', is 'other.jsonl'")


@pytest.mark.parametrize("move", [shutil.move, shutil.copy])
def test_another_path_to_the_same_data_goes_on(project: Project, move: Callable[[Path, Path], object]) -> None:
    last = edited(COUNTS, ("max(a)", "last(a)"))
    project.run(last)
    (project.folder / "data").mkdir()
    move(project.folder / "in.jsonl", project.folder / "data" / "a.jsonl")
    project.write(MORE, "data/a.jsonl")
    moved = edited(last, ("'in.jsonl'", "'./data/a.jsonl'"))
    assert project.run(moved).rows == 2
    assert (project.last()["n"], project.last()["m"]) == (2, 7)
    whole = edited(last, ("'in.jsonl'", f"'{project.folder}/data/a.jsonl'"))
    assert project.run(whole).error is None
    project.write(ROWS, "data/a.jsonl")
    assert project.run(moved).rows == 3
    assert project.last()["n"] == 3


def test_another_name_has_a_state_of_its_own(project: Project) -> None:
    project.run(COUNTS)
    other = edited(
        COUNTS,
        ("CREATE STREAM out", "-- @name: out_2\nCREATE STREAM out"),
        ("a > 1", "a > 0"),
        ("out.jsonl", "two.jsonl"),
    )
    assert project.run(other).rows == 3
    assert project.run(COUNTS).rows == 0


def test_state_without_an_epoch_is_that_of_any_query(project: Project) -> None:
    wrong = edited(COUNTS, ("'in.jsonl'", "'missing.jsonl'"))
    assert project.run(wrong).error is not None
    assert project.run(COUNTS).rows == 3


def of_format_2(project: Project, hash_: str) -> None:
    """Make the state what an older version wrote: with a hash and a description in the place of the identity."""
    engine = Engine(EngineSettings(str(project.folder / ".ferris" / "app" / "out" / "state.duckdb")))
    engine.state.execute(
        "CREATE OR REPLACE TABLE state.meta AS SELECT 2 AS format_version, state_id, $hash AS fingerprint,"
        " 'COUNT(*) by \"k\"' AS description FROM state.meta",
        {"hash": hash_},
    )
    for (name,) in engine.state.rows("SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'pane_0_')"):
        engine.state.execute(f"ALTER TABLE state.{name} RENAME COLUMN _t TO _epoch")
        engine.state.execute(f"ALTER TABLE state.{name} RENAME TO {str(name).replace('pane_0_', 'pane_')}")
    engine.close()


def test_older_state_is_recognised_once_by_its_hash(project: Project) -> None:
    project.run(COUNTS)
    of_format_2(project, fingerprint(parse_application(COUNTS, "app.sql").jobs[0].plan))
    project.write(MORE)
    assert project.run(COUNTS).rows == 2
    assert project.last()["n"] == 2
    check_refused(project.run(edited(COUNTS, ("a > 1", "a > 2"))), 'WHERE: was "a" > 1')


def test_older_state_of_another_query_is_refused(project: Project) -> None:
    project.run(COUNTS)
    of_format_2(project, "0" * 64)
    error = project.run(COUNTS).error
    assert error is not None
    assert error.code == "E5002"
    assert 'it was: COUNT(*) by "k"' in error.message


@pytest.mark.parametrize("watch", ["", ", watch = true"])
def test_files_of_the_same_names_in_another_folder_go_on(watch: str, project: Project) -> None:
    (project.folder / "a").mkdir()
    (project.folder / "b").mkdir()
    project.write(ROWS, "a/1.jsonl")
    project.write(MORE, "a/2.jsonl")
    first = edited(COUNTS, ("'in.jsonl'", f"'a/*.jsonl'{watch}"))
    assert project.run(first, rows_max=5).rows == 5
    for name in ("1.jsonl", "2.jsonl"):
        shutil.copy(project.folder / "a" / name, project.folder / "b" / name)
    project.write(MORE, "b/2.jsonl")
    assert project.run(edited(first, ("'a/*", "'b/*")), rows_max=2).rows == 2
    assert project.last()["n"] == 3
    check_refused(
        project.run(first.replace("*.jsonl", "?.jsonl")), "the source's path: was 'b/*.jsonl', is 'a/?.jsonl'"
    )


DUE = """
CREATE STREAM t (k TEXT, ts TIMESTAMP, j JSON) WITH (connector = 'file', path = 'in.jsonl', format = 'json');
CREATE STREAM out AS
SELECT ts + INTERVAL '1.5' HOUR AS due, CAST(INTERVAL '48' HOURS AS TEXT) AS two,
  max(ts - INTERVAL '1 day 2 hours') AS m
FROM t WHERE ts + INTERVAL '36 mins' > ts AND NOT j->'a'->>'b.c' = '5' GROUP BY ts + INTERVAL '1.5' HOUR
WITH (connector = 'file', path = 'out.jsonl');
"""


def test_formatting_leaves_answer_and_state(project: Project) -> None:
    (project.folder / "in.jsonl").unlink()
    row = {"k": "a", "ts": "2024-01-31T00:00:00Z", "j": {"a": {"b.c": "4", "b": {"c": "5"}}}}
    project.write([row])
    assert project.run(DUE).error is None
    formatted = format_text(DUE, "app.sql")
    assert formatted != DUE
    project.write([row])
    assert project.run(formatted).rows == 1
    row = {"due": "2024-01-31T01:30:00Z", "two": "48:00:00", "m": "2024-01-29T22:00:00Z"}
    assert project.out() == [row, row]
