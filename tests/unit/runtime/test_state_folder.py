"""A job that fails before anything of it is final leaves nothing behind: the corrected one starts as a new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.errors import RowError
from ferrisstreams.runtime.job import JobResult
from ferrisstreams.session.application import Application, RunOptions

LETTERS = "'failure_strategy'='send_to_dlq', 'dlq.max_consecutive'=2"

#: Settings of source and sink, the content of the file, and the code of the failure in its first epoch.
FAILING = {
    "wrong header": ("format='csv'", "", "k,w\na,1\n", "E4005"),
    "wrong header alone": ("format='csv'", "", "k,w\n", "E4005"),
    "first row fails": ("format='csv'", "'failure_strategy'='fail_batch'", "k,v\na,odd\n", "E6001"),
    "letters": ("format='csv'", LETTERS, "k,v\na,odd\nb,odd\nc,odd\n", "E6003"),
    "memory": ("format='csv'", "'memory.limit'='300KB'", "k,v\na,1\n", "E6006"),
}
RIGHT = "k,v\na,1\nb,2\n"
OUTPUTS = {"file": "path='out.csv'", "packed": "path='out.csv.gz'", "rotated": "path='out-{n}.csv', 'rotate.rows'=1"}


def run(folder: Path, source: str, sink: str, overwrite: bool = False, columns: str = "k TEXT, v INT") -> JobResult:
    text = f"""
    CREATE STREAM s ({columns}) WITH (connector='file', path='in.csv', {source});
    CREATE STREAM out WITH (connector='file', {sink}) AS SELECT * FROM s;
    """
    (folder / "app.sql").write_text(text)
    return Application.read(folder / "app.sql").run(options=RunOptions(overwrite=overwrite)).jobs[0]


def held(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder): path.read_bytes() if path.is_file() else b"/" for path in folder.rglob("*")}
    return {str(path): content for path, content in found.items() if str(path) != "app.sql"}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", FAILING)
def test_failure_in_the_first_epoch_leaves_nothing_behind(name: str, output: str, tmp_path: Path) -> None:
    source, settings, content, code = FAILING[name]
    (tmp_path / "in.csv").write_text(content)
    before = held(tmp_path)
    failed = run(tmp_path, source, ", ".join(filter(None, [OUTPUTS[output], settings])))
    assert failed.error is not None
    assert (failed.error.code, failed.ledger.read, failed.rows) == (code, 0, 0)
    assert held(tmp_path) == before
    (tmp_path / "in.csv").write_text(RIGHT)
    corrected = run(tmp_path, source, OUTPUTS[output], columns="k TEXT, v BIGINT")
    assert (corrected.error, corrected.ledger.written) == (None, 2)


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("k,w\na,1\n")
    (tmp_path / "out.csv").write_text("mine")
    before = held(tmp_path)
    failed = run(tmp_path, "format='csv'", "path='out.csv', 'append'='true'")
    assert failed.error is not None
    assert failed.error.code == "E4005"
    assert held(tmp_path) == before


def test_failure_behind_a_final_epoch_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("k,v\na,1\nb,odd\n")
    each = "path='out.csv', format='csv', 'failure_strategy'='fail_batch', 'commit.policy'='per_record'"
    failed = run(tmp_path, "format='csv'", each)
    assert failed.error is not None
    assert (failed.error.code, failed.ledger.read, failed.ledger.written) == ("E6001", 1, 1)
    (tmp_path / "in.csv").write_text("k,v\na,1\nb,2\n")
    assert run(tmp_path, "format='csv'", each).error is None
    assert (tmp_path / "out.csv").read_text() == "k,v\na,1\nb,2\n"


def test_columns_that_were_inferred_are_forgotten_with_the_start(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"k": "a"}\n')
    (tmp_path / "app.sql").write_text(
        "CREATE STREAM s WITH (connector='file', path='in.jsonl');"
        "CREATE STREAM out WITH (connector='file', path='out.jsonl') AS SELECT k, CAST(k AS INT) AS n FROM s;"
    )
    before = held(tmp_path)
    with pytest.raises(RowError):
        Application.read(tmp_path / "app.sql").run()
    assert held(tmp_path) == before
    (tmp_path / "in.jsonl").write_text('{"k": 7}\n')
    (result,) = Application.read(tmp_path / "app.sql").run().jobs
    assert (result.error, result.ledger.written) == (None, 1)
