"""Runs of `--once`, as cron starts them, beside one job that runs all the time: the same output, byte for byte."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.errors import ConfigError
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.observer import Silent
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.audit import audit
from tests.broker import Cluster
from tests.surfaces.conftest import WAITS_MAX, Ferris

#: What arrives before each run: seconds of key a and of key b. The gaps let windows and sessions span several runs.
ARRIVALS = [[(1, 2), (4, 3)], [(9, 11)], [], [(12, 12), (13, 25)], [(27, 26)], [(61, 40), (62, 63)]]

COLUMNS = "k, window_start, window_end, count(*) AS n, list(v) AS v"

QUERIES = {
    "tumbling": f"SELECT {COLUMNS} FROM given GROUP BY k, TUMBLE(at, INTERVAL '5' SECOND)",
    "hopping": f"SELECT {COLUMNS} FROM given GROUP BY k, HOP(at, INTERVAL '3' SECOND, INTERVAL '9' SECOND)",
    "session": f"SELECT {COLUMNS} FROM given GROUP BY k, SESSION(at, INTERVAL '4' SECOND)",
    "changes": f"SELECT {COLUMNS} FROM given GROUP BY k, TUMBLE(at, INTERVAL '5' SECOND) EMIT CHANGES",
    "session changes": f"SELECT {COLUMNS} FROM given GROUP BY k, SESSION(at, INTERVAL '4' SECOND) EMIT CHANGES",
    "groups": "SELECT k, sum(v) AS v FROM given GROUP BY k",
}


def records(arrival: list[tuple[int, int]]) -> list[bytes]:
    return [
        f'{{"k":"{key}","at":"2024-05-01T10:{seconds // 60:02}:{seconds % 60:02}Z","v":{seconds}}}'.encode()
        for pair in arrival
        for key, seconds in zip("ab", pair, strict=True)
    ]


@dataclass(frozen=True)
class Place:
    """Where one of the two applications lives, and how its source gets more."""

    folder: Path
    source: str
    give: Callable[[list[bytes]], None]

    def application(self, query: str) -> Application:
        self.folder.mkdir(exist_ok=True)
        text = (
            "CREATE STREAM given (k TEXT, at TIMESTAMP, v BIGINT, WATERMARK FOR at AS at - INTERVAL '1' SECOND)"
            f" WITH ({self.source});\n"
            f"CREATE STREAM out WITH (connector='file', path='out.jsonl') AS {query};\n"
        )
        return Application.parse(text, str(self.folder / "app.sql"))

    def output(self) -> bytes:
        return (self.folder / "out.jsonl").read_bytes()

    def run(self, query: str, drain: bool = False) -> JobResult:
        (result,) = self.application(query).run(options=RunOptions(once=True, drain=drain)).jobs
        assert (result.state, result.error) == ("finished", None)
        return result


def run_through(place: Place, query: str) -> None:
    """One job that is there while everything arrives."""
    application = place.application(query)
    job = Job(application.plan.jobs[0], application.environment(RunOptions(), Silent()))
    job.open()
    given = 0
    for arrival in ARRIVALS:
        place.give(records(arrival))
        given += 2 * len(arrival)
        while job.progress.ledger.read < given:
            assert job.task.run_once()
        assert job.task.run_once()
    job.stop()
    assert job.task.run() == "stopped"
    job.close()


def run_by_cron(place: Place, query: str) -> None:
    for arrival in ARRIVALS:
        place.give(records(arrival))
        assert place.run(query).windows_closed_by_end == 0


def watched(folder: Path) -> Place:
    def give(rows: list[bytes]) -> None:
        with (folder / "in.jsonl").open("ab") as file:
            file.write(b"".join(row + b"\n" for row in rows))

    folder.mkdir()
    return Place(folder, "connector='file', path='in.jsonl', watch=true", give)


def compare(one: Place, other: Place, query: str) -> None:
    run_through(one, query)
    run_by_cron(other, query)
    assert other.output() == one.output()
    assert other.output()
    assert all(report.ok for report in audit(other.application(query), RunOptions()))


@pytest.mark.parametrize("name", QUERIES)
def test_runs_by_cron_write_what_one_long_run_writes_over_watched_files(tmp_path: Path, name: str) -> None:
    compare(watched(tmp_path / "long"), watched(tmp_path / "cron"), QUERIES[name])


@pytest.mark.parametrize("name", ["hopping", "session", "changes"])
def test_runs_by_cron_write_what_one_long_run_writes_over_a_topic(
    tmp_path: Path, kafka: Cluster, topic_name: str, name: str
) -> None:
    def place(which: str) -> Place:
        topic = f"{topic_name}-{which}"
        kafka.create_topic(topic)
        source = f"connector='kafka', topic='{topic}', 'bootstrap.servers'='{kafka.bootstrap_servers}'"
        return Place(tmp_path / which, source, lambda rows: kafka.write(topic, rows))

    compare(place("long"), place("cron"), QUERIES[name])


@pytest.mark.parametrize(("name", "windows"), [("tumbling", 1), ("hopping", 3), ("session", 2), ("changes", 0)])
def test_drain_closes_the_windows_that_are_open_and_says_how_many(tmp_path: Path, name: str, windows: int) -> None:
    place = watched(tmp_path / "drained")
    place.give(records([(1, 2), (7, 8)]))
    place.run(QUERIES[name])
    before = place.output()
    result = place.run(QUERIES[name], drain=True)
    assert result.windows_closed_by_end == windows
    assert (len(place.output()) > len(before)) == (windows > 0)
    again = place.run(QUERIES[name], drain=True)
    assert (again.windows_closed_by_end, again.rows) == (0, 0)
    place.give(records([(7, 20)]))
    late = place.run(QUERIES[name]).ledger.late
    assert late == (1 if windows else 0), "a row of a window that the end has closed is late"


def test_bounded_file_closes_its_windows_at_its_end_and_keeps_the_real_watermark(ferris: Ferris) -> None:
    place = watched(ferris.folder / "bounded")
    place.give(records([(1, 2), (7, 8)]))
    bounded = Place(place.folder, "connector='file', path='in.jsonl'", place.give)
    result = bounded.run(QUERIES["tumbling"])
    assert (result.windows_closed_by_end, result.watermark) == (1, "2024-05-01T10:00:07Z")
    bounded.give(records([(12, 13)]))
    assert bounded.run(QUERIES["tumbling"]).ledger.late == 0
    assert bounded.output().count(b"\n") == 6


def test_count_of_records_closes_no_window_of_a_file_that_has_more(tmp_path: Path) -> None:
    place = watched(tmp_path / "some")
    place.give(records([(1, 2), (7, 8)]))
    bounded = Place(place.folder, "connector='file', path='in.jsonl'", place.give)
    options = RunOptions(once=True, max_records=3)
    (result,) = bounded.application(QUERIES["tumbling"]).run(options=options).jobs
    assert (result.state, result.windows_closed_by_end) == ("stopped", 0)
    assert bounded.run(QUERIES["tumbling"]).ledger.late == 0
    assert bounded.output().count(b"\n") == 4


def test_drain_without_once_is_wrong_usage(tmp_path: Path) -> None:
    place = watched(tmp_path / "wrong")
    with pytest.raises(ConfigError, match="goes with once"):
        place.application(QUERIES["groups"]).run(options=RunOptions(drain=True))


DAYS = (
    "CREATE STREAM logs (at TIMESTAMP, WATERMARK FOR at AS at)"
    " WITH (connector='file', path='day-*.jsonl', watch=true, 'watermark.idle_timeout'={idle});\n"
    "CREATE STREAM counts WITH (connector='file', path='counts.jsonl') AS"
    " SELECT window_start, count(*) AS n FROM logs GROUP BY TUMBLE(at, INTERVAL '1' DAY);\n"
)


def write_days(ferris: Ferris, idle: str) -> None:
    ferris.write(
        app__sql=DAYS.format(idle=idle).replace(", 'watermark.idle_timeout'=none", ""),
        **{f"day-{n}__jsonl": f'{{"at":"2024-05-0{n}T10:00:00Z"}}\n' for n in (1, 2, 3)},
    )


def test_watched_file_that_was_read_holds_windows_until_it_is_archived(ferris: Ferris) -> None:
    """A file that may grow is never known to be whole."""
    write_days(ferris, "none")
    assert ferris("run", "app.sql", "--once").code == 0
    assert ferris.lines("counts.jsonl") == []
    (ferris.folder / "archive").mkdir()
    (ferris.folder / "day-1.jsonl").rename(ferris.folder / "archive" / "day-1.jsonl")
    assert ferris("run", "app.sql", "--once").code == 0
    assert [row["window_start"] for row in ferris.lines("counts.jsonl")] == ["2024-05-01T00:00:00Z"]


def test_watched_file_that_is_silent_leaves_the_watermark_after_the_idle_timeout(ferris: Ferris) -> None:
    write_days(ferris, "'2s'")
    process = ferris.start("run", "app.sql")
    with (ferris.folder / "day-3.jsonl").open("a") as newest:
        for second in range(WAITS_MAX):
            newest.write(f'{{"at":"2024-05-03T10:{second // 60:02}:{second % 60:02}Z"}}\n')
            newest.flush()
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(process.wait(0.1))
            if (ferris.folder / "counts.jsonl").exists() and len(ferris.lines("counts.jsonl")) == 2:
                break
    process.terminate()
    assert process.wait(60) == 0
    assert [row["n"] for row in ferris.lines("counts.jsonl")] == [1, 1]
