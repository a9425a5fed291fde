"""`ferris check` finds everything that is wrong, in one run."""

from __future__ import annotations

from tests.surfaces.applications import BARS, LINES, TRADES
from tests.surfaces.conftest import Ferris

WRONG = """\
CREATE STREAM trades (symbol TEXT) WITH ('connector' = 'file', 'path' = 'trades.jsonl');
CREATE STREAM a WITH ('connector' = 'file', 'path' = 'a.jsonl') AS SELECT symbl FROM trades;
CREATE STREAM b WITH ('connector' = 'file', 'path' = 'b.jsonl') AS SELECT symbol FROM a;
CREATE STREM c AS SELECT 1;
CREATE STREAM d WITH ('connector' = 'file', 'path' = 'd.jsonl', 'patj' = '3') AS SELECT symbol FROM trades;
CREATE STREAM e WITH ('connector' = 'file', 'path' = 's3://bucket/e.jsonl') AS SELECT symbol FROM trades;
CREATE STREAM f WITH ('connector' = 'file', 'path' = 'f.jsonl') AS SELECT CAST('x' AS INTEGER) AS n FROM trades;
"""


def test_errors_of_all_statements_are_told_in_the_order_of_the_text(ferris: Ferris) -> None:
    ferris.write(app__sql=WRONG, trades__jsonl=LINES)
    ran = ferris("check", "app.sql")
    assert (ran.code, ran.out) == (1, "")
    told = [line.split(": ")[0] for line in ran.err.splitlines() if line.startswith("app.sql:")]
    assert [place.split(":")[1] for place in told] == ["2", "4", "5", "6", "7"], "that of b follows from that of a"
    assert "sink e names s3://…, and 'file' knows only files of this machine [E3002]" in ran.err
    assert ran.err.splitlines()[-1] == "5 errors"


def test_only_error_is_told_alone(ferris: Ferris) -> None:
    ferris.write(app__sql=TRADES + "CREATE STREAM a WITH ('connector' = 'blackhole') AS SELECT nothing FROM trades;")
    ran = ferris("check", "app.sql")
    assert ran.code == 1
    assert "errors" not in ran.err


def test_two_writers_of_one_file_are_found(ferris: Ferris) -> None:
    second = "CREATE STREAM more WITH ('connector' = 'file', 'path' = './bars.jsonl') AS SELECT symbol FROM trades;"
    ferris.write(app__sql=BARS + second, trades__jsonl=LINES)
    ran = ferris("check", "app.sql")
    assert ran.code == 1
    assert "[E3003]" in ran.err


def test_file_that_does_not_exist_yet_is_a_warning(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS)
    ran = ferris("check", "bars.sql")
    assert (ran.code, ran.out) == (0, "bars.sql: 1 job (bars), no errors\n")
    assert ran.err == "warning: job bars: trades reads trades.jsonl, which does not exist yet\n"
    ferris.write(trades__jsonl=LINES)
    assert ferris("check", "bars.sql").err == ""


def test_settings_of_the_command_line_are_checked_too(ferris: Ferris) -> None:
    ferris.write(bars__sql=BARS, trades__jsonl=LINES)
    assert ferris("check", "bars.sql", "--set", "batch.size=2").code == 0
    ran = ferris("check", "bars.sql", "--set", "batch.siz=2")
    assert ran.code == 1
    assert "unknown setting 'batch.siz'" in ran.err
