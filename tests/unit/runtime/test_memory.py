"""A job that runs out of memory ends in order, wherever that happens, and goes on when it is run with more."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_job_goes_on_where_memory_ended_it(tmp_path: Path) -> None:
    calm, starved = made(tmp_path / "calm"), made(tmp_path / "starved")
    expected = run(calm)
    reached = []
    for megabytes in (1, 36, 40, 44, 48, 56, 64, 80, 96, 128, 512):
        result = run(starved, f"{megabytes}MB")
        reached.append(result.ledger.read)
        if result.error is None:
            break
        assert (result.state, result.error.code) == ("failed", "E6006")
    assert result.error is None
    assert reached == sorted(reached)
    assert any(0 < read < ROWS for read in reached), reached
    assert result.ledger == expected.ledger
    assert (starved / "out.jsonl").read_bytes() == (calm / "out.jsonl").read_bytes()
    assert all(report.ok for report in audit(Application.read(starved / "app.sql"), RunOptions()))
