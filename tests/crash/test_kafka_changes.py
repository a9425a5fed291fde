"""Results that change, and windows on the record's time, of jobs that are killed one time after another."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ferrisstreams.connectors.kafka.records import Record
from tests.broker import Cluster
from tests.crash.conftest import CALMLY
from tests.crash.kafka_jobs import PARTITIONS, KafkaJob, Kind, events

ROWS = 15_000
#: A reclaim comes after fifty epochs at the latest: first, while there is enough to do for so many.
POINTS = ("after_reclaim:1", "after_write:3", "after_prepare:2", "after_transaction:2", "before_confirm:3")

CHANGING = Kind(
    "kafka",
    "kafka",
    "SELECT k, window_start, window_end, count(*) AS n, sum(v) AS total, SET_HEADER('n', count(*)) FROM events"
    " WHERE v < 40 GROUP BY k, SESSION(at, INTERVAL '300' MILLISECOND) EMIT CHANGES",
)
ON_RECORD_TIME = replace(
    CHANGING,
    query="SELECT k, window_start, count(*) AS n, max(_event_time) AS latest, SET_HEADER('n', count(*)) FROM events"
    " GROUP BY k, TUMBLE(_timestamp, INTERVAL '10' SECOND)",
)


def record(partition: int, value: bytes) -> Record:
    """With the row's time, and another for records that hold no row."""
    at = json.loads(value).get("at", "2024-01-01T00:00:00+00:00")
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return Record(value, timestamp_ms=round(moment.timestamp() * 1000), partition=partition)


def folded(job: KafkaJob) -> dict[bytes | None, tuple[bytes, bytes | None]]:
    """The last value of each key with its header; a message without a value deletes. Final results come once."""
    found: dict[bytes | None, tuple[bytes, bytes | None]] = {}
    for message in job.cluster.read(job.output):
        key = message.key if job.kind is CHANGING else message.value
        assert job.kind is CHANGING or key not in found, "a result came twice"
        found.pop(key, None)
        if message.value is not None:
            found[key] = (message.value, dict(message.headers)["n"])
    return found


def job_of(kafka: Cluster, folder: Path, name: str, kind: Kind, topic: str) -> KafkaJob:
    job = KafkaJob(kafka, folder, name, kind, topic)
    if kind is ON_RECORD_TIME:
        text = job.app.read_text().replace("WATERMARK FOR at AS at", "WATERMARK FOR _timestamp AS _timestamp")
        job.app.write_text(text)
    return job


@pytest.mark.parametrize("kind", [CHANGING, ON_RECORD_TIME], ids=["sessions that change", "the record's time"])
def test_killed_job_gives_what_an_undisturbed_one_gives(
    kafka: Cluster, topic_name: str, tmp_path: Path, kind: Kind
) -> None:
    kafka.create_topic(topic_name, PARTITIONS)
    kafka.write(topic_name, [record(partition, value) for partition, value in events(11, ROWS)])
    undisturbed = job_of(kafka, tmp_path / "undisturbed", f"{topic_name}-undisturbed", kind, topic_name)
    ended = undisturbed.run(None, *CALMLY)
    assert ended.code == 0, ended.err
    killed = job_of(kafka, tmp_path / "killed", f"{topic_name}-killed", kind, topic_name)
    for point in POINTS:
        assert killed.run(point).code == -9, point
    again = killed.run(None, *CALMLY)
    assert again.code == 0, again.err
    assert folded(killed) == folded(undisturbed)
    assert len(folded(killed)) > 30
    ledger, expected = again.summary["ledger"], ended.summary["ledger"]
    free = ("produced", "written") if kind is CHANGING else ()
    assert {n: c for n, c in ledger.items() if n not in free} == {n: c for n, c in expected.items() if n not in free}
    audit = killed.audit()
    assert audit.code == 0, audit.out + audit.err
