"""Jobs that are killed: each in a folder of its own, with the same input."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests import processes
from tests.processes import FerrisProcess

ROWS = 30_000
#: Of a run that is not disturbed, or not any more: few epochs, for an epoch costs more than its rows.
CALMLY = ("--set", "batch.size=5000")

_SOURCE = """
CREATE STREAM events (id BIGINT, k VARCHAR, v BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '2' SECOND)
WITH (connector='file', path='events.jsonl', 'batch.size'=500, 'batch.strategy'='fixed_size');
"""

#: Each query has results whose bytes do not depend on how rows are cut into batches, but those of `CUT`.
QUERIES = {
    "copy": "SELECT id, k, v * 2 AS twice, at FROM events WHERE v % 3 <> 0",
    "tumbling": """SELECT window_start, k, count(*) AS n, sum(v) AS total, first(id) AS head, last(id) AS tail
        FROM events GROUP BY k, TUMBLE(at, INTERVAL '10' SECOND)""",
    "hopping": """SELECT window_start, k, count(*) AS n, max(v) AS most, arg_max(id, v) AS best FROM events
        WHERE v > 10 GROUP BY k, HOP(at, INTERVAL '4' SECOND, INTERVAL '12' SECOND)""",
    "sessions": """SELECT window_start, window_end, k, count(*) AS n, string_agg(id::VARCHAR, '-') AS ids
        FROM events WHERE v < 40 GROUP BY k, SESSION(at, INTERVAL '300' MILLISECOND)""",
    "changes": "SELECT k, count(*) AS n, count(DISTINCT v) AS kinds FROM events GROUP BY k EMIT CHANGES",
    "letters": "SELECT id, CAST(if(id % 2000 < 3, k, '7') AS INTEGER) AS number FROM events WHERE v >= 50",
}
#: A change is written for each epoch, and of the letters of a batch those that do not decode come first.
CUT = {"changes", "letters"}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its code (-9: killed) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, object]:
        return json.loads(self.out.splitlines()[-1])["jobs"][0]


class Killable:
    """One application in a folder, run by the real command in a real process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.output = folder / "out.jsonl"
        self._app = folder / "app.sql"
        settings = "'commit.policy'='per_batch', 'failure_strategy'='send_to_dlq', 'dlq.max_consecutive'=1000000"
        self._app.write_text(
            f"{_SOURCE}\nCREATE STREAM out AS {QUERIES[name]}\nWITH (connector='file', path='out.jsonl', {settings});\n"
        )

    def start(self, *arguments: str, **environment: str) -> FerrisProcess:
        return processes.start("run", self._app, "-o", "json", *arguments, **environment)

    def run(self, fault: str) -> Ended:
        return self._end(self.start(FERRIS_FAULT=fault))

    def finish(self) -> Ended:
        """Run to the end, undisturbed."""
        return self._end(self.start(*([] if self.name in CUT else CALMLY)))

    def _end(self, process: FerrisProcess) -> Ended:
        out, err = process.communicate(timeout=120)
        return Ended(process.wait(), out, err)

    def audit(self) -> Ended:
        done = processes.run("audit", self._app)
        return Ended(done.returncode, done.stdout, done.stderr)

    def letters(self) -> list[str]:
        """The original rows of all dead letters, in their order."""
        path = self.folder / "app.out.dlq.jsonl"
        return [json.loads(line)["value"] for line in path.read_text().splitlines()]


def write_events(path: Path, seed: int) -> None:
    """Rows with disorder, some late, some that do not decode."""
    chance = random.Random(seed)
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    with path.open("w") as file:
        for number in range(ROWS):
            at = begin + timedelta(milliseconds=10 * number - chance.choice([0, 0, 0, 500, 1500, 4000]))
            row = {"id": number, "k": f"k{chance.randrange(7)}", "v": chance.randrange(100), "at": at.isoformat()}
            file.write((json.dumps(row) if number % 2900 != 1450 else '{"id": "broken"}') + "\n")


def some_of(names: Iterable[str], left_to_fuzz: Collection[str]) -> list[ParameterSet]:
    """The parameters of a test: all names in order; those of `left_to_fuzz` are not in the suite."""
    full = pytest.mark.full
    return [pytest.param(name, marks=[full] if name in left_to_fuzz else []) for name in sorted(names)]


@pytest.fixture
def turn(request: pytest.FixtureRequest) -> slice:
    """Which of its points a parameter of a test dies at: all with `--full`, otherwise every second, in turn."""
    (place,) = request.node.callspec.indices.values()
    return slice(None) if request.config.getoption("--full") else slice(place % 2, None, 2)


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    write_events(path, seed=7)
    return path


@dataclass(frozen=True)
class Twins:
    """An application that ran undisturbed, with its end, and the same one still to be run."""

    undisturbed: Killable
    expected: Ended
    killed: Killable


@pytest.fixture
def twins(request: pytest.FixtureRequest, events: Path, tmp_path: Path) -> Twins:
    made = []
    for name in ("undisturbed", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(events.read_bytes())
        made.append(Killable(folder, request.param))
    ended = made[0].finish()
    assert ended.code == 0, ended.err
    return Twins(made[0], ended, made[1])
