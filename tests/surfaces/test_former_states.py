"""States that the versions with formats 2 and 3 wrote go on as if the version of now had written them.

`states/format_*/*.zip` are projects as these versions left them, after 16 rows in two runs: the application, its input,
output and state. In `undecided` the job died between the decision outside and its own note of it.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ferrisstreams.clock import Clock, ManualClock
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.state_store import StateStore
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.doubles import Cuts, Records, RecordSource, TransactionalSink, TransactionLog

STATES = Path(__file__).parent / "states"
GO_ON = sorted(
    f"{path.parent.name}/{path.stem}" for path in STATES.glob("*/*.zip") if path.stem not in ("by_offset", "undecided")
)
STATE = Path(".ferris", "app", "out", "state.duckdb")
ROWS, MORE = 16, 12


def row(at: int) -> dict[str, object]:
    second = at * 17 % 25 + at * 9 + at // 5 * 40
    time = f"2024-01-01T00:{second // 60:02}:{second % 60:02}Z"
    return {"k": "abc"[at % 3], "a": at * 7 % 11, "d": round(at * 1.37, 2), "ts": time}


LINES = [json.dumps(row(at)) for at in range(ROWS + MORE)]


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(STATES / f"{name}.zip") as archive:
        archive.extractall(folder)
    return folder


def new(project: Path, folder: Path) -> Path:
    """The project with its application and input alone."""
    folder.mkdir()
    for path in (project / "app.sql", *project.glob("in*.jsonl")):
        shutil.copy(path, folder)
    return folder


def grow(project: Path) -> None:
    """What comes after the rows of the state: in a file of its own, where there are several."""
    several = (project / "in-2.jsonl").exists()
    with (project / ("in-3.jsonl" if several else "in.jsonl")).open("a") as file:
        file.writelines(line + "\n" for line in LINES[ROWS:])


def run(project: Path, rows_max: int, stand_ins: StandIns | None = None, clock: Clock | None = None) -> JobResult:
    plan = parse_application((project / "app.sql").read_text("utf-8"), "app.sql").jobs[0]
    state = project / ".ferris"
    surroundings = Environment("app", project, state_root=state, rows_max=rows_max, stand_ins=stand_ins)
    return Job(plan, surroundings if clock is None else replace(surroundings, clock=clock)).run()


def output(project: Path) -> Mapping[str, str]:
    """Outputs and dead letters without their times and places."""
    found = {path.name: path.read_text("utf-8") for path in project.glob("out*")}
    letters = (
        json.loads(line) for path in project.glob("*.dlq.jsonl") for line in path.read_text("utf-8").splitlines()
    )
    return {**found, "letters": str([letter["value"] for letter in letters])}


@pytest.mark.parametrize("name", GO_ON)
def test_state_of_the_former_format_goes_on(name: str, tmp_path: Path) -> None:
    former = unpacked(name, tmp_path / "former")
    undisturbed = new(former, tmp_path / "now")
    for _ in range(2):
        assert run(undisturbed, ROWS // 2).error is None
    assert output(undisturbed) == output(former)
    ledgers = []
    for project in (undisturbed, former):
        grow(project)
        result = run(project, MORE)
        assert (result.error, result.rows) == (None, MORE)
        ledgers.append(result.ledger)
    assert output(former) == output(undisturbed)
    assert ledgers[0] == ledgers[1]
    assert sum(map(len, output(former).values())) > 150


def test_rows_of_an_epoch_that_the_former_format_did_not_keep_are_cut(tmp_path: Path) -> None:
    project = unpacked("format_2/changes", tmp_path)
    before = output(project)
    with (project / "out.jsonl").open("a") as file:
        file.write('{"k":"z"}\n{"k"')
    assert run(project, 0).error is None
    assert output(project) == before


def test_call_that_means_something_else_now_does_not_go_on(tmp_path: Path) -> None:
    project = unpacked("format_2/by_offset", tmp_path)
    before = output(project)
    grow(project)
    error = run(project, MORE).error
    assert error is not None
    assert error.code == "E5002"
    assert 'LAST("a")' in error.message
    assert output(project) == before


def in_memory(project: Path, sink: TransactionalSink, log: TransactionLog) -> JobResult:
    clock = ManualClock(1_700_000_010_000_000)
    records = Records({"0": [line.encode() for line in LINES]})
    stand_ins = StandIns(
        source=lambda _, block: RecordSource(records, Cuts(seed=1), block, clock),
        sink=sink,
        dead_letters=TransactionalSink(),
        transactions=log,
    )
    return run(project, ROWS + MORE, stand_ins, clock)


@pytest.mark.parametrize(("decided", "position", "written"), [(3, 16, 11), (2, 11, 8)])
def test_last_epoch_of_the_former_format_is_as_the_outside_decided(
    decided: int, position: int, written: int, tmp_path: Path
) -> None:
    former = unpacked("format_2/undecided", tmp_path / "former")
    engine = Engine(EngineSettings(str(former / STATE)))
    store = StateStore(engine.state)
    store.kept()
    last = store.last()
    engine.close()
    assert last is not None
    assert (last.epoch, last.confirmed) == (3, False)
    sink = TransactionalSink()
    log = TransactionLog(sink)
    log.begin()
    log.send({"0": position}, decided, f"1 {store.state_id} {decided}")
    log.commit()
    whole = TransactionalSink()
    results = [
        in_memory(former, sink, log),
        in_memory(new(former, tmp_path / "now"), whole, TransactionLog(whole)),
    ]
    assert [result.error for result in results] == [None, None]
    assert results[0].ledger == results[1].ledger
    assert sink.lines == whole.lines[written:]
    assert sink.lines
