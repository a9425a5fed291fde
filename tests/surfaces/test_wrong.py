"""Wrong queries and settings: what a user is told, whole, and that nothing was touched.

`wrong.txt` has the cases: a title, a statement, and the error. `python -m tests.surfaces.test_wrong` writes the errors
anew; the diff is reviewed like code.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ferrisstreams.cli.main import app
from tests.surfaces.applications import TRADES

CASES = Path(__file__).with_name("wrong.txt")
SINK = "CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl') AS SELECT symbol FROM trades;"


def cases() -> Iterator[tuple[str, str, str]]:
    """Title, statement and error of each case."""
    for part in re.split(r"^# ", CASES.read_text("utf-8"), flags=re.M)[1:]:
        title, statement, *error = part.rstrip().split("\n")
        yield title, statement, "\n".join(error)


def told(folder: Path, statement: str, *options: str) -> str:
    """What is told of a wrong application, whose statement stands on line 5. The command runs in this process."""
    (folder / "wrong.sql").write_text(f"{TRADES}\n{statement}\n", "utf-8")
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit, match="1"):
        app(["run", "wrong.sql", *options])
    assert not out.getvalue()
    assert [path.name for path in folder.iterdir()] == ["wrong.sql"]
    return err.getvalue().rstrip("\n")


@pytest.mark.parametrize(("statement", "error"), [pytest.param(*case, id=title) for title, *case in cases()])
def test_wrong_application_is_told_what_where_and_what_to_do(statement: str, error: str, tmp_path: Path) -> None:
    assert told(tmp_path, statement) == error


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("bacth.size=5", r"--set: unknown setting 'bacth.size'.* \[E3001\]\nhint: did you mean 'batch.size'\?"),
        ("batch.size=0", r"--set: 'batch.size' = '0' does not fit: expected .* at least 1 \[E3002\]\nhint: .*"),
        ("commit.interval=5", r"--set: 'commit.interval' = '5' does not fit: .* unit: 5ms, .* \[E3002\]\nhint: .*"),
    ],
)
def test_wrong_setting_of_the_command_line_is_told_alike(setting: str, error: str, tmp_path: Path) -> None:
    assert re.fullmatch(error, told(tmp_path, SINK, "--set", setting))


@pytest.mark.parametrize(("note", "kind", "line"), [("app", "application", 1), ("name", "job", 2)])
def test_name_that_cannot_name_a_folder_is_told_with_its_line(note: str, kind: str, line: int, tmp_path: Path) -> None:
    text = f"-- @{note}: a/b\n{SINK}" if note == "name" else SINK
    head = f"-- @app: a/b\n{TRADES}" if note == "app" else TRADES.replace("\n", " ")
    (tmp_path / "wrong.sql").write_text(f"{head}\n{text}\n", "utf-8")
    err = io.StringIO()
    with chdir(tmp_path), redirect_stderr(err), pytest.raises(SystemExit, match="1"):
        app(["run", "wrong.sql"])
    said = f"wrong.sql:{line}:1: the {kind} name 'a/b' cannot name a folder [E3002]\n  -- @{note}: a/b\n  ^"
    assert err.getvalue().startswith(said)


def rewrite() -> None:
    """Put what is told now into the file."""
    parts = []
    for title, statement, _ in cases():
        with tempfile.TemporaryDirectory() as folder:
            parts.append(f"# {title}\n{statement}\n{told(Path(folder), statement)}\n")
    CASES.write_text("\n".join(parts), "utf-8")


if __name__ == "__main__":
    rewrite()
