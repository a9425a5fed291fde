"""Reads beside a job that runs: by real commands, and by callers that mean no good."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ferrisstreams import Application
from ferrisstreams.runtime.door import CALLERS_MAX
from tests.broker import Cluster
from tests.processes import FerrisProcess
from tests.surfaces.conftest import WAIT_SECONDS, WAITS_MAX, Ferris

TRADES = """\
CREATE STREAM trades (ts TIMESTAMP, symbol TEXT, qty INTEGER, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'file', 'path' = 'trades.jsonl', 'watch' = true);
CREATE STREAM counts WITH ('connector' = 'file', 'path' = 'counts.jsonl', 'failure_strategy' = 'send_to_dlq') AS
"""
COUNTS = TRADES + "SELECT symbol, count(*) AS n FROM trades GROUP BY symbol EMIT CHANGES;\n"
RECORDS = "".join(f'{{"ts": "2024-01-01T09:00:0{n}Z", "symbol": "s{n % 2}", "qty": {n}}}\n' for n in range(5))


@pytest.fixture
def running(ferris: Ferris) -> tuple[Ferris, FerrisProcess]:
    ferris.write(app__sql=COUNTS, trades__jsonl=RECORDS + "not a trade\n")
    process = started(ferris)
    wait_until_read(ferris, process, 6)
    return ferris, process


def wait_until_read(ferris: Ferris, process: FerrisProcess, rows: int) -> None:
    """Until an epoch with so many rows is final: the output is written before that."""
    for _ in range(WAITS_MAX):
        if status(ferris)["ledger"]["read"] == rows:
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
    raise AssertionError(f"{rows} rows are never read")


def started(ferris: Ferris, lines: int = 2, **environment: str) -> FerrisProcess:
    process = ferris.start("run", "app.sql", **environment)
    ferris.wait_for(process, "counts.jsonl", lines)
    return process


def status(ferris: Ferris) -> Any:
    shown = ferris("status", "app.sql", "-o", "json")
    assert shown.code == 0, shown.err
    return shown.job


def state_folder(ferris: Ferris) -> Path:
    return ferris.folder / ".ferris" / "app" / "counts"


def door(ferris: Ferris) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect((state_folder(ferris) / "door").read_text())
    return connection


def test_job_is_read_while_it_runs(running: tuple[Ferris, FerrisProcess]) -> None:
    ferris, process = running
    job = status(ferris)
    assert (job["state"], job["run"]["pids"], job["run"]["rows"]) == ("running", [process.pid], 6)
    assert (job["ledger"]["absorbed"], job["ledger"]["dead_lettered"], job["prepared"]) == (5, 1, None)
    (shown,) = ferris("state", "show", "app.sql", "-o", "json").summary["jobs"]
    assert (shown["running"], shown["rows"], shown["rows_by_operator"]) == (True, 2, {"aggregate": 2})
    assert (shown["epoch"], shown["confirmed"]) == (job["epoch"], True)
    audited = ferris("audit", "app.sql")
    assert audited.code == 0, audited.out + audited.err
    assert "letters of rows that failed" in audited.out
    offsets = json.loads(ferris("offsets", "app.sql", "-o", "json").out)["jobs"]["counts"]
    assert [each["position"]["offset"] for each in offsets] == [len(RECORDS + "not a trade\n")]
    (known,) = Application.read(ferris.folder / "app.sql").status()
    assert (known.state, known.ledger.as_dict()) == ("running", job["ledger"])
    assert "counts: running" in ferris("status", "app.sql").out


def test_job_that_has_ended_is_read_from_its_file(ferris: Ferris) -> None:
    ferris.write(app__sql=COUNTS.replace(", 'watch' = true", ""), trades__jsonl=RECORDS)
    assert status(ferris)["state"] == "new"
    assert ferris("run", "app.sql").code == 0
    job = status(ferris)
    assert (job["state"], job["run"], job["ledger"]["read"]) == ("finished", None, 5)
    assert not (state_folder(ferris) / "door").exists()


def test_socket_of_a_killed_job_is_noticed_and_replaced(running: tuple[Ferris, FerrisProcess]) -> None:
    ferris, process = running
    left = Path((state_folder(ferris) / "door").read_text())
    process.kill()
    process.wait(60)
    assert left.exists()
    job = status(ferris)
    assert (job["state"], job["run"], job["ledger"]["read"]) == ("stopped", None, 6)
    audited = ferris("audit", "app.sql")
    assert audited.code == 0, audited.out
    with (ferris.folder / "trades.jsonl").open("a") as file:
        file.write(RECORDS)
    again = started(ferris, 4)
    assert status(ferris)["run"]["pids"] == [again.pid]
    assert not left.parent.exists()
    left = Path((state_folder(ferris) / "door").read_text())
    again.kill()
    again.wait(60)
    assert ferris("state", "reset", "app.sql", "--yes").code == 0
    assert not left.parent.exists()


def test_callers_that_mean_no_good_hold_nobody_up(running: tuple[Ferris, FerrisProcess]) -> None:
    ferris, _ = running
    silent = [door(ferris) for _ in range(3 * CALLERS_MAX)]
    for said in (b"\xff\xff\xff\xff" + b"x" * 100, b"GET / HTTP/1.1\r\n\r\n", (5000).to_bytes(4, "big")):
        with closing(door(ferris)) as garbage, suppress(ConnectionResetError, BrokenPipeError):
            garbage.sendall(said)
            assert garbage.recv(1000) == b""
    for text in (b"{}", b"[" * 4000, b'{"door": 1, "kind": "ReadState", "no": 1}', b'{"door": 1, "kind": "Refusal"}'):
        with closing(door(ferris)) as garbage:
            garbage.sendall(len(text).to_bytes(4, "big") + text)
            assert b'"Refusal"' in garbage.recv(1000)
    assert status(ferris)["state"] == "running"
    assert [each.recv(1) for each in silent] == [b""] * len(silent)
    for each in silent:
        each.close()
    with (ferris.folder / "trades.jsonl").open("a") as file:
        file.write(RECORDS)
    ferris.wait_for(ferris.processes[0], "counts.jsonl", 4)


def test_read_beside_a_heavy_query_does_not_wait_for_it(ferris: Ferris) -> None:
    heavy = "SELECT list_sum(list_transform(range(qty * 4000000), lambda x: x % 7)) AS s FROM trades;\n"
    ferris.write(app__sql=TRADES + heavy, trades__jsonl=RECORDS)
    process = ferris.start("run", "app.sql")
    while not (state_folder(ferris) / "door").exists():
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
    assert status(ferris)["ledger"]["read"] == 0
    assert ferris("state", "show", "app.sql").code == 0
    ferris.wait_for(process, "counts.jsonl", 5)


def test_job_whose_door_does_not_open_says_so_and_goes_on(ferris: Ferris) -> None:
    ferris.write(app__sql=COUNTS, trades__jsonl=RECORDS)
    deep = ferris.folder / ("deep" * 30)
    deep.mkdir()
    process = started(ferris, TMPDIR=str(deep))
    refused = ferris("status", "app.sql")
    assert refused.code == 1
    assert "does not answer reads" in refused.err
    assert "E5001" in refused.err
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "reads_unavailable" in err
    assert "too long" in err
    assert [*deep.iterdir()] == []
    assert status(ferris)["state"] == "stopped"


def test_name_that_somebody_planted_is_not_followed(running: tuple[Ferris, FerrisProcess]) -> None:
    ferris, _ = running
    name = state_folder(ferris) / "door"
    own = name.read_text()
    open_folder = ferris.folder / "ferris-12345678"
    open_folder.mkdir(mode=0o755)
    (linked := ferris.folder / "ferris-abcdefgh").symlink_to(Path(own).parent)
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(f"{open_folder}/door")
        planted.listen()
        for text in (f"{open_folder}/door", f"{linked}/door", "/etc/passwd", "x" * 10_000):
            name.write_text(text)
            refused = ferris("status", "app.sql")
            assert (refused.code, "E5001" in refused.err) == (1, True), text
    name.unlink()
    name.symlink_to(ferris.folder / "real")
    (ferris.folder / "real").write_text(own)
    assert ferris("status", "app.sql").code == 1


def test_copy_of_a_state_is_not_answered_by_the_job_of_the_original(running: tuple[Ferris, FerrisProcess]) -> None:
    ferris, _ = running
    shutil.copytree(ferris.folder / ".ferris", ferris.folder / "copy")
    shown = ferris("status", "app.sql", "--state-dir", "copy", "-o", "json")
    assert shown.job["state"] == "stopped", shown.err


def test_start_waits_for_whoever_reads_the_state(ferris: Ferris) -> None:
    ferris.write(app__sql=COUNTS, trades__jsonl=RECORDS)
    process = started(ferris)
    process.terminate()
    assert process.wait(60) == 0
    with (ferris.folder / "trades.jsonl").open("a") as file:
        file.write(RECORDS)
    reader = duckdb.connect(str(state_folder(ferris) / "state.duckdb"), read_only=True)
    again = ferris.start("run", "app.sql")
    with pytest.raises(subprocess.TimeoutExpired):
        again.wait(0.5)
    reader.close()
    ferris.wait_for(again, "counts.jsonl", 4)


def test_columns_that_were_inferred_are_those_of_the_state(ferris: Ferris) -> None:
    text = """
