"""Jobs over a real broker, killed at every point and at random, or failing there: each result once, and in order."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.connectors.kafka.records import Record
from ferrisstreams.runtime.faults import FAULT_POINTS, TRANSACTION_POINTS
from tests.broker import Cluster
from tests.crash.conftest import CALMLY, Ended, some_of
from tests.crash.kafka_jobs import KINDS, PARTITIONS, KafkaJob, assert_rows, events, names
from tests.crash.reader import CommittedReader

#: Seventy epochs.
ROWS = 14_000
#: Enough of them for an error in the third one.
FEW_EPOCHS = ("--set", "batch.size=1000")

LEFT_TO_FUZZ = {"copy", "levels", "union of topics to file", "join to file", "aggregate over a join"}

#: How often a point is reached before the process dies there; where it is missing, two to four times.
HITS = {"after_open": 1, "after_init": 1, "during_recovery": 1, "during_reclaim": 1, "after_reclaim": 1}


@dataclass(frozen=True)
class Twins:
    """An application that ran undisturbed, with its end, and the same one still to be run."""

    undisturbed: KafkaJob
    expected: Ended
    killed: KafkaJob


@pytest.fixture
def twins(request: pytest.FixtureRequest, kafka: Cluster, topic_name: str, tmp_path: Path) -> Twins:
    records = events(7, ROWS)
    kafka.create_topic(topic_name, PARTITIONS)
    kafka.write(topic_name, [Record(value, partition=partition) for partition, value in records])
    made = []
    for name in ("undisturbed", "killed"):
        made.append(KafkaJob(kafka, tmp_path / name, f"{topic_name}-{name}", KINDS[request.param], topic_name))
        (tmp_path / name / "in.jsonl").write_bytes(b"".join(value + b"\n" for _, value in records))
        (tmp_path / name / "names.jsonl").write_bytes(names())
    ended = made[0].run(None, *CALMLY)
    assert ended.code == 0, ended.err
    broken = [value for _, value in records if b"broken" in value]
    assert made[0].letters() == Counter(broken * made[0].kind.scans)
    return Twins(made[0], ended, made[1])


def assert_same(twins: Twins, ended: Ended) -> None:
    assert ended.code == 0, ended.err
    assert_rows(twins.killed.kind, twins.killed.rows(), twins.undisturbed.rows())
    assert twins.killed.letters() == twins.undisturbed.letters()
    assert _accounted(twins.killed, ended) == _accounted(twins.killed, twins.expected)
    audit = twins.killed.audit()
    assert audit.code == 0, audit.out + audit.err


def _accounted(job: KafkaJob, ended: Ended) -> dict[str, int]:
    """The ledger; of changes only that of the input."""
    ledger = dict(ended.summary["ledger"])
    written = ("produced", "written") if job.kind.folded else ()
    return {name: count for name, count in ledger.items() if name not in written}


@pytest.fixture
def turn(request: pytest.FixtureRequest) -> slice:
    """Which of its points a kind of job dies at: all with `--full`. Otherwise kinds for which the same decides go
    through all of them together."""
    name = request.node.callspec.params["twins"]
    outside = KINDS[name].decided_outside
    alike = [each for each in sorted(set(KINDS) - LEFT_TO_FUZZ) if KINDS[each].decided_outside == outside]
    if name not in alike or request.config.getoption("--full"):
        return slice(None)
    return slice(alike.index(name), None, len(alike))


@pytest.mark.parametrize("twins", some_of(KINDS, LEFT_TO_FUZZ), indirect=True)
def test_kill_at_points_changes_nothing(twins: Twins, turn: slice) -> None:
    decided_outside = twins.killed.kind.decided_outside
    points = (*TRANSACTION_POINTS, *FAULT_POINTS) if decided_outside else ("after_open", *FAULT_POINTS)
    # A reclaim comes after fifty epochs: first, while there is enough to do for so many.
    points = tuple(sorted(points, key=lambda point: "reclaim" not in point))[turn]
    with CommittedReader(twins.killed) if twins.killed.kind.sink == "kafka" else nullcontext() as reader:
        for number, point in enumerate(points):
            ended = twins.killed.run(f"{point}:{HITS.get(point, 2 + number % 3)}")
            assert ended.code == -9, f"{point}: {ended.err}"
        assert_same(twins, twins.killed.run(None, *CALMLY))
        if reader is not None:
            assert reader.until(len(twins.undisturbed.rows())) == twins.killed.rows()


#: Before the decision, each with its code.
RAISED = {"after_write:3:foreign": "E9001", "after_prepare:2:fatal": "E4003", "after_offsets:3:memory": "E6006"}


@pytest.mark.parametrize("twins", ["tumbling", "kafka to file, letters in a topic"], indirect=True)
def test_error_before_or_after_the_decision_changes_nothing(twins: Twins) -> None:
    for fault, code in RAISED.items():
        ended = twins.killed.run(fault)
        assert (ended.code, ended.summary["state"]) == (1, "failed"), ended.err
        assert isinstance(ended.summary["error"], dict)
        assert ended.summary["error"]["code"] == code
    passing = twins.killed.run("after_offsets:3:transient", *FEW_EPOCHS)
    assert "job_reopens" in passing.err
    assert_same(twins, passing)


@pytest.mark.parametrize("twins", ["file to kafka"], indirect=True)
def test_error_after_the_decision_is_logged_and_the_job_goes_on(twins: Twins) -> None:
    ended = twins.killed.run("after_transaction:3:fatal", *FEW_EPOCHS)
    assert "follow_up_failed" in ended.err
    assert_same(twins, ended)


@pytest.mark.parametrize("twins", some_of(["tumbling", "copy"], {"copy"}), indirect=True)
def test_kill_at_random_changes_nothing(twins: Twins) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    deaths = 0
    for _ in range(5):
        process = twins.killed.start()
        try:
            process.communicate(timeout=chance.uniform(1.0, 4.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            deaths += 1
    print(f"seed {seed}: {deaths} of 5 runs were killed before their end")
    assert_same(twins, twins.killed.run(None, *CALMLY))
