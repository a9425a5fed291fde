"""A job whose epochs are decided by transactions: steps that raise, lost answers, foreign state, tokens that the broker
forgot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ferrisstreams.clock import ManualClock
from ferrisstreams.errors import FatalConnectorError, FencedError, StateError, TransientError, UnknownOutcomeError
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.faults import FAULT_POINTS, RAISED, TRANSACTION_POINTS, Crash, CrashAt, Faults, RaiseAt
from ferrisstreams.runtime.iso_time import iso_time
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.watched import watched
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.doubles import Cuts, Records, RecordSource, TransactionalSink, TransactionLog
from tests.failing import Outage, Outages

APPLICATION = """
CREATE STREAM s (k TEXT, v INT) WITH (connector='file', path='in.jsonl');
CREATE STREAM out AS SELECT {columns} FROM s {group} WITH
(connector='file', path='out.jsonl', 'commit.policy'='per_batch', 'batch.strategy'='fixed_size', 'batch.size'=2);
"""
ROWS = [b'{"k": "a", "v": %d}' % number for number in range(9)]


@dataclass
class Outside:
    """What outlives a job: the sink, the transactions, the folder of its state."""

    folder: Path
    log: TransactionLog
    sink: TransactionalSink
    clock: ManualClock = field(default_factory=lambda: ManualClock(1_700_000_000_000_000))
    outages: Outages = field(default_factory=Outages)

    def job(self, aggregate: bool = False, state: str = "state", fault: Faults | None = None) -> Job:
        columns, group = ("k, sum(v) AS v", "GROUP BY k EMIT CHANGES") if aggregate else ("k, v", "")
        plan = parse_application(APPLICATION.format(columns=columns, group=group), "app.sql").jobs[0]
        environment = Environment(
            "app",
            self.folder,
            state_root=self.folder / state,
            clock=self.clock,
            stand_ins=StandIns(
                source=lambda _, block: RecordSource(Records({"p-0": ROWS}), Cuts(), block, self.clock),
                sink=self.sink,
                dead_letters=TransactionalSink(),
                transactions=watched(self.log, self.outages.watch),
            ),
        )
        return Job(plan, replace(environment, faults=fault) if fault else environment)

    def run(self, aggregate: bool = False, state: str = "state", fault: Faults | None = None) -> JobResult:
        return self.job(aggregate, state, fault).run()


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    sink = TransactionalSink()
    return Outside(tmp_path, TransactionLog(sink), sink)


def expected() -> list[bytes]:
    return [b'{"k":"a","v":%d}' % number for number in range(9)]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_commit_whose_answer_is_lost_is_asked_for_and_not_made_again(tmp_path: Path, lost: int) -> None:
    sink = TransactionalSink()
    outside = Outside(tmp_path, TransactionLog(sink, lost_answers=lost), sink)
    result = outside.run()
    assert result.error is None
    assert sink.lines == expected()
    assert result.ledger.read == result.ledger.written == result.rows == 9


#: What a commit may raise, and whether it was made nevertheless.
OUTCOMES = {
    "refused for a while": (TransientError("busy", "E4102"), False),
    "refused": (FatalConnectorError("no rights", "E4104"), False),
    "fenced": (FencedError("fenced", "E4105"), False),
    "no answer, made": (UnknownOutcomeError("no answer", "E4110"), True),
    "no answer, not made": (UnknownOutcomeError("no answer", "E4110"), False),
    "not ours, made": (RuntimeError("odd"), True),
    "not ours, not made": (RuntimeError("odd"), False),
}


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.parametrize("aggregate", [True, False], ids=["state", "stateless"])
def test_whatever_a_commit_raises_each_row_is_written_once(outside: Outside, aggregate: bool, name: str) -> None:
    error, done = OUTCOMES[name]
    outside.outages = Outages(Outage("commit", error, after=2, done=done))
    result = outside.run(aggregate)
    if isinstance(error, (FatalConnectorError, RuntimeError)):
        assert result.error is not None
        assert result.state == "failed"
        result = outside.run(aggregate)
    assert result.error is None
    assert result.ledger.read == 9
    assert outside.sink.lines == (sums() if aggregate else expected())


@pytest.mark.parametrize("kind", ["transient", "foreign"])
@pytest.mark.parametrize("point", [*TRANSACTION_POINTS, *FAULT_POINTS])
def test_whatever_a_step_raises_each_row_is_written_once(outside: Outside, point: str, kind: str) -> None:
    hit = 1 if point in ("after_open", "after_init", "during_recovery") or "reclaim" in point else 3
    fault = RaiseAt(point, hit, kind)
    first = outside.run(aggregate=True, fault=fault)
    assert fault.struck
    decided = ("after_transaction", "before_confirm", "after_confirm", "during_reclaim", "after_reclaim")
    assert (first.error is None) == (point in decided or kind == "transient")
    result = outside.run(aggregate=True)
    assert (result.error, result.ledger.read, result.ledger.written) == (None, 9, len(sums()))
    assert outside.sink.lines == sums()


def sums() -> list[bytes]:
    """After each batch of two rows."""
    return [b'{"k":"a","v":%d}' % sum(range(min(stop, 9))) for stop in (2, 4, 6, 8, 10)]


@pytest.mark.parametrize("kind", RAISED)
def test_failure_in_the_first_epoch_is_forgotten_outside_and_here(outside: Outside, kind: str) -> None:
    if kind == "transient":
        outside.outages = Outages(Outage("commit", TransientError("busy", "E4102"), after=1, times=9))
        failed = outside.run(aggregate=True)
    else:
        failed = outside.run(aggregate=True, fault=RaiseAt("after_flush", 2, kind))
    assert failed.error is not None
    outside.outages = Outages()
    if kind == "transient":  # Opened again, it does not know what was there before it: the state stays.
        assert outside.run(aggregate=True).error is None
    else:
        assert dict(outside.log.committed()) == {}
        assert not (outside.folder / "state").exists()
        assert outside.run(aggregate=True, state="elsewhere").error is None
    assert outside.sink.lines == sums()


def test_failure_in_the_first_epoch_keeps_positions_that_were_there(outside: Outside) -> None:
    outside.log.begin()
    outside.log.send({"p-0": 4}, 1, "another tool")
    outside.log.commit()
    assert outside.run(fault=RaiseAt("after_flush", 2, "fatal")).error is not None
    assert [found.offset for found in outside.log.committed().values()] == [4]
    assert outside.run().error is None
    assert outside.sink.lines == expected()[4:]


def test_second_run_finds_nothing_new(outside: Outside) -> None:
    assert outside.run().error is None
    again = outside.run()
    assert (again.state, again.rows, again.ledger.written) == ("finished", 0, 9)
    assert outside.sink.lines == expected()


@pytest.mark.parametrize("aggregate", [True, False], ids=["state", "stateless"])
def test_missing_state_is_refused_and_nothing_is_touched(outside: Outside, aggregate: bool) -> None:
    outside.run(aggregate)
    before = dict(outside.log.committed()), outside.sink.lines
    result = outside.run(aggregate, state="elsewhere")
    assert isinstance(result.error, StateError)
    assert result.error.code == "E5003"
    assert (dict(outside.log.committed()), outside.sink.lines) == before


def test_older_state_is_refused(outside: Outside) -> None:
    with pytest.raises(Crash):
        outside.run(fault=CrashAt("after_confirm", 3))
    copied = outside.folder / "copy" / "app" / "out"
    copied.mkdir(parents=True)
    for file in (outside.folder / "state" / "app" / "out").glob("state.duckdb*"):
        (copied / file.name).write_bytes(file.read_bytes())
    outside.run()
    result = outside.run(state="copy")
    assert isinstance(result.error, StateError)
    assert result.error.code == "E5006"
    assert outside.sink.lines == expected()


def test_forgotten_token_is_given_again(outside: Outside) -> None:
    outside.run()
    kept = dict(outside.log.committed())
    outside.log.forget_committed()
    assert outside.run().error is None
    assert dict(outside.log.committed()) == kept
    assert outside.sink.lines == expected()


def test_stateless_job_begins_where_the_group_says(outside: Outside) -> None:
    outside.log.begin()
    outside.log.send({"p-0": 4}, 1, "another tool")
    outside.log.commit()
    assert outside.run().error is None
    assert outside.sink.lines == expected()[4:]
    assert [found.offset for found in outside.log.committed().values()] == [9]


def test_job_with_state_does_not(outside: Outside) -> None:
    outside.log.begin()
    outside.log.send({"p-0": 4}, 1, "another tool")
    outside.log.commit()
    result = outside.run(aggregate=True)
    assert result.error is None
    assert result.ledger.read == 9


def test_idle_job_commits_its_token_again_and_writes_down_what_is_final(outside: Outside) -> None:
    job = outside.job()
    job.open()
    while job.task.run_once():
        pass
    kept = dict(outside.log.committed())
    outside.log.forget_committed()
    job.task.run_once()
    assert dict(outside.log.committed()) == {}  # not yet: an hour has not passed
    outside.clock.advance_ms(3_600_000)
    job.task.run_once()
    assert dict(outside.log.committed()) == kept
    job.close()
    assert outside.run().error is None
    assert outside.sink.lines == expected()


@pytest.mark.parametrize(
    ("time_us", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_704_067_200_000_001, "2024-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (253_402_300_800_000_000, "10000-01-01T00:00:00Z"),
        (951_782_400_000_000 + 12_622_780_800_000_000 * 20, "10000-02-29T00:00:00Z"),
        (None, None),
    ],
)
def test_time_is_shown_whatever_its_year(time_us: int | None, expected: str | None) -> None:
    assert iso_time(time_us) == expected