CREATE STREAM given WITH ('connector' = 'file', 'path' = 'in.jsonl');
CREATE STREAM sums WITH ('connector' = 'file', 'path' = 'sums.jsonl') AS SELECT k, sum(v) AS v FROM given GROUP BY k;
"""
    ferris.write(app__sql=text, in__jsonl='{"k": "a", "v": 1}\n')
    assert ferris("run", "app.sql", "--state-dir", "kept").code == 0
    ferris.write(in__jsonl='{"k": "a", "v": 1}\n{"k": "a", "v": 1.5, "w": true}\n')
    for command in (("state", "show"), ("audit",), ("offsets",), ("status",)):
        ran = ferris(*command, "app.sql", "--state-dir", "kept")
        assert ran.code == 0, ran.err


def test_job_whose_columns_are_not_known_yet_is_new(ferris: Ferris) -> None:
    kafka = "'connector' = 'kafka', 'bootstrap.servers' = 'localhost:1'"
    ferris.write(app__sql=f"CREATE STREAM a WITH ({kafka}); CREATE STREAM b WITH ({kafka}) AS SELECT * FROM a;")
    assert (status(ferris)["job"], status(ferris)["state"]) == ("b", "new")


TOPICS = """\
-- @app: {topic}
CREATE STREAM events (id INT) WITH
('connector' = 'kafka', 'topic' = '{topic}', 'bootstrap.servers' = '{servers}');
CREATE STREAM copied WITH
('connector' = 'kafka', 'topic' = '{topic}-out', 'bootstrap.servers' = '{servers}', 'create.topic' = true) AS
SELECT id FROM events;
"""


@pytest.mark.parametrize(("fault", "is_final"), [("after_prepare", False), ("after_transaction", True)])
def test_epoch_that_kafka_has_not_decided_is_not_what_is_shown(
    ferris: Ferris, kafka: Cluster, topic_name: str, fault: str, is_final: bool
) -> None:
    kafka.create_topic(topic_name)
    ferris.write(app__sql=TOPICS.format(topic=topic_name, servers=kafka.bootstrap_servers))
    kafka.write(topic_name, [b'{"id": 1}'] * 5)
    assert ferris("run", "app.sql", "--once").code == 0
    before = status(ferris)
    kafka.write(topic_name, [b'{"id": 2}'] * 7)
    assert ferris("run", "app.sql", "--once", FERRIS_FAULT=fault).code != 0
    job = status(ferris)
    assert (job["state"], job["epoch"], job["prepared"]) == ("stopped", before["epoch"], before["epoch"] + 1)
    assert f"epoch {before['epoch'] + 1} is prepared" in ferris("status", "app.sql").out
    (shown,) = ferris("state", "show", "app.sql", "-o", "json").summary["jobs"]
    assert (shown["epoch"] - before["epoch"], shown["ledger"]["read"]) == ((1, 12) if is_final else (0, 5))
    assert (shown["confirmed"], shown["token"]) == (is_final, shown["epoch"])
    audited = ferris("audit", "app.sql")
    assert audited.code == 0, audited.out + audited.err
    assert ferris("run", "app.sql", "--once").code == 0
    assert (status(ferris)["ledger"]["read"], status(ferris)["prepared"]) == (12, None)
