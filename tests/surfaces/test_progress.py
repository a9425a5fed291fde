"""What a job shows while it runs."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

from ferrisstreams.runtime.observer import ProgressEvent, Silent
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.telemetry.metrics import samples
from tests.broker import Cluster
from tests.processes import REAL

SECONDS_MAX = 60


def write(folder: Path, kafka: Cluster, topic: str) -> Path:
    """A job between two topics, whose clients report often."""
    address = f"'connector' = 'kafka', 'bootstrap.servers' = '{kafka.bootstrap_servers}'"
    (folder / "app.sql").write_text(
        f"CREATE STREAM given (ts TIMESTAMP, id BIGINT, WATERMARK FOR ts AS ts) WITH ({address}, 'topic' = '{topic}',"
        " 'kafka.statistics.interval.ms' = 50);\n"
        f"CREATE STREAM out WITH ({address}, 'topic' = '{topic}-out', 'create.topic' = 'true',"
        " 'kafka.statistics.interval.ms' = 50) AS SELECT id FROM given;\n",
        "utf-8",
    )
    kafka.create_topic(topic, partitions=2)
    kafka.write(topic, [b'{"ts": "2024-01-01T00:00:00Z", "id": %d}' % i for i in range(1_000)])
    return folder / "app.sql"


def test_line_of_a_terminal_has_lag_watermark_and_commit(kafka: Cluster, topic_name: str, tmp_path: Path) -> None:
    app = write(tmp_path, kafka, topic_name)
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    with subprocess.Popen([*REAL, "run", str(app)], stderr=theirs, stdout=subprocess.PIPE, env=environment) as job:
        os.close(theirs)
        shown = ""
        wanted = r"rows/s.*lag 0.*commit \d+\.\ds ago.*watermark 2024-01-01T00:00:00Z"
        while not re.search(wanted, shown):
            shown += os.read(ours, 4096).decode("utf-8", "replace")
            assert "failed" not in shown, shown
        job.terminate()
        assert job.wait(SECONDS_MAX) == 0
    os.close(ours)


class Heard(Silent):
    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []

    def progress(self, event: ProgressEvent) -> None:
        self.events.append(event)


def test_observer_hears_what_the_clients_report(kafka: Cluster, topic_name: str, tmp_path: Path) -> None:
    app, heard = write(tmp_path, kafka, topic_name), Heard()
    result = Application.read(app).run(options=RunOptions(once=True), observer=heard)
    assert result.jobs[0].error is None
    found = {(sample.metric.name, sample.labels): sample.value for sample in samples(heard.events[-1])}
    assert {found["ferris_consumer_lag_records", ("out", f"{topic_name}-{number}")] for number in (0, 1)} == {0}
    assert found["ferris_breaker_state", ("out", "sink")] == 0
    assert found["ferris_watermark_lag_seconds", ("out",)] > 86_400
    assert found["ferris_client_waiting_records", ("out", "sink")] == 0
    assert found["ferris_client_errors_total", ("out", "source")] == 0
    assert found["ferris_transactions_total", ("out", "committed")] >= 1
