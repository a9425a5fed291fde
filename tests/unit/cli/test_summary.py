from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pytest

from ferrisstreams.cli.summary import (
    INPUTS,
    JOBS_PER_TABLE,
    OUTPUTS,
    JobSummary,
    print_json,
    print_select,
    print_summary,
)
from ferrisstreams.runtime.ledger import Ledger
from tests.terminal import terminal


def counted(**counts: int) -> dict[str, int]:
    read = sum(counts.get(part, 0) for part in INPUTS)
    produced = sum(counts.get(part, 0) for part in OUTPUTS)
    return Ledger(**counts, read=read, produced=produced).as_dict()


RUN = counted(absorbed=1200, late=30, skipped=4, written=6, output_rejected=1)
MARK = "2024-01-01T00:00:00Z"
BARS = JobSummary("bars", "finished", 2.0, 1234, RUN, MARK, windows_closed_by_end=2, this_run=RUN)
AGAIN = JobSummary(
    "totals_of_each_hour", "stopped", 0.5, 3, counted(absorbed=10_003, written=70), MARK,
    breakers={"sink": "open"}, this_run=counted(absorbed=3, written=1),
)  # fmt: skip
IDLE = JobSummary("alerts", "finished", 0.1, 0, counted(emitted=7, written=7), this_run=counted())
BROKEN = JobSummary("copies", "failed", 0.0, this_run=counted())

ONE = """\
                                 bars
─────────────────────────────────────
state                        finished

absorbed                        1,200
late                               30
skipped                             4
= read                          1,234

written                             6
output rejected                     1
= produced                          7

closed by end                       2
seconds                          2.00
rows/s                            617
watermark        2024-01-01T00:00:00Z
"""

BLOCKS = """\
                 totals_of_each_hour
────────────────────────────────────
state                        stopped

absorbed                           3
= read                             3

written                            1

read in all                   10,003
written in all                    70

sink's breaker                  open
seconds                         0.50
rows/s                             6
watermark       2024-01-01T00:00:00Z

alerts: finished, nothing new (7 read
and 7 written in all)

copies: failed
"""

TABLE = """\
                                 bars   totals_of_each_hour
───────────────────────────────────────────────────────────
state                        finished               stopped

absorbed                        1,200                     3
late                               30                     0
skipped                             4                     0
= read                          1,234                     3

written                             6                     1
output rejected                     1                     0
= produced                          7                     1

read in all                     1,234                10,003
written in all                      6                    70

closed by end                       2                     0
sink's breaker                 closed                  open
seconds                          2.00                  0.50
rows/s                            617                     6
watermark        2024-01-01T00:00:00Z  2024-01-01T00:00:00Z
"""


def printed(*jobs: JobSummary, everything: bool = False) -> list[list[str]]:
    stream = io.StringIO()
    print_summary(jobs, stream, everything)
    return [line.split() for line in stream.getvalue().splitlines() if line.strip()]


def picture(columns: int, jobs: Sequence[JobSummary], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLUMNS", raising=False)
    with terminal(columns) as shown:
        print_summary(jobs, shown.stream)
        return shown.picture()


@pytest.mark.parametrize(
    ("columns", "jobs", "expected"),
    [
        (40, (BARS,), ONE),
        (80, (BARS,), ONE),
        (140, (BARS,), ONE),
        (40, (AGAIN, IDLE, BROKEN), BLOCKS),
        (80, (AGAIN, IDLE, BROKEN), BLOCKS.replace("7 read\nand", "7 read and")),
        (140, (BARS, AGAIN), TABLE),
    ],
)
def test_picture_of_the_summary(
    columns: int, jobs: Sequence[JobSummary], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert picture(columns, jobs, monkeypatch) == expected


@pytest.mark.parametrize("columns", [40, 80, 99])
def test_jobs_are_below_one_another_on_a_narrow_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = picture(columns, (BARS, IDLE, BARS), monkeypatch)
    assert all(len(line) <= 40 for line in shown.splitlines()) or columns > 40
    assert not any(line.split().count("bars") > 1 for line in shown.splitlines())


def test_table_off_a_terminal_is_the_same_without_colours() -> None:
    stream = io.StringIO()
    print_summary([BARS], stream)
    assert stream.getvalue() == ONE


def test_counts_of_zero_are_shown_when_everything_is_wanted() -> None:
    rows = printed(IDLE, everything=True)
    assert rows.count(["late", "0"]) == 2, "of this run and in all"
    assert rows.index(["=", "read", "0"]) < rows.index(["in", "all"]) < rows.index(["=", "read", "7"])


def test_job_that_failed_before_it_did_anything_has_no_table() -> None:
    assert printed(BROKEN) == []
    assert printed(BROKEN, BROKEN) == []
    resumed = JobSummary("copies", "failed", ledger=RUN, this_run=counted())
    assert printed(resumed) == []


def test_job_that_failed_later_says_what_it_has_done() -> None:
    rows = printed(JobSummary("copies", "failed", 1.0, 3, RUN, this_run=counted(emitted=3, written=3)))
    assert ["state", "failed"] in rows
    assert ["=", "read", "3"] in rows
    assert ["read", "in", "all", "1,234"] in rows


def test_many_jobs_make_several_tables() -> None:
    jobs = [JobSummary(f"j{n}", "finished", this_run=RUN) for n in range(JOBS_PER_TABLE + 1)]
    assert sum(row[0] == "state" for row in printed(*jobs)) == 2


@pytest.mark.parametrize(
    ("state", "counts", "line"),
    [
        ("finished", {"absorbed": 6, "written": 1}, "1 row in 0.12s (6 read)\n"),
        ("finished", {"emitted": 2_000, "late": 1, "skipped": 2, "written": 2_000},
         "2,000 rows in 0.12s (2,003 read, 1 late, 2 skipped)\n"),
        ("finished", {}, "0 rows in 0.12s (0 read)\n"),
        ("stopped", {"emitted": 3, "written": 3}, "stopped after 3 rows in 0.12s (3 read)\n"),
        ("failed", {"emitted": 3, "written": 3}, "failed after 3 rows in 0.12s (3 read)\n"),
        ("failed", {}, ""),
    ],
)  # fmt: skip
def test_select_alone_is_one_line(state: str, counts: dict[str, int], line: str) -> None:
    stream = io.StringIO()
    print_select(JobSummary("select", state, 0.123, this_run=counted(**counts)), stream)
    assert stream.getvalue() == line


def test_json_is_one_line_with_a_field_for_each_promise(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([JobSummary("a", "finished", 1.5, 9, RUN, None, {"p": 3}, this_run=RUN)])
    (line,) = capsys.readouterr().out.splitlines()
    (job,) = json.loads(line)["jobs"]
    assert job == {
        "name": "a",
        "state": "finished",
        "seconds": 1.5,
        "rows": 9,
        "ledger": RUN,
        "this_run": RUN,
        "watermark": None,
        "positions": {"p": 3},
        "windows_closed_by_end": 0,
    }
