"""Jobs with several workers over a topic, through the command: the answers of one worker, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

import ferrisstreams as fs
from ferrisstreams.connectors.kafka.producer import KafkaProducer, KafkaProducerSettings
from ferrisstreams.connectors.kafka.topics import Topics
from ferrisstreams.errors import ConfigError, FencedError
from tests.broker import Cluster, Record
from tests.processes import FerrisProcess
from tests.surfaces.conftest import WAIT_SECONDS, WAITS_MAX, Ferris, Ran
from tests.surfaces.test_kafka import OUT, Application

COLUMNS = "ts TIMESTAMP, k TEXT, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND"
FILTER = OUT + "SELECT k, v FROM given WHERE v % 3 > 0;"
WINDOW = (
    OUT + "SELECT window_start, k, count(*) AS n, sum(v) AS v FROM given GROUP BY k, TUMBLE(ts, INTERVAL '5' SECOND);"
)


@pytest.fixture
def app(kafka: Cluster, ferris: Ferris, topic_name: str) -> Application:
    return Application(kafka, ferris, topic_name)


def fill(app: Application, count: int, partitions: int = 2, start: int = 0) -> None:
    """Each key in a partition of its own; one record in 50 does not decode."""
    if not start:
        app.kafka.create_topic(app.topic, partitions)
    records = []
    for number in range(start, start + count):
        k = number % 7
        text = f'{{"ts": "2024-01-01T00:00:{number // 100 % 60:02}Z", "k": "k{k}", "v": {number % 100}}}'
        records.append(Record(text.encode() if number % 50 else b"broken", partition=k % partitions))
    app.kafka.write(app.topic, records)


def values(app: Application, topic: str) -> Counter[bytes]:
    return Counter(record.value or b"" for record in app.kafka.read(topic))


@pytest.mark.parametrize("query", [FILTER, WINDOW], ids=["filter", "window"])
def test_two_workers_give_what_one_gives(app: Application, query: str) -> None:
    fill(app, 3_000, partitions=3)
    letters = "'failure_strategy' = 'send_to_dlq', 'topic' = "
    app.write(query.replace("'topic' = ", letters), columns=COLUMNS, partitioned_by="k")
    one = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql")
    expected = values(app, f"{app.topic}-out")
    assert one.code == 0, one.err
    assert expected
    again = query.replace("STREAM out", "STREAM two").replace("-out", "-two").replace("'topic' = ", letters)
    app.write(again, columns=COLUMNS, partitioned_by="k")
    two = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert two.code == 0, two.err
    assert "E4105" not in two.err  # none fences another
    assert values(app, f"{app.topic}-two") == expected
    for name in ("ledger", "rows", "positions", "state"):
        assert two.job[name] == one.job[name], name
    assert two.job["ledger"]["dead_lettered"] == 60
    assert sum(values(app, f"{app.topic}.two.dlq").values()) == 60
    audit = app.ferris("audit", "app.sql", "-o", "json", "--set", "parallelism=2")
    assert audit.code == 0, audit.out + audit.err
    assert [report["ok"] for report in audit.summary["jobs"]] == [True]


def test_parallel_job_goes_on_where_it_was(app: Application) -> None:
    fill(app, 700)
    app.write(FILTER, columns=COLUMNS, partitioned_by="k")
    for run in range(3):
        ran = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
        assert ran.code == 0, ran.err
        assert (ran.job["rows"], ran.job["ledger"]["read"]) == (700, 700 * (run + 1))
        fill(app, 700, start=700 * (run + 1))
    assert len(app.kafka.read(f"{app.topic}-out")) == ran.job["ledger"]["written"]


def test_commands_show_every_worker(app: Application) -> None:
    fill(app, 700, partitions=3)
    app.write(FILTER, columns=COLUMNS)
    ran = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert ran.code == 0, ran.err
    # What is shown is what there is, also without the setting.
    shown = app.ferris("state", "show", "app.sql", "-o", "json").summary["jobs"]
    assert [(report["worker"], sorted(report["positions"])) for report in shown] == [
        (0, [f"{app.topic}-0", f"{app.topic}-2"]),
        (1, [f"{app.topic}-1"]),
    ]
    assert all(report["token"] == report["epoch"] for report in shown)
    offsets = app.ferris("offsets", "app.sql", "-o", "json").summary["jobs"]["out"]
    assert [each["partition"] for each in offsets] == [f"{app.topic}-{number}" for number in range(3)]
    assert all(each["position"] == each["committed"] == each["end"] for each in offsets)
    moved = app.ferris("offsets", "app.sql", "--to", "earliest")
    assert moved.code == 0, moved.err
    again = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert again.job["rows"] == 700, again.err
    rebuild = app.ferris("state", "rebuild", "app.sql", "--set", "parallelism=2")
    assert rebuild.code == 1
    assert "E5003" in rebuild.err
    assert "2 workers" in rebuild.err
    assert "state reset" in rebuild.err
    reset = app.ferris("state", "reset", "app.sql", "--yes")
    assert reset.code == 0, reset.err
    assert app.ferris("state", "show", "app.sql").code == 1
    anew = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=3")
    assert anew.job["ledger"]["read"] == 700, anew.err


def test_several_jobs_may_have_several_workers(app: Application) -> None:
    fill(app, 700)
    app.write(
        FILTER.replace("'topic'", "'parallelism' = 2, 'topic'"),
        "CREATE STREAM bin WITH ('connector' = 'blackhole', 'parallelism' = 2) AS SELECT k FROM given;",
        columns=COLUMNS,
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    assert [(job["name"], job["state"], job["rows"]) for job in ran.summary["jobs"]] == [
        ("out", "finished", 700),
        ("bin", "finished", 700),
    ]


# --- another number of workers ----------------------------------------------------------------------------------------


def with_workers(app: Application, workers: int, *arguments: str) -> Ran:
    return app.ferris(
        "run", "--once", "--drain", "-o", "json", "app.sql", "--set", f"parallelism={workers}", *arguments
    )


def test_job_without_state_goes_on_with_other_workers(app: Application) -> None:
    fill(app, 700, partitions=3)
    letters = FILTER.replace("'topic'", "'failure_strategy' = 'send_to_dlq', 'topic'")
    app.write(letters, columns=COLUMNS)
    for run, workers in enumerate((1, 2, 3, 1)):
        ran = with_workers(app, workers)
        assert ran.code == 0, ran.err
        assert (ran.job["rows"], ran.job["ledger"]["read"]) == (700, 700 * (run + 1)), workers
        assert len(app.kafka.read(f"{app.topic}-out")) == ran.job["ledger"]["written"]
        assert len(app.kafka.read(f"{app.topic}.out.dlq")) == ran.job["ledger"]["dead_lettered"] == 14 * (run + 1)
        fill(app, 700, start=700 * (run + 1))
    audit = app.ferris("audit", "app.sql")
    assert audit.code == 0, audit.out + audit.err


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_workers_that_were_are_fenced_when_others_take_over(app: Application, before: int, after: int) -> None:
    fill(app, 700)
    app.write(FILTER, columns=COLUMNS)
    assert with_workers(app, before).code == 0
    group = f"{app.topic}.out"
    ids = [f"{group}/{worker}" for worker in range(2)] if before == 2 else [group]
    late = [
        KafkaProducer(KafkaProducerSettings(app.kafka.properties, {f"{app.topic}-out": None}, group, i)) for i in ids
    ]
    written = len(app.kafka.read(f"{app.topic}-out"))
    try:
        for producer in late:
            producer.init()
            producer.begin()
            producer.write(f"{app.topic}-out", [b"too late"])
            producer.flush()
        ran = with_workers(app, after)
        assert ran.code == 0, ran.err
        for producer in late:
            with pytest.raises(FencedError):
                producer.commit()
    finally:
        for producer in late:
            producer.close()
    assert len(app.kafka.read(f"{app.topic}-out")) == written


def test_workers_change_where_the_state_decides(app: Application) -> None:
    fill(app, 700)
    app.write("CREATE STREAM bin WITH ('connector' = 'blackhole') AS SELECT k FROM given;", columns=COLUMNS)
    for run, workers in enumerate((2, 1, 2)):
        ran = with_workers(app, workers)
        assert ran.code == 0, ran.err
        assert (ran.job["ledger"]["read"], ran.job["ledger"]["written"]) == (700 * (run + 1), 686 * (run + 1))
        fill(app, 700, start=700 * (run + 1))
    anew = with_workers(app, 1, "--overwrite", "--yes")
    assert (anew.code, anew.job["ledger"]["read"]) == (0, 2800), anew.err


def test_state_belongs_to_its_workers(app: Application) -> None:
    fill(app, 700)
    app.write(WINDOW, columns=COLUMNS, partitioned_by="k")
    assert with_workers(app, 2).code == 0
    refused = with_workers(app, 1)
    assert refused.code == 1
    assert "E5007" in refused.err
    assert "is of 2 workers, and 'parallelism' is 1 now" in refused.err
    assert "--set parallelism=2" in refused.err
    assert "state reset" in refused.err
    again = with_workers(app, 2)
    assert (again.code, again.job["rows"]) == (0, 0), again.err


@pytest.mark.parametrize("query", [FILTER, WINDOW], ids=["filter", "window"])
def test_start_over_with_other_workers_that_kafka_refuses_changes_nothing(app: Application, query: str) -> None:
    fill(app, 700)
    app.write(query, columns=COLUMNS, partitioned_by="k")
    assert with_workers(app, 2).code == 0
    written = values(app, f"{app.topic}-out")
    refused = with_workers(app, 1, "--overwrite", "--yes")
    assert refused.code == 1
    assert "E5007" in refused.err
    assert "state reset" in refused.err
    again = with_workers(app, 2)
    assert (again.code, again.job["rows"]) == (0, 0), again.err
    assert values(app, f"{app.topic}-out") == written


# --- ends -------------------------------------------------------------------------------------------------------------


def workers_of(process: FerrisProcess) -> list[int]:
    """The processes of a job's workers, when all are there: what the server that it has forked has forked."""
    for _ in range(WAITS_MAX):
        found = [worker for server in children(process.pid) for worker in children(server)]
        if len(found) == 2:
            return found
        with suppress(TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
    raise AssertionError("the workers do not start")


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in found for child in children.read_text().split()]


