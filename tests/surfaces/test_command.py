"""The command `ferris`: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REAL
from tests.surfaces.applications import BARS, LEDGER, LINES, SELECT, SEVERAL, TRADES
from tests.surfaces.conftest import Ferris

COMMANDS = ("run", "check", "explain", "test", "audit", "version")


def test_help_names_every_command(ferris: Ferris) -> None:
    ran = ferris("--help")
    assert ran.code == 0
    assert all(re.search(rf"^  {name} ", ran.out, re.M) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example(name: str, ferris: Ferris) -> None:
    ran = ferris(name, "--help")
    assert ran.code == 0
    assert f"Example:  ferris {name}" in ran.out


def test_version_names_what_decides_results(ferris: Ferris) -> None:
    ran = ferris("version")
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        "ferrisstreams",
        "python",
        "duckdb",
        "pyarrow",
        "sqlglot",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("run",),
        ("run", "missing.sql"),
        ("run", "."),
        ("run", "latin.sql"),
        ("run", "bars.sql", "--set", "novalue"),
        ("run", "bars.sql", "--max-records", "-1"),
        ("run", "bars.sql", "--job", "fly"),
        ("run", "bars.sql", "-o", "xml"),
        ("run", "trades.sql"),
        ("explain", "bars.sql", "--format", "png"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two(arguments: tuple[str, ...], ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__sql=TRADES)
    (ferris.folder / "latin.sql").write_bytes(b"SELECT '\xe9' FROM t;")
    ran = ferris(*arguments)
    assert ran.code == 2
    assert ran.err
    assert not (ferris.folder / ".ferris").exists()


def test_summary_is_one_object_on_the_last_line(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    ran = ferris("run", "bars.sql", "-o", "json")
    assert ran.code == 0
    job = ran.job
    assert job["name"] == "bars"
    assert job["state"] == "finished"
    assert job["ledger"] == LEDGER
    assert job["seconds"] > 0
    assert len(job["positions"]) == 1
    assert [(row["symbol"], row["n"], row["qty"]) for row in ferris.lines("bars.jsonl")] == [
        ("AAA", 2, 7),
        ("BBB", 1, 1),
        ("AAA", 1, 7),
    ]


def test_finished_job_run_again_reads_and_writes_nothing(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    first, second = (ferris("run", "bars.sql", "-o", "json").job for _ in range(2))
    assert second["state"] == "finished"
    assert second["rows"] == 0
    assert second["ledger"] == first["ledger"] == LEDGER


def test_table_goes_to_standard_output_without_colour(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    ran = ferris("run", "bars.sql")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["=", "read", "6"] in rows
    assert ["written", "3"] in rows
    assert not any(row[1:] == ["0"] for row in rows), "what did not happen is not said"
    assert "\033" not in ran.out + ran.err


def test_log_is_json_lines_off_a_terminal(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    ran = ferris("run", "bars.sql")
    (told,) = [json.loads(line) for line in ran.err.splitlines()]
    assert told["event"] == "row_rejected"
    assert told["code"] == "E2104"


def test_rows_of_a_select_alone_are_all_that_standard_output_has(ferris: Ferris) -> None:
    ferris.write(trades__jsonl=LINES)
    ran = ferris("run", "-", stdin=SELECT)
    assert ran.code == 0
    assert [json.loads(line)["qty"] for line in ran.out.splitlines()] == [5, 2, 7]
    assert re.fullmatch(r"3 rows in \d+\.\d\ds \(6 read, .*\)", ran.err.splitlines()[-1])
    assert not (ferris.folder / ".ferris").exists()


def test_rows_of_a_select_alone_come_before_the_summary(ferris: Ferris) -> None:
    ferris.write(select__sql=SELECT, trades__jsonl=LINES)
    ran = ferris("run", "select.sql", "-o", "json")
    assert [json.loads(line)["qty"] for line in ran.out.splitlines()[:-1]] == [5, 2, 7]
    assert ran.job["ledger"]["emitted"] == 3


@pytest.mark.parametrize(
    "command", [("run", "select.sql"), ("run", "select.sql", "-o", "json"), ("explain", "select.sql")]
)
def test_reader_may_go_away(command: tuple[str, ...], ferris: Ferris) -> None:
    ferris.write(select__sql=SELECT, trades__jsonl=LINES * 20_000)
    process = ferris.start(*command)
    process.stdout.readline()
    process.stdout.close()
    told = [line for line in process.stderr if "row_rejected" not in line]
    assert (process.wait(30), told) == (0, [])


def test_reader_of_a_stream_that_keeps_its_position_may_not(ferris: Ferris) -> None:
    printing = TRADES + "CREATE STREAM shown WITH ('connector' = 'stdout') AS SELECT * FROM trades;"
    ferris.write(shown__sql=printing, trades__jsonl=LINES * 20_000)
    process = ferris.start("run", "shown.sql")
    process.stdout.readline()
    process.stdout.close()
    assert "standard output was closed by its reader [E4003]" in process.stderr.read()
    assert process.wait(30) == 1


@pytest.mark.parametrize(
    "command", [("version",), ("run", "bars.sql", "-v"), ("run", "select.sql"), ("explain", "bars.sql")]
)
def test_disk_that_is_full_is_an_error_on_standard_output_and_nothing_on_the_other(
    command: tuple[str, ...], ferris: Ferris
) -> None:
    ferris.write(bars__sql=BARS, select__sql=SELECT, trades__jsonl=LINES)
    with open("/dev/full", "wb") as full:
        ran = subprocess.run([*REAL, *command], cwd=ferris.folder, stdout=full, stderr=subprocess.PIPE, text=True)
        assert ran.returncode == 1
        assert "standard output cannot be written: No space left on device [E4003]" in ran.stderr
        ran = subprocess.run([*REAL, *command], cwd=ferris.folder, stdout=subprocess.PIPE, stderr=full, text=True)
        assert (ran.returncode, bool(ran.stdout)) == (0, True)


def test_run_goes_on_when_nobody_reads_its_standard_error(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    process = ferris.start("run", "bars.sql", "-o", "json")
    process.stderr.close()
    out, _ = process.communicate(timeout=30)
    assert json.loads(out)["jobs"][0]["ledger"]["read"] == 6
    assert process.wait(30) == 0


#: `ferris`, which is sent Ctrl-C when it looks for the module that comes first.
INTERRUPTED = """\
import os, signal, sys
from ferrisstreams.cli.start import main
signal.signal(signal.SIGINT, signal.default_int_handler)
module = sys.argv.pop(1)
class Finder:
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
main()
"""


@pytest.mark.parametrize("module", ["typer", "ferrisstreams.cli.run", "duckdb", "ferrisstreams.runtime.door"])
def test_ctrl_c_while_the_command_starts_is_silent(module: str, ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    command = [sys.executable, "-c", INTERRUPTED, module, "run", "bars.sql"]
    ran = subprocess.run(command, cwd=ferris.folder, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(("text", "rows"), [("LIMIT 2", [5, 2]), ("LIMIT 0", []), ("LIMIT 99", [5, 2, 7])])
def test_limit_ends_a_select_alone(text: str, rows: list[int], ferris: Ferris) -> None:
    ferris.write(select__sql=SELECT.rstrip().rstrip(";") + f" {text};", trades__jsonl=LINES)
    ran = ferris("run", "select.sql", "-o", "json")
    assert [json.loads(line)["qty"] for line in ran.out.splitlines()[:-1]] == rows
    assert (ran.job["state"], ran.job["ledger"]["written"], ran.job["ledger"]["produced"]) == (
        "finished",
        len(rows),
        len(rows),
    )


def test_limit_ends_a_select_over_a_source_that_goes_on(ferris: Ferris) -> None:
    watched = SELECT.replace("'connector' = 'file'", "'connector' = 'file', 'watch' = 'true'")
    assert watched != SELECT
    ferris.write(select__sql=watched.rstrip().rstrip(";") + " LIMIT 2;", trades__jsonl=LINES)
    assert [json.loads(line)["qty"] for line in ferris("run", "select.sql").out.splitlines()] == [5, 2]


@pytest.mark.parametrize(
    ("name", "closed", "code"),
    [("bars", ">&-", 0), ("bars", ">&- 2>&- <&-", 0), ("select", ">&-", 1), ("several", ">&-", 1)],
)
def test_standard_output_that_is_closed_is_a_place_without_rows(
    tmp_path: Path, name: str, closed: str, code: int
) -> None:
    """Nobody hears the summary of a job; rows that nobody would hear are refused before anything starts."""
    printing = BARS + "CREATE STREAM shown WITH ('connector' = 'stdout') AS SELECT * FROM trades;"
    Ferris(tmp_path).write(bars__sql=BARS, select__sql=SELECT, several__sql=printing, trades__jsonl=LINES)
    command = [sys.executable, "-m", "ferrisstreams", "run", f"{name}.sql"]
    started = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    ran = subprocess.run(started, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stderr
    assert "E9001" not in ran.stderr
    assert ("standard output is closed [E4003]" in ran.stderr) == bool(code)
    assert (tmp_path / "bars.jsonl").exists() == (not code)


def test_summary_leaves_standard_output_to_the_rows(ferris: Ferris) -> None:
    printing = "CREATE STREAM shown WITH ('connector' = 'STDOUT') AS SELECT symbol FROM trades;"
    ferris.write(shown__sql=BARS + printing, trades__jsonl=LINES)
    ran = ferris("run", "shown.sql", "--job", "shown")
    assert ran.code == 0, ran.err
    assert all(line.startswith("{") for line in ran.out.splitlines())
    assert "shown" in ran.err


def test_settings_of_the_command_line_win(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    ran = ferris("run", "bars.sql", "-o", "json", "--set", "failure_strategy=FailBatch", "--set", "batch.size=2")
    assert ran.code == 1
    assert ran.job["state"] == "failed"
    assert ran.job["error"]["code"] == "E6001"
    assert "[E6001]" in ran.err


def test_job_stops_after_so_many_records_and_goes_on_where_it_was(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    read = [ferris("run", "bars.sql", "-o", "json", "--max-records", "2").job["ledger"]["read"] for _ in range(4)]
    assert read == [2, 4, 6, 6]
    assert len(ferris.lines("bars.jsonl")) == 3


def test_state_is_kept_where_it_is_told(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    assert ferris("run", "bars.sql", "--state-dir", "elsewhere").code == 0
    assert (ferris.folder / "elsewhere" / "bars" / "bars").is_dir()
    assert not (ferris.folder / ".ferris").exists()


def test_target_that_is_not_empty_is_kept_unless_overwritten(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES, bars__jsonl="mine\n")
    refused = ferris("run", "bars.sql", "-o", "json")
    assert refused.code == 1
    assert refused.job["error"]["code"] == "E4004"
    assert (ferris.folder / "bars.jsonl").read_text("utf-8") == "mine\n"
    assert ferris("run", "bars.sql", "--overwrite", "--yes").code == 0
    assert len(ferris.lines("bars.jsonl")) == 3


def test_error_in_the_text_has_its_place_in_the_json_too(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS.replace("sum(qty)", "sum(qtty)"))
    ran = ferris("run", "bars.sql", "-o", "json")
    assert ran.code == 1
    assert ran.err.startswith("bars.sql:6:")
    assert ran.summary["jobs"] == []
    assert (ran.summary["error"]["code"], ran.summary["error"]["line"]) == ("E1101", 6)


def test_check_says_what_there_is_or_what_is_wrong(ferris: Ferris) -> None:
    ferris.write(several__sql=SEVERAL, wrong__sql=BARS.replace("'path'", "'pth'", 1))
    ran = ferris("check", "several.sql")
    assert (ran.code, ran.out) == (0, "several.sql: 3 jobs (bars, big, busy), no errors\n")
    ran = ferris("check", "wrong.sql")
    assert (ran.code, ran.out) == (1, "")
    assert re.match(r"wrong\.sql:3:\d+: .*\[E3001\]", ran.err)


@pytest.mark.parametrize("form", ["text", "json", "mermaid"])
def test_explain_shows_the_plan_in_each_form(form: str, ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS)
    ran = ferris("explain", "bars.sql", "--format", form)
    assert ran.code == 0
    assert "bars" in ran.out
    if form == "json":
        json.loads(ran.out)


def test_jobs_run_side_by_side_and_in_the_order_of_their_dependence(ferris: Ferris) -> None:
    ferris.write(several__sql=SEVERAL, trades__jsonl=LINES)
    ran = ferris("run", "several.sql", "--once", "-o", "json")
    assert ran.code == 0, ran.err
    assert [(job["name"], job["state"]) for job in ran.summary["jobs"]] == [
        ("bars", "finished"),
        ("big", "finished"),
        ("busy", "finished"),
    ]
    assert ferris.lines("busy.jsonl") == [{"symbol": "AAA", "n": 2}]
    assert [row["qty"] for row in ferris.lines("big.jsonl")] == [5, 7]


def test_job_that_fails_stops_only_those_that_read_it(ferris: Ferris) -> None:
    ferris.write(several__sql=SEVERAL, trades__jsonl=LINES, bars__jsonl="mine\n")
    ran = ferris("run", "several.sql", "--once", "-o", "json")
    assert ran.code == 1
    states = {job["name"]: (job["state"], job.get("error", {}).get("code")) for job in ran.summary["jobs"]}
    assert states == {"bars": ("failed", "E4004"), "big": ("finished", None), "busy": ("failed", "E6005")}


def test_worker_that_is_killed_is_a_failed_job(ferris: Ferris) -> None:
    ferris.write(several__sql=SEVERAL, trades__jsonl=LINES)
    ran = ferris("run", "several.sql", "--once", "-o", "json", FERRIS_FAULT="after_flush:1")
    assert ran.code == 1
    assert {job["error"]["code"] for job in ran.summary["jobs"]} == {"E6004", "E6005"}
    again = ferris("run", "several.sql", "--once", "-o", "json")
    assert again.code == 0, again.err
    assert len(ferris.lines("bars.jsonl")) == 3


WATCHED = BARS.replace("'format' = 'json'", "'format' = 'json', 'watch' = true")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("several", [False, True], ids=["one job", "several jobs"])
def test_signal_stops_in_order_with_everything_committed(number: int, several: bool, ferris: Ferris) -> None:
    other = "CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl') AS SELECT * FROM trades;"
    ferris.write(bars__sql=WATCHED + other * several, trades__jsonl=LINES)
    process = ferris.start("run", "bars.sql", "-o", "json")
    ferris.wait_for(process, "bars.jsonl", 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert process.returncode == 0, err
    job = json.loads(out.splitlines()[-1])["jobs"][0]
    assert (job["state"], job["ledger"]["read"]) == ("stopped", 6)


def test_terminal_gets_a_live_line_and_colour(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES * 1000)
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(
        [*REAL, "run", "bars.sql"], cwd=ferris.folder, env=environment, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        shown = read_all(master)
    assert process.returncode == 0
    assert "100%" in shown
    assert "6,000 rows" in shown
    assert "\033[" in shown


def read_all(descriptor: int) -> str:
    """What a terminal is given until its last writer is gone."""
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("table", ["symbol  qty", "──────  ───", "AAA       5", "AAA       2", "AAA       7"]),
        ("csv", ["symbol,qty", "AAA,5", "AAA,2", "AAA,7"]),
        ("json", ['{"symbol":"AAA","qty":5}', '{"symbol":"AAA","qty":2}', '{"symbol":"AAA","qty":7}']),
    ],
)
def test_rows_of_a_select_alone_have_the_form_that_is_asked_for(form: str, printed: list[str], ferris: Ferris) -> None:
    ferris.write(select__sql=SELECT, trades__jsonl=LINES)
    ran = ferris("run", "select.sql", "-o", form)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[: len(printed)] == printed
    assert len(ran.out.splitlines()) == len(printed) + (form == "json")


def test_csv_is_for_the_rows_of_a_select_alone(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    ran = ferris("run", "bars.sql", "-o", "csv")
    assert ran.code == 2
    assert "csv is for the rows of a SELECT alone" in ran.err


def test_run_that_fails_at_its_start_shows_its_error_and_no_table(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS)
    ran = ferris("run", "bars.sql")
    assert (ran.code, ran.out) == (1, "")
    assert "trades.jsonl" in ran.err


def test_second_run_says_that_nothing_is_new(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    ferris("run", "bars.sql")
    assert ferris("run", "bars.sql").out == "bars: finished, nothing new (6 read and 3 written in all)\n"
    ran = ferris("run", "bars.sql", "-o", "json")
    assert (ran.job["this_run"]["read"], ran.job["ledger"]["read"]) == (0, 6)
    assert "deduplicated" in ferris("run", "bars.sql", "-v").out


def test_quiet_run_says_nothing_of_what_it_did(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES.splitlines(keepends=True)[0])
    ran = ferris("run", "bars.sql", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_file_of_any_name_runs_and_keeps_a_state_of_its_own(ferris: Ferris) -> None:
    names = ("my app.sql", "my-app.sql", "bärs.sql", "日本.sql", "-x.sql")
    ferris.write(trades__jsonl=LINES)
    for number, name in enumerate(names):
        text = BARS.replace("'bars.jsonl'", f"'bars-{number}.jsonl'")
        (ferris.folder / name).write_text(text, "utf-8")
        given = f"./{name}"
        assert ferris("check", given).code == 0
        ran = ferris("run", given, "-o", "json")
        assert (ran.code, ran.job["this_run"]["read"]) == (0, 6), ran.err
        assert ferris("run", given, "-o", "json").job["this_run"]["read"] == 0
        assert ferris("audit", given).code == 0
    assert len(list((ferris.folder / ".ferris").iterdir())) == len(names)
