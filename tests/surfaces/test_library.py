"""The library: `import ferrisstreams`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import ferrisstreams as fs
from ferrisstreams.errors import ConfigError, RowError, SqlError
from ferrisstreams.runtime.observer import ProgressEvent
from tests.surfaces.applications import BARS, LEDGER, LINES, SEVERAL

TOTALS = "SELECT symbol, sum(qty) AS qty FROM trades GROUP BY symbol EMIT FINAL"
SKIPPING = fs.RunOptions(overrides={"failure_strategy": "log_and_continue"})
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


ODD = [{"symbol": "a", "qty": "1"}, {"symbol": "b", "qty": "odd"}, {"symbol": "c", "qty": "3"}]
NUMBERS = "SELECT symbol, CAST(qty AS INT) AS qty FROM trades"


def test_row_that_fails_in_a_query_raises() -> None:
    with pytest.raises(RowError, match="odd"):
        fs.query(NUMBERS, trades=ODD)


@pytest.mark.parametrize("strategy", ["LogAndContinue", "log_and_continue"])
def test_query_obeys_its_own_strategy_and_gives_the_ledger(strategy: str) -> None:
    found = fs.query(f"{NUMBERS} WITH ('failure_strategy' = '{strategy}', 'batch.size' = 1)", trades=ODD)
    assert [table.to_pylist() for table in found] == [[{"symbol": "a", "qty": 1}], [{"symbol": "c", "qty": 3}]]
    ledger = found.ledger
    assert (ledger.read, ledger.emitted, ledger.skipped, ledger.written) == (3, 2, 1, 2)
    assert found.table().column("qty").to_pylist() == [1, 3]


def test_dead_letters_of_a_query_go_where_it_says(tmp_path: Path) -> None:
    letters = tmp_path / "letters.jsonl"
    found = fs.query(f"{NUMBERS} WITH ('failure_strategy' = 'send_to_dlq', 'dlq.path' = '{letters}')", trades=ODD)
    assert (found.ledger.dead_lettered, letters.read_text().count("\n")) == (1, 1)


def test_setting_that_a_query_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="connector"):
        fs.query(f"{NUMBERS} WITH ('connector' = 'file', 'path' = 'out.jsonl')", trades=ODD)
    with pytest.raises(ConfigError, match="comit"):
        fs.query(f"{NUMBERS} WITH ('comit.policy' = 'per_batch')", trades=ODD)


def test_column_that_only_later_rows_have_is_kept() -> None:
    found = rows("SELECT symbol, note FROM trades", trades=[{"symbol": "a"}, {"symbol": "b", "note": "late"}])
    assert found == [{"symbol": "a", "note": None}, {"symbol": "b", "note": "late"}]


def test_values_without_a_common_type_name_their_column() -> None:
    with pytest.raises(ConfigError, match=r"trades\.qty"):
        fs.query("SELECT qty FROM trades", trades=[{"qty": 1}, {"qty": "a"}])


def test_result_without_rows_has_its_columns() -> None:
    found = fs.query("SELECT symbol, qty FROM trades WHERE qty > 5", trades=TRADES)
    assert (list(found), found.ledger.filtered) == ([], 3)
    assert (found.table().column_names, found.table().num_rows) == (["symbol", "qty"], 0)


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
    options = fs.RunOptions(strict=False)
    (job,) = fs.Application.read(folder / "bars.sql").run(options=options, observer=watcher).jobs
    assert (job.name, job.state, job.error) == ("bars", "finished", None)
    assert job.ledger.as_dict() == LEDGER
    assert (watcher.rows, watcher.events) == (6, ["row_rejected"])


def test_row_that_fails_over_a_bounded_source_raises_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(RowError, match="E6001"):
        fs.Application.read(folder / "bars.sql").run()
    assert not (folder / "bars.jsonl").exists()
    assert not (folder / ".ferris").exists()
    (job,) = fs.Application.read(folder / "bars.sql").run(options=SKIPPING).jobs
    assert (job.state, job.ledger.as_dict()) == ("finished", LEDGER)


def test_row_that_fails_on_an_endless_source_is_logged(folder: Path) -> None:
    watching = fs.RunOptions(overrides={"watch": "true"}, max_records=6)
    (job,) = fs.Application.read(folder / "bars.sql").run(options=watching).jobs
    assert (job.error, job.ledger.skipped) == (None, 1)


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


def test_error_that_nothing_foresaw_fails_its_job_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ""
    for name, rows in (("many", 9), ("few", 2)):
        (tmp_path / f"{name}.jsonl").write_text('{"v": 1}\n' * rows)
        text += f"""
        CREATE STREAM {name} (v INT) WITH ('connector' = 'file', 'path' = '{name}.jsonl', 'batch.enable' = 'false');
        CREATE STREAM of_{name} WITH ('connector' = 'file', 'path' = 'of_{name}.jsonl') AS SELECT v FROM {name};
        """
    (tmp_path / "app.sql").write_text(text)
    monkeypatch.setenv("FERRIS_FAULT", "after_process:5:foreign")  # Each job counts for itself: one has fewer batches.
    jobs = fs.Application.read(tmp_path / "app.sql").run().jobs
    assert [(job.name, job.state) for job in jobs] == [("of_many", "failed"), ("of_few", "finished")]
    assert jobs[0].error is not None
    assert jobs[0].error.code == "E9001"
    assert isinstance(jobs[0].error.__cause__, RuntimeError)
    monkeypatch.delenv("FERRIS_FAULT")
    jobs = fs.Application.read(tmp_path / "app.sql").run().jobs
    assert [(job.state, job.ledger.read) for job in jobs] == [("finished", 9), ("finished", 2)]


def test_stop_before_the_run_leaves_everything_for_the_next(folder: Path) -> None:
    application = fs.Application.read(folder / "bars.sql")
    application.stop()
    (job,) = application.run(options=SKIPPING).jobs
    assert (job.state, job.rows) == ("stopped", 0)
    (job,) = fs.Application.read(folder / "bars.sql").run(options=SKIPPING).jobs
    assert (job.state, job.rows) == ("finished", 6)


def test_import_of_the_package_loads_no_engine() -> None:
    code = (
        "import ferrisstreams, sys; print(sorted({'duckdb', 'pyarrow', 'sqlglot', 'typer', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
