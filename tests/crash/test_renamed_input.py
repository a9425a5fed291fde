"""A log that is rotated under a job which is killed again and again: every row is there once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import processes

ROWS = 200
POINTS = ("after_read", "after_flush", "after_prepare", "before_confirm", "after_confirm", "after_write")


def run(app: Path, fault: str | None = None) -> int:
    done = processes.run("run", app, "--once", **({"FERRIS_FAULT": fault} if fault else {}))
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def append(log: Path, first: int) -> int:
    with log.open("a") as file:
        file.writelines(f'{{"id":{number}}}\n' for number in range(first, first + ROWS))
    return first + ROWS


def rotate(log: Path, oldest: int) -> None:
    """As log rotation does: every number one up, and the oldest file goes."""
    log.with_name(f"{log.name}.{oldest}").unlink(missing_ok=True)
    for older in range(oldest - 1, 0, -1):
        if log.with_name(f"{log.name}.{older}").exists():
            os.rename(log.with_name(f"{log.name}.{older}"), log.with_name(f"{log.name}.{older + 1}"))
    os.rename(log, log.with_name(f"{log.name}.1"))


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_rotated_log_is_read_once_through_kills(tmp_path: Path, pattern: str) -> None:
    log, app = tmp_path / "app.log", tmp_path / "app.sql"
    app.write_text(
        f"CREATE STREAM rows (id BIGINT) WITH (connector='file', path='{pattern}', watch=true, 'batch.size'=50);\n"
        "CREATE STREAM out WITH (connector='file', path='out.jsonl', 'commit.policy'='per_batch') AS "
        "SELECT * FROM rows;\n"
    )
    number, deaths = 0, 0
    for point in POINTS:
        number = append(log, number)
        deaths += run(app, f"{point}:2") == -9
        number = append(log, number)
        rotate(log, oldest=3)
        deaths += run(app, f"{point}:3") == -9
        assert run(app) == 0
    number = append(log, number)
    assert run(app) == 0
    assert deaths >= len(POINTS)
    rows = (tmp_path / "out.jsonl").read_text().split()
    assert rows == [f'{{"id":{row}}}' for row in range(number)]
