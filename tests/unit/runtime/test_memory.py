"""A job that runs out of memory ends in order, wherever that happens, and goes on when it is run with more."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ferrisstreams.runtime.job import JobResult
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.audit import audit

ROWS = 16_000
APPLICATION = """
CREATE STREAM s (k TEXT, s TEXT, at TIMESTAMP, WATERMARK FOR at AS at)
WITH (connector='file', path='in.jsonl', 'batch.strategy'='fixed_size', 'batch.size'=4000);
CREATE STREAM out WITH (connector='file', path='out.jsonl', 'commit.policy'='per_batch') AS
SELECT window_start AS w, k, count(*) AS n, list(s) AS l FROM s GROUP BY k, TUMBLE(at, INTERVAL '3' HOUR);
"""


def made(folder: Path) -> Path:
    folder.mkdir()
    with (folder / "in.jsonl").open("w") as file:
        for n in range(ROWS):
            at = f"2024-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}"
            file.write(json.dumps({"k": f"k{n % 2000}", "s": "x" * 600 + str(n), "at": at}) + "\n")
    (folder / "app.sql").write_text(APPLICATION)
    return folder


def run(folder: Path, limit: str | None = None) -> JobResult:
    options = RunOptions(overrides={"memory.limit": limit} if limit else {})
    return Application.read(folder / "app.sql").run(options=options).jobs[0]


def assert_goes_on(reached: list[int], starved: Path, calm: Path) -> None:
    assert reached == sorted(reached)
    assert any(0 < read < ROWS for read in reached), reached
    assert reached[-1] == ROWS
    assert (starved / "out.jsonl").read_bytes() == (calm / "out.jsonl").read_bytes()
    assert all(report.ok for report in audit(Application.read(starved / "app.sql"), RunOptions()))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made(tmp_path_factory.mktemp("calm") / "app")
    assert run(folder).error is None
    return folder


def test_job_goes_on_where_its_memory_limit_ended_it(tmp_path: Path, calm: Path) -> None:
    starved = made(tmp_path / "starved")
    reached = []
    for megabytes in (1, 36, 40, 44, 48, 56, 64, 80, 96, 128, 512):
        result = run(starved, f"{megabytes}MB")
        reached.append(result.ledger.read)
        if result.error is None:
            break
        assert (result.state, result.error.code) == ("failed", "E6006")
    assert_goes_on(reached, starved, calm)


def test_job_goes_on_where_the_system_had_no_memory_left(tmp_path: Path, calm: Path) -> None:
    starved = made(tmp_path / "starved")
    reached = []
    for megabytes in (40, 130, 160, 190, 220, 260, 320, 4000):
        command = [sys.executable, "-c", f"from {__name__} import starve; starve({str(starved)!r}, {megabytes})"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        state, read, code = json.loads(done.stdout)
        assert (state, code) in (("failed", "E6006"), ("finished", None))
        assert read or not (starved / ".ferris").exists()
        reached.append(read)
        if state == "finished":
            break
    assert_goes_on(reached, starved, calm)


def starve(folder: str, megabytes: int) -> None:
    """In a process of its own: run with so much more memory than what is loaded takes."""
    application = Application.read(Path(folder) / "app.sql")
    application.check()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    result = application.run().jobs[0]
    print(json.dumps([result.state, result.ledger.read, result.error.code if result.error else None]))
