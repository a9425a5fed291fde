"""A broker that goes away and comes back, and a job that has the patience."""

from __future__ import annotations

import json
from pathlib import Path

from tests import processes
from tests.broker import Broker
from tests.processes import FerrisProcess

ROWS = 400

APPLICATION = """
CREATE STREAM numbers (n BIGINT) WITH ('connector' = 'file', 'path' = 'in/*.jsonl', 'watch' = 'true');
CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = 'out',
    'create.topic' = 'true', 'sink.failure_strategy' = 'RetryWithBackoff', 'sink.retry_backoff' = '100ms',
    'sink.circuit.failure_threshold' = '1', 'sink.circuit.recovery_timeout' = '1s',
    'sink.circuit.success_threshold' = '1', 'kafka.socket.timeout.ms' = '1000',
    'kafka.reconnect.backoff.max.ms' = '200') AS SELECT n FROM numbers;
"""


def lines(start: int, stop: int) -> str:
    return "".join(f'{{"n": {number}}}\n' for number in range(start, stop))


def told(process: FerrisProcess, *wanted: str) -> list[dict[str, object]]:
    """Log lines, until there was a breaker's for each of these states, in this order."""
    left, found = list(wanted), []
    while left:
        line = process.stderr.readline()
        assert line, f"the job ended without {left}"
        found.append(json.loads(line))
        if found[-1]["event"] == "circuit_breaker" and found[-1]["state"] == left[0]:
            del left[0]
    return found


def test_job_waits_for_a_broker_that_is_away_and_reads_nothing_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(lines(0, ROWS // 2))
    with Broker(tmp_path / "broker") as broker:
        (tmp_path / "app.sql").write_text(APPLICATION.format(servers=broker.bootstrap_servers))
        process = processes.start("run", "app.sql", "-o", "json", folder=tmp_path)
        try:
            for _ in range(600):
                if broker.topics.partitions("out") and len(broker.read("out")) == ROWS // 2:
                    break
            broker.kill()
            (tmp_path / "in" / "b.jsonl").write_text(lines(ROWS // 2, ROWS))
            away = told(process, "open", "half_open")
            assert {event["connector"] for event in away if event["event"] == "circuit_breaker"} == {"sink"}
            assert all(float(str(event["wait_ms"])) >= 900 for event in away if event["event"] == "job_reopens")
            broker.start()
            told(process, "closed")
            # Closed says that the broker takes requests again: what waited may still be on its way.
            for _ in range(600):
                if len(broker.read("out")) == ROWS:
                    break
            process.terminate()
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        assert [json.loads(record.value or b"")["n"] for record in broker.read("out")] == list(range(ROWS))
    job = json.loads(out.splitlines()[-1])["jobs"][0]
    assert (job["state"], job["breakers"]) == ("stopped", {"source": "closed", "sink": "closed"})
    assert job["ledger"]["written"] == ROWS
