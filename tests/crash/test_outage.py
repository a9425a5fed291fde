"""A broker that answers nothing for a while, in the middle of a job or of its commit: each result once, in order."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from ferrisstreams.connectors.kafka.records import Record
from tests.broker import Broker
from tests.crash.kafka_jobs import KINDS, KafkaJob, assert_rows, events
from tests.crash.test_kafka_owner import ended, expected, filled, wait_for_rows, wait_until_stopped
from tests.wire import Wire

ROWS = 6_000
#: A test that takes longer has failed.
TOLD_SECONDS = 180.0

#: A job that gives a broker little time, and goes on without end.
PATIENCE = {
    "failure_strategy": "retry_with_backoff",
    "retry_backoff": "100ms",
    "sink.circuit.failure_threshold": "1",
    "sink.circuit.recovery_timeout": "500ms",
    "sink.circuit.success_threshold": "1",
}
SETTINGS = [argument for key, value in PATIENCE.items() for argument in ("--set", f"{key}={value}")]


class HastyJob(KafkaJob):
    def more(self) -> str:
        return "'kafka.transaction.timeout.ms'='2000', 'kafka.socket.timeout.ms'='1000', 'commit.interval'='500ms'"


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def frail(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of these tests alone."""
    with Broker(tmp_path_factory.mktemp("frail"), wire) as broker:
        yield broker


class Trial:
    """A job that runs while half of its records are there, and what an undisturbed one makes of all of them."""

    def __init__(self, broker: Broker, folder: Path, topic: str, fault: str | None = None) -> None:
        self.broker = broker
        self._topic, self._records = topic, events(11, ROWS)
        self._rest = self._records[ROWS // 2 :]
        filled(broker, topic, self._records[: ROWS // 2])
        self.job = HastyJob(broker, folder / "job", f"{topic}-job", KINDS["copy"], topic)
        environment = {"FERRIS_FAULT": fault} if fault else {}
        self.process = self.job.start(*SETTINGS, once=False, environment=environment)
        self._folder = folder

    def told(self, event: str, **wanted: str) -> dict[str, str]:
        """The next line of its log of this kind."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = json.loads(line) if line.startswith("{") else {}
            if found.get("event") == event and all(found.get(key) == value for key, value in wanted.items()):
                return found
        raise AssertionError(f"it ended without {event} {wanted}")

    def give_rest(self) -> None:
        """The other half of the records comes, unless it is there."""
        rest, self._rest = self._rest, []
        self.broker.write(self._topic, [Record(value, partition=partition) for partition, value in rest])

    def end(self) -> None:
        """The other half comes, and all is as if nothing had been."""
        self.give_rest()
        rows = expected(self.broker, self._folder / "calm", self._topic)
        wait_for_rows(self.job, len(rows), self.process)
        code, said = ended(self.process)
        assert code == 0, said
        job = json.loads(next(line for line in said.splitlines() if line.startswith('{"jobs"')))["jobs"][0]
        assert job["ledger"]["written"] == len(rows)
        assert_rows(self.job.kind, self.job.rows(), rows)
        assert self.job.letters() == Counter(value for _, value in self._records if b"broken" in value)
        audit = self.job.audit()
        assert audit.code == 0, audit.out + audit.err


@pytest.fixture
def trial(
    request: pytest.FixtureRequest, wire: Wire, frail: Broker, tmp_path: Path, topic_name: str
) -> Iterator[Trial]:
    trial = Trial(frail, tmp_path, topic_name, getattr(request, "param", None))
    # What is waited for may never be told by a job that goes on without end.
    alarm = Timer(TOLD_SECONDS, lambda: trial.process.kill())
    alarm.start()
    try:
        yield trial
    finally:
        alarm.cancel()
        wire.restore()
        frail.thaw()
        trial.process.kill()
        trial.process.communicate()


@pytest.mark.parametrize("trial", ["after_write:3:stop"], indirect=True)
def test_broker_that_stands_still_is_waited_for(trial: Trial) -> None:
    wait_until_stopped(trial.process)
    trial.broker.freeze()
    trial.process.send_signal(signal.SIGCONT)
    assert trial.told("circuit_breaker", connector="sink")["state"] == "open"
    trial.told("job_reopens")
    trial.broker.thaw()
    trial.told("circuit_breaker", state="closed")
    trial.end()


@pytest.mark.parametrize("trial", ["after_offsets:3:stop"], indirect=True)
def test_commit_that_never_arrives_is_settled_by_the_token(trial: Trial) -> None:
    wait_until_stopped(trial.process)
    trial.broker.freeze()
    trial.process.send_signal(signal.SIGCONT)
    trial.told("job_reopens", code="E4110")
    trial.broker.thaw()
    trial.end()


@pytest.mark.parametrize("trial", ["after_offsets:3:stop"], indirect=True)
def test_commit_whose_answer_is_lost_is_settled_by_the_token(trial: Trial, wire: Wire) -> None:
    wait_until_stopped(trial.process)
    wire.lose_answers()
    trial.process.send_signal(signal.SIGCONT)
    trial.told("job_reopens", code="E4110")
    wire.restore()
    trial.end()


def test_job_without_patience_fails_and_its_next_run_goes_on(trial: Trial) -> None:
    wait_for_rows(trial.job, 300, trial.process)
    trial.process.kill()
    trial.process.communicate()
    trial.give_rest()  # It may have read all that was there.
    fault = {"FERRIS_FAULT": "after_write:1:stop"}
    trial.process = trial.job.start("--set", "max_retries=0", once=False, environment=fault)
    wait_until_stopped(trial.process)
    trial.broker.freeze()
    trial.process.send_signal(signal.SIGCONT)
    out, err = trial.process.communicate(timeout=60)
    trial.broker.thaw()
    assert trial.process.returncode == 1
    failed = json.loads(out.splitlines()[-1])["jobs"][0]
    assert (failed["state"], failed["error"]["code"]) == ("failed", "E4101"), err
    trial.process = trial.job.start(*SETTINGS, once=False)
    trial.end()
