"""Jobs of two workers over a real broker, killed at the points of a commit: what one undisturbed worker gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.connectors.kafka.records import Record
from tests.broker import Cluster
from tests.crash.conftest import CALMLY, Ended
from tests.crash.kafka_jobs import COPY, PARTITIONS, KafkaJob, Kind, assert_rows, events

ROWS = 6_000

KINDS = {
    "copy": Kind("kafka", "kafka", COPY),
    "keyed window": Kind(
        "kafka",
        "kafka",
        "SELECT window_start, p, k, count(*) AS n, sum(v) AS total, max(id) AS last FROM events"
        " GROUP BY p, k, TUMBLE(at, INTERVAL '2' SECOND)",
    ),
}

#: Where the decision of an epoch lies between state and broker.
POINTS = ("after_prepare", "after_offsets", "after_transaction", "before_confirm")


class PartitionedJob(KafkaJob):
    """Its topic is partitioned by a column."""

    def _sql(self, topic: str) -> str:
        return super()._sql(topic).replace("'batch.size'=200", "'batch.size'=200, 'partitioned.by'='p'")


@dataclass(frozen=True)
class Twins:
    """What one worker gives undisturbed, and the same application still to be run."""

    undisturbed: KafkaJob
    expected: Ended
    killed: KafkaJob

    def run(self, workers: int, fault: str | None = None, *arguments: str) -> Ended:
        return self.killed.run(fault, "--set", f"parallelism={workers}", *arguments)

    def assert_same(self, ended: Ended) -> None:
        assert ended.code == 0, ended.err
        assert_rows(self.killed.kind, self.killed.rows(), self.undisturbed.rows())
        assert self.killed.letters() == self.undisturbed.letters()
        assert ended.summary["ledger"] == self.expected.summary["ledger"]
        audit = self.killed.audit()
        assert audit.code == 0, audit.out + audit.err


@pytest.fixture
def twins(request: pytest.FixtureRequest, kafka: Cluster, topic_name: str, tmp_path: Path) -> Twins:
    records = events(11, ROWS)
    kafka.create_topic(topic_name, PARTITIONS)
    kafka.write(topic_name, [Record(value, partition=partition) for partition, value in records])
    made = [
        PartitionedJob(kafka, tmp_path / name, f"{topic_name}-{name}", KINDS[request.param], topic_name)
        for name in ("undisturbed", "killed")
    ]
    ended = made[0].run(None, *CALMLY)
    assert ended.code == 0, ended.err
    assert made[0].letters() == Counter(value for _, value in records if b"broken" in value)
    return Twins(made[0], ended, made[1])


@pytest.mark.parametrize("twins", sorted(KINDS), indirect=True)
def test_kill_of_workers_changes_nothing(twins: Twins) -> None:
    for number, point in enumerate(POINTS):
        ended = twins.run(2, f"{point}:{2 + number % 3}")
        assert ended.code == 1, f"{point}: {ended.out}"
        assert "SIGKILL" in ended.err
    twins.assert_same(twins.run(2, None, *CALMLY))


@pytest.mark.parametrize("twins", ["copy"], indirect=True)
def test_kill_while_the_number_of_workers_changes_changes_nothing(twins: Twins) -> None:
    assert twins.run(2, "after_offsets:3").code == 1
    for workers, fault in (
        (1, "after_rescaling_prepare:1"),
        (1, "after_rescaling_decision:1"),  # what was prepared before is given up, and prepared again
        (2, "after_rescaling_decision:1"),  # the one worker has taken over, and gives up to two again
        (1, "after_flush:3"),
    ):
        ended = twins.run(workers, fault)
        assert ended.code == -9, f"{fault}: {ended.out} {ended.err}"
    twins.assert_same(twins.run(2, None, *CALMLY))
