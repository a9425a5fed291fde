from __future__ import annotations

import io
import json

import pytest

from ferrisstreams.cli.summary import JOBS_PER_TABLE, JobSummary, print_json, print_table

LEDGER = {"read": 1234, "absorbed": 1200, "late": 30, "skipped": 4, "produced": 7, "written": 6, "output_rejected": 1}


def printed(*jobs: JobSummary) -> list[list[str]]:
    stream = io.StringIO()
    print_table(jobs, stream)
    return [line.split() for line in stream.getvalue().splitlines() if line.strip()]


def test_table_shows_parts_above_their_sum() -> None:
    rows = printed(JobSummary("bars", "finished", 2.0, 1234, LEDGER, "2024-01-01T00:00:00Z"))
    read = rows.index(["=", "read", "1,234"])
    produced = rows.index(["=", "produced", "7"])
    parts = rows[rows.index(["absorbed", "1,200"]) : read]
    assert sum(int(row[-1].replace(",", "")) for row in parts) == 1234
    assert rows.index(["written", "6"]) in range(read, produced)
    assert ["rows/s", "617"] in rows
    assert ["watermark", "2024-01-01T00:00:00Z"] in rows


def test_job_that_read_nothing_has_a_column_of_zeros() -> None:
    rows = printed(JobSummary("none", "failed"))
    assert ["state", "failed"] in rows
    assert ["=", "read", "0"] in rows
    assert ["rows/s", "0"] in rows


def test_many_jobs_make_several_tables() -> None:
    rows = printed(*(JobSummary(f"j{n}", "finished") for n in range(JOBS_PER_TABLE + 1)))
    assert sum(row[0] == "state" for row in rows) == 2


def test_json_is_one_line_with_a_field_for_each_promise(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([JobSummary("a", "finished", 1.5, 9, LEDGER, None, {"p": 3})])
    (line,) = capsys.readouterr().out.splitlines()
    (job,) = json.loads(line)["jobs"]
    assert job == {
        "name": "a",
        "state": "finished",
        "seconds": 1.5,
        "rows": 9,
        "ledger": LEDGER,
        "watermark": None,
        "positions": {"p": 3},
        "windows_closed_by_end": 0,
    }
