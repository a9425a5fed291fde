"""The library: `import ferrisstreams`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import ferrisstreams as fs
from ferrisstreams.errors import ConfigError, SqlError
from ferrisstreams.runtime.observer import ProgressEvent
from tests.surfaces.applications import BARS, LEDGER, LINES, SEVERAL

TOTALS = "SELECT symbol, sum(qty) AS qty FROM trades GROUP BY symbol EMIT FINAL"
TRADES = [{"symbol": "a", "qty": 1}, {"symbol": "b", "qty": 2}, {"symbol": "a", "qty": 3}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bars.sql").write_text(BARS, "utf-8")
    (tmp_path / "several.sql").write_text(SEVERAL, "utf-8")
    (tmp_path / "trades.jsonl").write_text(LINES, "utf-8")
    return tmp_path


def rows(sql: str, **tables: object) -> list[dict[str, object]]:
    return [row for table in fs.query(sql, **tables) for row in table.to_pylist()]  # type: ignore[arg-type]


@pytest.mark.parametrize("trades", [TRADES, pa.Table.from_pylist(TRADES), pa.RecordBatch.from_pylist(TRADES)], ids=type)
def test_query_takes_what_holds_rows(trades: object) -> None:
    found = {row["symbol"]: row["qty"] for row in rows(TOTALS, trades=trades)}
    assert found == {"a": 4, "b": 2}


def test_query_of_what_holds_no_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match="int"):
        rows(TOTALS, trades=5)


def test_query_that_is_wrong_has_a_place() -> None:
    with pytest.raises(SqlError, match=r"<query>:1:8: there is no column symbl"):
        rows("SELECT symbl FROM trades", trades=TRADES)


class Watcher:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.rows = 0

    def progress(self, event: ProgressEvent) -> None:
        self.rows = event.rows

    def event(self, name: str, **fields: object) -> None:
        self.events.append(name)


def test_application_runs_and_tells_an_observer(folder: Path) -> None:
    watcher = Watcher()
    (job,) = fs.Application.read(folder / "bars.sql").run(observer=watcher).jobs
    assert (job.name, job.state, job.error) == ("bars", "finished", None)
    assert job.ledger.as_dict() == LEDGER
    assert (watcher.rows, watcher.events) == (6, ["row_rejected"])


def test_options_choose_jobs_and_override_settings(folder: Path) -> None:
    options = fs.RunOptions(jobs=("big",), overrides={"batch.enable": "false"}, max_records=3)
    (job,) = fs.Application.read(folder / "several.sql").run(options=options).jobs
    assert (job.name, job.state, job.rows) == ("big", "stopped", 3)


def test_failure_of_a_job_is_in_its_result(folder: Path) -> None:
    options = fs.RunOptions(overrides={"failure_strategy": "FailBatch"})
    (job,) = fs.Application.read(folder / "bars.sql").run(options=options).jobs
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "E6001"
    assert job.ledger.read == 0


def test_stop_before_the_run_leaves_everything_for_the_next(folder: Path) -> None:
    application = fs.Application.read(folder / "bars.sql")
    application.stop()
    (job,) = application.run().jobs
    assert (job.state, job.rows) == ("stopped", 0)
    (job,) = fs.Application.read(folder / "bars.sql").run().jobs
    assert (job.state, job.rows) == ("finished", 6)


def test_import_of_the_package_loads_no_engine() -> None:
    code = (
        "import ferrisstreams, sys; print(sorted({'duckdb', 'pyarrow', 'sqlglot', 'typer', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