def running(app: Application, count: int) -> FerrisProcess:
    """A job of two workers that has written so many rows and goes on."""
    process = app.ferris.start("run", "-o", "json", "app.sql", "--set", "parallelism=2")
    for _ in range(WAITS_MAX):
        topic = f"{app.topic}-out"
        if Topics(app.kafka.properties).partitions(topic) and len(app.kafka.read(topic)) >= count:
            return process
        with suppress(TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
    raise AssertionError(f"{len(app.kafka.read(f'{app.topic}-out'))} rows, not {count}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_workers_in_order(app: Application, number: signal.Signals) -> None:
    fill(app, 700)
    app.write(OUT + "SELECT k, v FROM given;", columns=COLUMNS)
    process = running(app, 686)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (job,) = json.loads(out.splitlines()[-1])["jobs"]
    assert (job["state"], job["ledger"]["written"], job["ledger"]["skipped"]) == ("stopped", 686, 14)


def test_killed_worker_fails_the_job_and_loses_nothing(app: Application) -> None:
    fill(app, 700)
    app.write(OUT + "SELECT k, v FROM given;", columns=COLUMNS)
    process = running(app, 686)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (job,) = json.loads(out.splitlines()[-1])["jobs"]
    assert (job["state"], job["error"]["code"]) == ("failed", "E6004")
    assert re.search("worker [01] of job 'out' ended without a result .signal SIGKILL.", err), err
    fill(app, 700, start=700)
    ran = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["read"] == 1400
    assert len(app.kafka.read(f"{app.topic}-out")) == ran.job["ledger"]["written"] == 1372


def test_first_failure_is_what_the_user_is_told(app: Application) -> None:
    app.kafka.create_topic(app.topic, 2)
    app.kafka.write(app.topic, [Record(b'{"id": 1}', partition=0), Record(b"broken", partition=1)])
    app.write(
        "CREATE STREAM out WITH ({kafka}, 'topic' = '{topic}-out', 'create.topic' = 'true', 'parallelism' = 2,"
        " 'failure_strategy' = 'fail_batch') AS SELECT id FROM given;"
    )
    process = app.ferris.start("run", "-o", "json", "app.sql")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (job,) = json.loads(out.splitlines()[-1])["jobs"]
    assert (job["state"], job["error"]["code"]) == ("failed", "E6001")
    assert f"{app.topic}-1" in job["error"]["message"]
    assert len(re.findall(r"^[^{].*\[E\d+\]", err, re.M)) == 1, err


def test_second_instance_is_refused(app: Application) -> None:
    fill(app, 700)
    app.write(OUT + "SELECT k, v FROM given;", columns=COLUMNS)
    process = running(app, 686)
    second = app.ferris("run", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert second.code == 1
    assert "E5001" in second.err
    elsewhere = app.ferris("run", "app.sql", "--set", "parallelism=2", "--state-dir", str(app.ferris.folder / "other"))
    assert elsewhere.code == 1
    assert "E5003" in elsewhere.err
    assert not (app.ferris.folder / "other").exists()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


def test_workers_are_read_as_one_job_while_they_run(app: Application) -> None:
    fill(app, 700)
    app.write(OUT + "SELECT k, v FROM given;", columns=COLUMNS)
    process = running(app, 686)
    job = app.ferris("status", "app.sql", "-o", "json", "--set", "parallelism=2").job
    assert (job["state"], job["workers"], len(set(job["run"]["pids"]))) == ("running", 2, 2)
    assert (job["ledger"]["read"], job["run"]["lag"]) == (700, 0)
    audited = app.ferris("audit", "app.sql", "--set", "parallelism=2")
    assert audited.code == 0, audited.out + audited.err
    offsets = app.ferris("offsets", "app.sql", "-o", "json", "--set", "parallelism=2").summary["jobs"]
    assert [sum(each["lag"] for each in partitions) for partitions in offsets.values()] == [0]
    os.kill(job["run"]["pids"][0], signal.SIGKILL)
    process.communicate(timeout=60)
    stopped = app.ferris("status", "app.sql", "-o", "json").job
    assert (stopped["state"], stopped["run"], stopped["ledger"]["read"]) == ("stopped", None, 700)


def test_partition_that_appears_goes_to_its_worker(app: Application) -> None:
    fill(app, 700)
    app.write(OUT + "SELECT k, v, _partition AS p FROM given;", columns=COLUMNS)
    ran = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert ran.code == 0, ran.err
    Topics(app.kafka.properties).grow(app.topic, 4)
    app.kafka.write(app.topic, [Record(b'{"v": %d}' % (i % 4), partition=2 + i % 2) for i in range(20)])
    ran = app.ferris("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert (ran.job["rows"], ran.job["ledger"]["read"]) == (20, 720), ran.err
    shown = app.ferris("state", "show", "app.sql", "-o", "json").summary["jobs"]
    assert [sorted(report["positions"]) for report in shown] == [
        [f"{app.topic}-0", f"{app.topic}-2"],
        [f"{app.topic}-1", f"{app.topic}-3"],
    ]


# --- what is refused --------------------------------------------------------------------------------------------------

SINGLE = "CREATE STREAM out WITH ({kafka}, 'topic' = '{topic}-out', 'create.topic' = 'true', 'parallelism' = 2) AS "

REFUSED = {
    "another source": (
        "CREATE STREAM many (v BIGINT) WITH ('connector' = 'datagen', 'rows' = 3);" + SINGLE + "SELECT v FROM many;",
        "its source is datagen",
    ),
    "a sink of one": (
        "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'o.jsonl', 'parallelism' = 2) AS SELECT v FROM given;",
        "one sink of the connector file",
    ),
    "letters in a file": (
        SINGLE.replace("'parallelism'", "'failure_strategy' = 'send_to_dlq', 'dlq.path' = 'd', 'parallelism'")
        + "SELECT v FROM given;",
        "one file of dead letters",
    ),
    "state by nothing": (SINGLE + "SELECT count(*) AS n FROM given EMIT FINAL;", "it keeps state"),
    "state by another column": (
        SINGLE + "SELECT k, count(*) AS n FROM given GROUP BY k EMIT FINAL;",
        "'partitioned.by' = 'column'",
    ),
    "state by the message key, which may be missing": (
        SINGLE + "SELECT _key AS key, count(*) AS n FROM given GROUP BY _key EMIT FINAL;",
        "'partitioned.by' = 'column'",
    ),
    "two clusters": (
        "CREATE STREAM far (v BIGINT) WITH ('connector' = 'kafka', 'bootstrap.servers' = 'localhost:1');"
        + SINGLE
        + "SELECT v FROM far;",
        "on two clusters",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_workers_cannot_share_is_refused(app: Application, case: str) -> None:
    statement, said = REFUSED[case]
    app.write(statement, columns=COLUMNS)
    ran = app.ferris("run", "--once", "app.sql")
    assert ran.code == 1, ran.out
    assert said in ran.err
    assert "E3006" in ran.err
    assert "hint: " in ran.err
    assert ran.err.startswith("app.sql:")
    assert not (app.ferris.folder / ".ferris").exists()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT upper(k) AS u, count(*) AS n FROM given GROUP BY upper(k) EMIT FINAL;",
        "SELECT v, count(*) AS n FROM given GROUP BY v EMIT FINAL;",
    ],
)
def test_group_must_hold_all_that_the_topic_is_partitioned_by(app: Application, query: str) -> None:
    app.write(SINGLE + query, columns=COLUMNS, partitioned_by="K, v")
    ran = app.ferris("check", "app.sql")
    assert ran.code == 1
    assert "the topic is partitioned by k, v, and the query does not group by k" in ran.err


def test_partition_itself_needs_no_promise(app: Application) -> None:
    fill(app, 700)
    app.write(
        SINGLE + "SELECT _partition AS p, count(*) AS n FROM given GROUP BY _partition EMIT FINAL;", columns=COLUMNS
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    counts = {row["p"]: row["n"] for row in map(json.loads, values(app, f"{app.topic}-out"))}
    assert sum(counts.values()) == 686
    assert sorted(counts) == [0, 1]


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_number_of_workers_is_a_whole_one(app: Application, value: str) -> None:
    app.write(OUT + "SELECT v FROM given;", columns=COLUMNS)
    ran = app.ferris("run", "app.sql", "--set", f"parallelism={value}")
    assert ran.code == 1
    assert "E3002" in ran.err
    assert "parallelism" in ran.err


def test_column_that_is_not_there_partitions_nothing(app: Application) -> None:
    app.write(OUT + "SELECT v FROM given;", columns=COLUMNS, partitioned_by="symbl, k")
    ran = app.ferris("check", "app.sql")
    assert ran.code == 1
    assert "has no column 'symbl'" in ran.err


def test_broker_that_is_away_is_tried_again_as_often_as_the_settings_say(app: Application) -> None:
    app.write(SINGLE + "SELECT v FROM given;", columns=COLUMNS)
    retries = ("--set", "max_retries=1", "--set", "retry_backoff=10ms")
    ran = app.ferris("run", "--once", "app.sql", "--set", "bootstrap.servers=127.0.0.1:9", *retries)
    assert ran.code == 1
    assert ran.err.count('"event": "job_reopens"') == 1
    assert "E4101" in ran.err


def test_library_refuses_what_needs_processes(app: Application) -> None:
    app.write(SINGLE + "SELECT v FROM given;", columns=COLUMNS)
    application = fs.Application.read(app.ferris.folder / "app.sql")
    with pytest.raises(ConfigError, match="out has 2 workers") as error:
        application.run()
    assert error.value.code == "E3006"
    assert "ferris run" in (error.value.hint or "")


def test_configuration_file_may_give_the_number(app: Application) -> None:
    app.kafka.create_topic(app.topic, 2)
    app.ferris.write(out__yaml="parallelism: 3\n")
    app.write(
        "CREATE STREAM out AS SELECT v FROM given WITH ('connector' = 'kafka', 'topic' = '{topic}-out',"
        " 'create.topic' = 'true', 'bootstrap.servers' = 'nowhere:1', 'config_file' = 'out.yaml');",
        columns=COLUMNS,
    )
    ran = app.ferris("run", "--once", "app.sql", "--set", f"bootstrap.servers={app.kafka.bootstrap_servers}")
    assert ran.code == 1
    assert "cannot have 3 workers" in ran.err


def test_worker_without_a_partition_is_refused(app: Application) -> None:
    app.kafka.create_topic(app.topic, 2)
    app.write(OUT + "SELECT v FROM given;", columns=COLUMNS)
    ran = app.ferris("run", "--once", "app.sql", "--set", "parallelism=3")
    assert ran.code == 1
    assert f"its topic {app.topic} has 2 partitions" in ran.err
    assert "E3006" in ran.err
    app.kafka.write(app.topic, [b'{"v": 1}'])
    limited = app.ferris("run", "--max-records", "1", "app.sql", "--set", "parallelism=2")
    assert limited.code == 1
    assert "--max-records" in limited.err


def test_topic_may_not_grow_under_keyed_state(app: Application) -> None:
    fill(app, 700)
    app.write(WINDOW, columns=COLUMNS, partitioned_by="k")
    command = ("run", "--once", "--drain", "-o", "json", "app.sql", "--set", "parallelism=2")
    assert app.ferris(*command).code == 0
    Topics(app.kafka.properties).grow(app.topic, 3)
    ran = app.ferris(*command)
    assert ran.code == 1
    assert "E4112" in ran.err
    assert "had 2 partitions and has 3" in ran.err
