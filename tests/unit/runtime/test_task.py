"""When a task ends its epochs: what each commit policy promises, read from the epochs in the state file."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ferrisstreams.clock import ManualClock
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.runtime.job import Job
from ferrisstreams.runtime.observer import Silent
from ferrisstreams.session.application import Application, RunOptions

ROWS = 9
APPLICATION = """
CREATE STREAM s (v INT) WITH (connector='file', path='in.jsonl');
CREATE STREAM out WITH (connector='file', path='out.jsonl') AS SELECT v FROM s WHERE v <> 3;
"""
STRATEGIES = {
    "default": {},
    "off": {"batch.enable": "false"},
    "fixed_size": {"batch.strategy": "fixed_size", "batch.size": "4"},
    "time_window": {"batch.strategy": "time_window", "batch.window": "1ms"},
    "adaptive_size": {"batch.strategy": "adaptive_size", "batch.min_size": "5"},
    "memory_based": {"batch.strategy": "memory_based", "batch.memory_size": "1MB"},
    "low_latency": {"batch.strategy": "low_latency", "batch.max_size": "6"},
}


def rows_of_epochs(folder: Path, settings: dict[str, str]) -> list[int]:
    """How many rows each epoch that read something has read; the fourth of all rows does not decode."""
    lines = [json.dumps({"v": n if n != 4 else "bad"}) for n in range(ROWS)]
    (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "app.sql").write_text(APPLICATION)
    application = Application.read(folder / "app.sql")
    environment = application.environment(RunOptions(overrides=settings, strict=False), observer=Silent())
    # A clock that stands still: nothing is reclaimed, so that all epochs are still there.
    result = Job(application.plan.jobs[0], replace(environment, clock=ManualClock(1_704_067_200_000_000))).run()
    assert result.error is None
    engine = Engine(EngineSettings(str(folder / ".ferris" / "app" / "out" / "state.duckdb")))
    contents = engine.state.rows("SELECT content FROM state.epochs ORDER BY epoch")
    engine.close()
    read = [json.loads(str(content))["ledger"]["read"] for (content,) in contents]
    assert (read[0], read[-1]) == (0, ROWS)
    return [after - before for before, after in pairwise(read) if after > before]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_per_record_makes_each_row_an_epoch_of_its_own_under_every_batch_strategy(
    strategy: str, tmp_path: Path
) -> None:
    assert rows_of_epochs(tmp_path, {"commit.policy": "per_record", **STRATEGIES[strategy]}) == [1] * ROWS


def test_per_batch_makes_each_batch_an_epoch(tmp_path: Path) -> None:
    found = rows_of_epochs(tmp_path, {"commit.policy": "per_batch", **STRATEGIES["fixed_size"]})
    assert found == [4, 4, 1]


def test_no_epoch_has_more_rows_than_commit_rows_whatever_a_batch_holds(tmp_path: Path) -> None:
    assert rows_of_epochs(tmp_path, {"commit.rows": "2", "batch.size": "5"}) == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("policy", ["per_batch", "hybrid"])
@pytest.mark.parametrize("strategy", ["default", "fixed_size", "time_window"])
def test_source_that_fails_or_ends_within_a_batch_loses_nothing(strategy: str, policy: str, tmp_path: Path) -> None:
    packed = [gzip.compress(b"".join(b'{"v": %d}\n' % n for n in range(low, low + 7))) for low in (10, 20)]
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(packed[0] + packed[1][:-10])
    (tmp_path / "app.sql").write_text(APPLICATION.replace("in.jsonl", path.name))
    options = RunOptions(overrides={"commit.policy": policy, **STRATEGIES[strategy]})
    (failed,) = Application.read(tmp_path / "app.sql").run(options=options).jobs
    assert failed.error is not None
    assert failed.error.code == "E4007"
    path.write_bytes(packed[0] + packed[1])
    (result,) = Application.read(tmp_path / "app.sql").run(options=options).jobs
    assert (result.error, result.ledger.read, result.ledger.written) == (None, 14, 14)
    written = [json.loads(line)["v"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert written == [*range(10, 17), *range(20, 27)]
