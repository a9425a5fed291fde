"""What a terminal shows of real runs, at widths from 40 columns."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.processes import REAL, run
from tests.surfaces.test_dlq import APPLICATION, RECORDS
from tests.terminal import terminal

SECONDS_MAX = 60

ENDLESS = """\
CREATE STREAM trades (ts TIMESTAMP, symbol TEXT, WATERMARK FOR ts AS ts)
WITH ('connector' = 'file', 'path' = 'trades.jsonl', 'watch' = 'true');
CREATE STREAM copies WITH ('connector' = 'file', 'path' = 'copies.jsonl') AS SELECT symbol FROM trades;
"""


def write_endless(folder: Path, jobs: int = 1) -> None:
    more = "".join(ENDLESS.splitlines()[2].replace("copies", f"copies_{n}") + "\n" for n in range(1, jobs))
    (folder / "app.sql").write_text(ENDLESS + more, "utf-8")
    records = (json.dumps({"ts": f"2024-01-01T00:{n // 60:02}:{n % 60:02}Z", "symbol": "A"}) for n in range(1_000))
    (folder / "trades.jsonl").write_text("\n".join(records) + "\n", "utf-8")


@pytest.mark.parametrize(("columns", "jobs"), [(40, 1), (80, 2), (140, 2)])
def test_ctrl_c_leaves_the_summary_and_nothing_else(columns: int, jobs: int, tmp_path: Path) -> None:
    write_endless(tmp_path, jobs)
    with terminal(columns) as shown, shown.start([*REAL, "run", "app.sql"], tmp_path) as process:
        line = shown.wait_for(lambda picture: picture.count("running") == jobs and "1,000" in picture)
        assert "behind" not in line
        assert all(len(each) <= columns - 3 for each in line.splitlines())
        shown.type("\x03")
        assert process.wait(SECONDS_MAX) == 0
        picture = shown.picture()
        assert not re.search(r"\^C|running|stopping", picture), picture
        assert picture.count("1,000") >= jobs
        assert not shown.cursor_is_hidden


def test_second_signal_kills_and_gives_the_terminal_back(tmp_path: Path) -> None:
    write_endless(tmp_path)
    with terminal(80) as shown, shown.start([*REAL, "run", "app.sql"], tmp_path) as process:
        shown.wait_for(lambda picture: "running" in picture)
        process.send_signal(signal.SIGSTOP)  # so that both are there before the first is answered
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        assert process.wait(SECONDS_MAX) == -signal.SIGKILL
        assert shown.picture().strip() == ""
        assert not shown.cursor_is_hidden


def test_terminal_that_cannot_draw_is_sent_no_control_characters(tmp_path: Path) -> None:
    write_endless(tmp_path)
    with terminal(80) as shown, shown.start([*REAL, "run", "app.sql"], tmp_path, TERM="dumb") as process:
        shown.wait_for(
            lambda _: (tmp_path / "copies.jsonl").exists() and (tmp_path / "copies.jsonl").stat().st_size > 0
        )
        assert "running" not in shown.picture()
        shown.type("\x03")
        assert process.wait(SECONDS_MAX) == 0
        assert "^C\nstopping: what was read is being committed (again: kill)\n" in shown.picture()


def test_list_of_dead_letters_has_their_messages_at_any_width(tmp_path: Path) -> None:
    (tmp_path / "app.sql").write_text(APPLICATION, "utf-8")
    (tmp_path / "trades.jsonl").write_bytes(b"".join(RECORDS))
    assert run("run", "app.sql", folder=tmp_path).returncode == 0
    for columns in (40, 80, 200):
        with terminal(columns) as shown:
            picture = shown.run([*REAL, "dlq", "list", "app.sql", "--code", "E2104"], tmp_path)
        assert 'column "qty": "many" is not of type INTEGER' in " ".join(picture.split())
        assert all(word in picture for word in ("waiting", "E2104", "decode", "trades.jsonl"))


def test_terminal_that_is_closed_stops_the_run_in_order(tmp_path: Path) -> None:
    write_endless(tmp_path)
    with terminal(80) as shown, shown.start([*REAL, "run", "app.sql"], tmp_path) as process:
        shown.wait_for(lambda picture: "running" in picture)
        shown.hang_up()
        assert process.wait(SECONDS_MAX) == 0
    assert not list(tmp_path.glob("ferris-error-*"))
    with terminal(80) as shown:
        assert "nothing new (1,000 read" in shown.run([*REAL, "run", "app.sql", "--once"], tmp_path)
