"""Jobs of one application that feed one another."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import ferrisstreams as fs
from ferrisstreams.connectors.output_claim import claim_path, final_length
from ferrisstreams.runtime.observer import ProgressEvent
from tests.broker import Cluster
from tests.surfaces.conftest import Ferris

WATCHED = "connector='file', path='in.jsonl', watch=true"
FIRST = (
    "CREATE STREAM given (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at) WITH ({source});\n"
    "CREATE STREAM some WITH ({between}) AS SELECT id, at FROM given WHERE id % 2 = 0;\n"
)
PIPELINE = (
    FIRST
    + "CREATE STREAM counts WITH (connector='file', path='counts.jsonl') AS"
    + " SELECT window_start, count(*) AS n FROM some GROUP BY TUMBLE(at, INTERVAL '10' SECOND);\n"
)
BETWEEN = {
    "file": "connector='file', path='some.jsonl'",
    "packed": "connector='file', path='some.jsonl.gz'",
    "rotated": "connector='file', path='parts/{n:04}.jsonl', 'rotate.rows'=3",
}


def rows(start: int, stop: int) -> str:
    return "".join(f'{{"id":{n},"at":"2024-05-01T10:{n // 60:02}:{n % 60:02}Z"}}\n' for n in range(start, stop))


def counts(windows: int) -> list[dict[str, object]]:
    return [{"window_start": f"2024-05-01T10:{n // 6:02}:{n % 6}0Z", "n": 5} for n in range(windows)]


def give(ferris: Ferris, text: str) -> None:
    with (ferris.folder / "in.jsonl").open("a") as file:
        file.write(text)


@pytest.mark.parametrize("between", BETWEEN)
def test_jobs_over_an_endless_source_run_side_by_side(ferris: Ferris, between: str) -> None:
    ferris.write(app__sql=PIPELINE.format(source=WATCHED, between=BETWEEN[between]))
    give(ferris, rows(0, 35))
    process = ferris.start("run", "app.sql", "-o", "json")
    ferris.wait_for(process, "counts.jsonl", 1)
    give(ferris, rows(35, 95))
    ferris.wait_for(process, "counts.jsonl", 6)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [job["state"] for job in json.loads(out.splitlines()[-1])["jobs"]] == ["stopped", "stopped"]
    give(ferris, rows(95, 125))
    again = ferris("run", "app.sql", "--once", "--drain", "-o", "json")
    assert again.code == 0, again.err
    assert ferris.lines("counts.jsonl")[:12] == counts(12)
    assert ferris("audit", "app.sql").code == 0


def test_reader_ends_when_those_that_feed_it_have_ended_and_all_is_read(ferris: Ferris) -> None:
    ferris.write(app__sql=PIPELINE.format(source=WATCHED, between=BETWEEN["file"]))
    give(ferris, rows(0, 64))
    ran = ferris("run", "app.sql", "-o", "json", "--max-records", "50")
    assert ran.code == 0, ran.err
    first, second = json.loads(ran.out.splitlines()[-1])["jobs"]
    assert (first["rows"], first["state"]) == (50, "stopped")
    assert (second["rows"], second["windows_closed_by_end"]) == (25, 0)
    assert ferris.lines("counts.jsonl") == counts(4)


def test_reader_of_a_job_that_fails_reads_what_is_final_and_ends(ferris: Ferris) -> None:
    ferris.write(app__sql=PIPELINE.format(source=WATCHED, between=BETWEEN["file"]))
    give(ferris, rows(0, 35))
    process = ferris.start("run", "app.sql", "-o", "json")
    ferris.wait_for(process, "counts.jsonl", 3)
    (ferris.folder / "in.jsonl").write_text(rows(0, 1))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    first, second = json.loads(out.splitlines()[-1])["jobs"]
    assert (first["state"], first["error"]["code"], second["rows"]) == ("failed", "E4002", 18)
    assert "shrank" in err


def test_bounded_jobs_run_in_the_order_of_their_dependence(ferris: Ferris) -> None:
    bounded = WATCHED.replace(", watch=true", "")
    ferris.write(app__sql=PIPELINE.format(source=bounded, between=BETWEEN["file"]))
    give(ferris, rows(0, 35))
    ran = ferris("run", "app.sql", "-o", "json")
    assert ran.code == 0, ran.err
    assert [job["state"] for job in json.loads(ran.out.splitlines()[-1])["jobs"]] == ["finished", "finished"]
    assert [row["n"] for row in ferris.lines("counts.jsonl")] == [5, 5, 5, 3]


def test_reader_never_sees_rows_that_a_crash_takes_back(ferris: Ferris) -> None:
    settings = BETWEEN["file"] + ", 'commit.policy'='per_batch'"
    source = WATCHED + ", 'batch.strategy'='fixed_size', 'batch.size'=10"
    ferris.write(app__sql=PIPELINE.format(source=source, between=settings))
    give(ferris, rows(0, 35))
    killed = ferris("run", "app.sql", "--once", "--job", "some", FERRIS_FAULT="after_flush:3")
    assert killed.code == -signal.SIGKILL
    some = ferris.folder / "some.jsonl"
    final = final_length(str(some))
    assert final is not None
    assert 0 < final < some.stat().st_size
    read = ferris("run", "app.sql", "--once", "--job", "counts", "-o", "json")
    assert read.job["rows"] == some.read_bytes()[:final].count(b"\n")
    assert ferris("run", "app.sql", "--once", "--drain").code == 0
    assert [row["n"] for row in ferris.lines("counts.jsonl")] == [5, 5, 5, 3]
    assert not Path(claim_path(str(some))).exists()
    assert ferris("audit", "app.sql").code == 0


def test_jobs_over_topics_run_side_by_side(ferris: Ferris, kafka: Cluster, topic_name: str) -> None:
    kafka.create_topic(topic_name)
    there = f"connector='kafka', 'bootstrap.servers'='{kafka.bootstrap_servers}', topic="
    sql = PIPELINE.format(source=f"{there}'{topic_name}'", between=f"{there}'{topic_name}-some', 'create.topic'=true")
    ferris.write(app__sql=f"-- @app: {topic_name}\n{sql}")
    kafka.write(topic_name, [row.encode() for row in rows(0, 35).splitlines()])
    process = ferris.start("run", "app.sql")
    ferris.wait_for(process, "counts.jsonl", 3)
    kafka.write(topic_name, [row.encode() for row in rows(35, 75).splitlines()])
    ferris.wait_for(process, "counts.jsonl", 7)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert ferris.lines("counts.jsonl") == counts(7)


def test_reader_of_a_topic_goes_on_when_its_writer_has_finished(
    ferris: Ferris, kafka: Cluster, topic_name: str
) -> None:
    """Anyone may write to a topic."""
    there = f"connector='kafka', 'bootstrap.servers'='{kafka.bootstrap_servers}', topic='{topic_name}'"
    bounded = WATCHED.replace(", watch=true", "")
    sql = PIPELINE.format(source=bounded, between=f"{there}, 'create.topic'=true")
    ferris.write(app__sql=f"-- @app: {topic_name}\n{sql}")
    give(ferris, rows(0, 35))
    process = ferris.start("run", "app.sql")
    ferris.wait_for(process, "counts.jsonl", 3)
    kafka.write(topic_name, [row.encode() for row in rows(40, 61).splitlines()[::2]])
    ferris.wait_for(process, "counts.jsonl", 6)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [row["n"] for row in ferris.lines("counts.jsonl")] == [5, 5, 5, 3, 5, 5]


def test_library_runs_jobs_over_an_endless_source_at_the_same_time(tmp_path: Path) -> None:
    (tmp_path / "app.sql").write_text(PIPELINE.format(source=WATCHED, between=BETWEEN["file"]))
    (tmp_path / "in.jsonl").write_text(rows(0, 64))
    first, second = fs.Application.read(tmp_path / "app.sql").run(options=fs.RunOptions(max_records=50)).jobs
    assert (first.name, first.rows, first.state) == ("some", 50, "stopped")
    assert (second.name, second.rows, second.state, second.windows_closed_by_end) == ("counts", 25, "finished", 0)
    assert [json.loads(line) for line in (tmp_path / "counts.jsonl").read_text().splitlines()] == counts(4)


class Stopping:
    """Stops the application when each of these jobs has read so many rows."""

    def __init__(self, application: fs.Application, **rows: int) -> None:
        self._application = application
        self._left = rows

    def progress(self, event: ProgressEvent) -> None:
        if event.rows >= self._left.get(event.job, event.rows + 1):
            del self._left[event.job]
            if not self._left:
                self._application.stop()

    def event(self, name: str, **fields: object) -> None:
        pass


def test_library_stops_all_jobs(tmp_path: Path) -> None:
    (tmp_path / "app.sql").write_text(PIPELINE.format(source=WATCHED, between=BETWEEN["file"]))
    (tmp_path / "in.jsonl").write_text(rows(0, 64))
    application = fs.Application.read(tmp_path / "app.sql")
    result = application.run(observer=Stopping(application, counts=32))
    assert [(job.name, job.rows) for job in result.jobs] == [("some", 64), ("counts", 32)]
    assert [job.error for job in result.jobs] == [None, None]


def test_library_does_not_start_a_job_whose_feeder_failed(tmp_path: Path) -> None:
    bounded = WATCHED.replace(", watch=true", "")
    (tmp_path / "app.sql").write_text(PIPELINE.format(source=bounded, between=BETWEEN["file"]))
    first, second = fs.Application.read(tmp_path / "app.sql").run().jobs
    assert first.error is not None
    assert first.error.code == "E4001"
    assert second.error is not None
    assert (second.error.code, second.rows) == ("E6005", 0)
    assert not (tmp_path / ".ferris").exists()


def test_library_runs_jobs_beside_an_endless_one_that_does_not_feed_them(tmp_path: Path) -> None:
    other = "CREATE STREAM more (id BIGINT) WITH (connector='file', path='in.jsonl');"
    other += " CREATE STREAM counts WITH (connector='file', path='counts.jsonl') AS SELECT id FROM more;"
    (tmp_path / "app.sql").write_text(FIRST.format(source=WATCHED, between=BETWEEN["file"]) + other)
    (tmp_path / "in.jsonl").write_text(rows(0, 8))
    application = fs.Application.read(tmp_path / "app.sql")
    result = application.run(observer=Stopping(application, counts=8, some=8))
    assert {(job.name, job.rows) for job in result.jobs} == {("some", 8), ("counts", 8)}
