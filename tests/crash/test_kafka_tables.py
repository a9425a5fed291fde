"""A job over a table in a topic that is killed one time after another: in the end its output is the table."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from ferrisstreams.connectors.kafka.records import Record
from tests.broker import Cluster
from tests.crash.conftest import CALMLY
from tests.crash.kafka_jobs import PARTITIONS, KafkaJob, Kind

ROWS = 15_000
POINTS = ("after_write:3", "after_prepare:2", "after_transaction:2", "before_confirm:3", "after_reclaim:1")
COPY = Kind("kafka", "kafka", "SELECT k, v, v % 7 AS w FROM events WHERE v > 20")


def messages() -> list[Record]:
    """Rows and deletes of keys that each have a partition, and messages that say nothing of a row."""
    chance = random.Random(7)
    made = []
    for number in range(ROWS):
        key = chance.randrange(300)
        value = {"v": chance.randrange(100)} | ({"k": f"k{key}"} if chance.randrange(2) else {})
        text = None if chance.randrange(5) == 0 else json.dumps(value).encode()
        name = None if number % 1900 == 950 and text is None else f"k{key}".encode()
        made.append(Record(text, name, partition=key % PARTITIONS))
    return made


def table(given: list[Record]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for record in given:
        if record.key is None:
            continue
        found.pop(record.key, None)
        if record.value is not None and json.loads(record.value)["v"] > 20:
            found[record.key] = json.loads(record.value)["v"]
    return found


def job_of(kafka: Cluster, folder: Path, name: str, topic: str) -> KafkaJob:
    job = KafkaJob(kafka, folder, name, COPY, topic)
    declared = "CREATE TABLE events (k VARCHAR PRIMARY KEY, v BIGINT NOT NULL) WITH"
    job.app.write_text(re.sub(r"CREATE STREAM events \(.*?\) WITH", declared, job.app.read_text(), count=1))
    return job


def folded(job: KafkaJob) -> dict[bytes, int]:
    """What the messages of the output come to; a key that is deleted was there."""
    found: dict[bytes, int] = {}
    for message in job.cluster.read(job.output):
        assert message.key is not None
        if message.value is None:
            del found[message.key]
            continue
        row = json.loads(message.value)
        assert row["w"] == row["v"] % 7
        found[message.key] = row["v"]
    return found


def test_killed_job_writes_the_table_in_the_end(kafka: Cluster, topic_name: str, tmp_path: Path) -> None:
    given = messages()
    kafka.create_topic(topic_name, PARTITIONS)
    kafka.write(topic_name, given)
    killed = job_of(kafka, tmp_path, f"{topic_name}-killed", topic_name)
    for point in POINTS:
        assert killed.run(point).code == -9, point
    again = killed.run(None, *CALMLY)
    assert again.code == 0, again.err
    assert folded(killed) == table(given)
    nameless = sum(record.key is None for record in given)
    ledger = again.summary["ledger"]
    assert (ledger["read"], ledger["absorbed"], ledger["dead_lettered"]) == (ROWS, ROWS - nameless, nameless)
    assert nameless
    audit = killed.audit()
    assert audit.code == 0, audit.out + audit.err
