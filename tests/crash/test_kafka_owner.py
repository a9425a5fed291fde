"""Who owns a job: an instance that was paused, a second one, one with another state, a broker that goes away."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka import Consumer, TopicPartition

from ferrisstreams.connectors.kafka.records import Record
from tests.broker import Broker, Cluster
from tests.crash.conftest import CALMLY
from tests.crash.kafka_jobs import KINDS, PARTITIONS, KafkaJob, assert_rows, events
from tests.processes import FerrisProcess

ROWS = 6_000
WAIT_SECONDS = 0.1
WAITS_MAX = 600


class BriefJob(KafkaJob):
    """Its transactions are given up by the broker soon, and its epochs end by time."""

    def more(self) -> str:
        return "'kafka.transaction.timeout.ms'='1500', 'commit.interval'='500ms'"


def filled(cluster: Cluster, topic: str, records: list[tuple[int, bytes]]) -> None:
    cluster.create_topic(topic, PARTITIONS)
    cluster.write(topic, [Record(value, partition=partition) for partition, value in records])


def expected(cluster: Cluster, folder: Path, topic: str) -> list[bytes]:
    """What an undisturbed job writes."""
    job = KafkaJob(cluster, folder, f"{topic}-calm", KINDS["copy"], topic)
    assert job.run(None, *CALMLY).code == 0
    return job.rows()


def wait_for_rows(job: KafkaJob, count: int, process: FerrisProcess) -> None:
    """Until so many rows are committed; the process must go on meanwhile."""
    for _ in range(WAITS_MAX):
        if len(job.rows()) >= count:
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
    raise AssertionError(f"{len(job.rows())} rows, not {count}")


@pytest.fixture
def started() -> Iterator[list[FerrisProcess]]:
    processes: list[FerrisProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def ended(process: FerrisProcess) -> tuple[int, str]:
    """Stopped in order: its exit code and what it said."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def test_instance_that_slept_over_its_transaction_goes_on(
    kafka: Cluster, topic_name: str, tmp_path: Path, started: list[FerrisProcess]
) -> None:
    records = events(3, ROWS)
    filled(kafka, topic_name, records[: ROWS // 2])
    job = BriefJob(kafka, tmp_path / "job", f"{topic_name}-slept", KINDS["copy"], topic_name)
    process = job.start(once=False, environment={"FERRIS_FAULT": "after_flush:3:stop"})
    started.append(process)
    wait_until_stopped(process)
    _wait_until_given_up(kafka, job.output)
    process.send_signal(signal.SIGCONT)
    kafka.write(topic_name, [Record(value, partition=partition) for partition, value in records[ROWS // 2 :]])
    rows = expected(kafka, tmp_path / "calm", topic_name)
    wait_for_rows(job, len(rows), process)
    code, said = ended(process)
    assert code == 0, said
    assert "E4105" in said
    assert_rows(job.kind, job.rows(), rows)
    assert job.letters() == Counter(value for _, value in records if b"broken" in value)


def wait_until_stopped(process: FerrisProcess) -> None:
    """Until it stands still; it is the child of the process that forked it."""
    for _ in range(WAITS_MAX):
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            return
        _PAUSE.wait(WAIT_SECONDS)
    raise AssertionError("the process does not stop")


def _wait_until_given_up(cluster: Cluster, topic: str) -> None:
    """Until the broker has ended the open transaction: all that the topic holds is decided then."""
    assert not _decided(cluster, topic)
    for _ in range(WAITS_MAX):
        if _decided(cluster, topic):
            return
        _PAUSE.wait(WAIT_SECONDS)
    raise AssertionError("the broker waits for the transaction")


def _decided(cluster: Cluster, topic: str) -> bool:
    ends = []
    for isolation in ("read_committed", "read_uncommitted"):
        consumer = Consumer({**cluster.properties, "group.id": "ends", "isolation.level": isolation})
        ends.append(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])
        consumer.close()
    return ends[0] == ends[1]


#: For conditions outside of any process of ours, which can only be asked again.
_PAUSE = Event()


def test_second_instance_with_another_state_is_refused_and_hurts_nothing(
    kafka: Cluster, topic_name: str, tmp_path: Path, started: list[FerrisProcess]
) -> None:
    records = events(4, ROWS)
    filled(kafka, topic_name, records[: ROWS // 2])
    job = KafkaJob(kafka, tmp_path / "job", f"{topic_name}-owner", KINDS["copy"], topic_name)
    process = job.start(once=False)
    started.append(process)
    wait_for_rows(job, 100, process)
    second = job.run(None, "--state-dir", str(tmp_path / "elsewhere"))
    assert second.code == 1
    assert "E5003" in second.err
    assert "state reset" in second.err
    kafka.write(topic_name, [Record(value, partition=partition) for partition, value in records[ROWS // 2 :]])
    rows = expected(kafka, tmp_path / "calm", topic_name)
    wait_for_rows(job, len(rows), process)
    code, said = ended(process)
    assert code == 0, said
    assert "E4105" not in said  # the first instance was not fenced
    assert_rows(job.kind, job.rows(), rows)


def test_broker_that_dies_within_a_transaction_costs_nothing(tmp_path: Path, topic_name: str) -> None:
    with Broker(tmp_path / "broker") as broker:
        records = events(5, ROWS)
        filled(broker, topic_name, records)
        rows = expected(broker, tmp_path / "calm", topic_name)
        job = KafkaJob(broker, tmp_path / "job", f"{topic_name}-broker", KINDS["copy"], topic_name)
        process = job.start("--set", "max_retries=100", "--set", "retry_backoff=200ms", once=False)
        try:
            wait_for_rows(job, len(rows) // 4, process)
            broker.kill()
            broker.start()
            wait_for_rows(job, len(rows), process)
            code, said = ended(process)
        finally:
            process.kill()
        assert code == 0, said
        assert json.loads(said.splitlines()[0])["jobs"][0]["ledger"]["written"] == len(rows)
        assert_rows(job.kind, job.rows(), rows)
