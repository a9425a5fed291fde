"""A step of a job raises, at every fault point and with every class of error: no row is lost, written twice, or taken
back after its epoch was decided; output, ledger and audit are as undisturbed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ferrisstreams.clock import ManualClock
from ferrisstreams.runtime.faults import FAULT_POINTS, RAISED, Faults, RaiseAt
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.audit import audit

ROWS = 15
SOURCE = "CREATE STREAM s (k TEXT, v INT, at TIMESTAMP, WATERMARK FOR at AS at) WITH (connector='file', path='in.jsonl'"
BATCHES = "'batch.strategy'='fixed_size', 'batch.size'=3);\n"
JOB = "'commit.policy'='per_batch', 'failure_strategy'='send_to_dlq', 'retry_backoff'='1ms'"
QUERIES = {
    "copy": "SELECT k, v FROM s",
    "windows": "SELECT window_start AS w, k, sum(v) AS v FROM s GROUP BY k, TUMBLE(at, INTERVAL '3' SECOND)",
}
SINKS = {"one file": "path='out.jsonl'", "rotated": "path='out-{n}.jsonl', 'rotate.rows'=4"}

#: Points behind the decision: what is raised there is logged, and the run goes on.
DECIDED = {"before_confirm", "after_confirm", "during_reclaim", "after_reclaim"}


@dataclass
class Told:
    """An observer that keeps what is logged."""

    events: list[str] = field(default_factory=list)

    def progress(self, event: ProgressEvent) -> None:
        pass

    def event(self, name: str, **fields: object) -> None:
        self.events.append(name)


class Hurrying(ManualClock):
    """Time passes whenever it is looked at, so that jobs reclaim."""

    def monotonic_ms(self) -> float:
        self.advance_ms(200)
        return super().monotonic_ms()


class Trial:
    """One application in a folder."""

    def __init__(self, folder: Path, query: str, sink: str, rows: int = ROWS) -> None:
        folder.mkdir()
        self.folder = folder
        lines = [
            json.dumps({"k": f"k{n % 3}", "v": n if n % 10 != 7 else "bad", "at": f"2024-01-01T00:00:{n % 60:02}"})
            for n in range(rows)
        ]
        (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
        text = (
            f"{SOURCE}, {BATCHES}CREATE STREAM out WITH (connector='file', {SINKS[sink]}, {JOB}) AS {QUERIES[query]};"
        )
        (folder / "app.sql").write_text(text)
        self.told = Told()

    def run(self, fault: Faults | None = None) -> JobResult:
        application = Application.read(self.folder / "app.sql")
        environment = replace(application.environment(RunOptions(), self.told), clock=Hurrying(1_704_067_200_000_000))
        if fault is not None:
            environment = replace(environment, faults=fault)
        return Job(application.plan.jobs[0], environment).run()

    def lines(self) -> list[bytes]:
        """Of all files in their order: an ended run has closed the one that it was at."""
        paths = sorted(self.folder.glob("out*.jsonl"), key=lambda path: (len(path.name), path.name))
        return [line for path in paths for line in path.read_bytes().splitlines()]

    def letters(self) -> list[str]:
        text = (self.folder / "app.out.dlq.jsonl").read_text()
        return [json.loads(line)["value"] for line in text.splitlines()]

    def audits(self) -> bool:
        return all(report.ok for report in audit(Application.read(self.folder / "app.sql"), RunOptions()))


def assert_same(trial: Trial, calm: Trial, result: JobResult) -> None:
    assert result.error is None
    assert trial.lines() == calm.lines()
    assert list(trial.folder.glob("*.pending")) == []
    assert trial.letters() == calm.letters()
    assert result.ledger.read == ROWS
    assert result.ledger.written == len(calm.lines())
    assert trial.audits()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Trial]:
    """Undisturbed runs."""
    made = {}
    for query, sink in (("copy", "rotated"), ("windows", "one file")):
        made[query, sink] = Trial(tmp_path_factory.mktemp("calm") / "app", query, sink)
        assert made[query, sink].run().error is None
    return made


@pytest.mark.parametrize("point", FAULT_POINTS)
@pytest.mark.parametrize(
    ("query", "sink", "kind"),
    [*(("copy", "rotated", kind) for kind in RAISED), ("windows", "one file", "transient")],
)
def test_raise_at_every_point_changes_nothing(
    query: str, sink: str, point: str, kind: str, tmp_path: Path, calm: dict[tuple[str, str], Trial]
) -> None:
    trial = Trial(tmp_path / "app", query, sink)
    fault = RaiseAt(point, 1 if point == "during_recovery" else 2, kind)
    first = trial.run(fault)
    assert fault.struck
    if point in DECIDED or (point == "after_prepare"):
        assert first.error is None
    elif point != "during_recovery" and kind != "transient":
        assert first.error is not None
        assert first.error.code == {"fatal": "E4003", "memory": "E6006", "foreign": "E9001"}[kind]
        assert first.state == "failed"
    assert_same(trial, calm[query, sink], first if first.error is None else trial.run())


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("hit", [1, 2])
def test_what_raises_again_after_the_decision_ends_the_job_and_keeps_the_epoch(
    kind: str, hit: int, tmp_path: Path, calm: dict[tuple[str, str], Trial]
) -> None:
    trial = Trial(tmp_path / "app", "copy", "rotated")
    first = trial.run(RaiseAt("before_confirm", hit, kind, times=3))
    assert "follow_up_failed" in trial.told.events
    assert (first.error is None) == (kind == "transient")
    assert_same(trial, calm["copy", "rotated"], first if first.error is None else trial.run())


class Both:
    """Two faults."""

    def __init__(self, *faults: RaiseAt) -> None:
        self._faults = faults

    def reach(self, point: str) -> None:
        for fault in self._faults:
            fault.reach(point)


def test_reopening_that_fails_keeps_what_is_final(tmp_path: Path, calm: dict[tuple[str, str], Trial]) -> None:
    trial = Trial(tmp_path / "app", "copy", "rotated")
    failed = trial.run(Both(RaiseAt("after_write", 4), RaiseAt("after_open", 2, "fatal")))
    assert failed.error is not None
    assert failed.ledger.read > 0
    assert_same(trial, calm["copy", "rotated"], trial.run())


def test_interrupt_ends_the_job_in_order(tmp_path: Path, calm: dict[tuple[str, str], Trial]) -> None:
    trial = Trial(tmp_path / "app", "windows", "one file")
    for point in ("after_process", "after_prepare"):
        with pytest.raises(KeyboardInterrupt):
            trial.run(RaiseAt(point, 3, "interrupt"))
    assert_same(trial, calm["windows", "one file"], trial.run())
