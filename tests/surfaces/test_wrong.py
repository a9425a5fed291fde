"""Wrong queries and settings: what a user is told, whole, and that nothing was touched."""

from __future__ import annotations

import pytest

from tests.surfaces.applications import TRADES
from tests.surfaces.conftest import Ferris

SINK = "CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl'{}) AS SELECT symbol FROM trades;"

#: What follows the declared source on line 5, and the whole error.
WRONG = {
    "a column that does not exist": (
        "SELECT symbl FROM trades;",
        """\
wrong.sql:5:8: there is no column symbl [E1101]
  SELECT symbl FROM trades;
         ^^^^^
hint: did you mean symbol?
""",
    ),
    "a stream that does not exist": (
        "SELECT symbol FROM trade;",
        """\
wrong.sql:5:20: there is no stream trade [E1101]
  SELECT symbol FROM trade;
                     ^^^^^
hint: did you mean trades?
""",
    ),
    "a bracket that is missing": (
        "SELECT count(* FROM trades;",
        """\
wrong.sql:5:16: expecting ) [E1001]
  SELECT count(* FROM trades;
                 ^^^^
hint: look at what stands before this place
""",
    ),
    "a column that is not grouped": (
        "SELECT symbol, count(*) AS n FROM trades;",
        """\
wrong.sql:5:8: symbol is neither in GROUP BY nor inside an aggregate [E1102]
  SELECT symbol, count(*) AS n FROM trades;
         ^^^^^^
hint: add symbol to GROUP BY, or write any_value(symbol)
""",
    ),
    "a window without a length": (
        "SELECT count(*) AS n FROM trades GROUP BY TUMBLE(ts, '5 parsecs');",
        """\
wrong.sql:5:54: '5 parsecs' is not a length of fixed size [E1102]
  SELECT count(*) AS n FROM trades GROUP BY TUMBLE(ts, '5 parsecs');
                                                       ^^^^^^^^^^^
hint: write a number and a unit from microseconds to weeks, such as INTERVAL '5' MINUTE, '5 minutes' or 5m
""",
    ),
    "a join": (
        "SELECT t.symbol FROM trades t JOIN trades u ON t.symbol = u.symbol;",
        """\
wrong.sql:5:36: a join is not supported [E1201]
  SELECT t.symbol FROM trades t JOIN trades u ON t.symbol = u.symbol;
                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: one query reads one stream: joins are not there yet
""",
    ),
    "a file of the machine": (
        "SELECT * FROM read_csv('/etc/passwd');",
        """\
wrong.sql:5:15: the table function read_csv is not callable [E1202]
  SELECT * FROM read_csv('/etc/passwd');
                ^^^^^^^^^^^^^^^^^^^^^^^
hint: declare a stream: CREATE STREAM … WITH (connector = 'file')
""",
    ),
    "a setting of the engine": (
        "SET memory_limit = '1GB';",
        """\
wrong.sql:5:1: SET is not callable from an application [E1202]
  SET memory_limit = '1GB';
  ^^^
hint: settings belong into WITH (…), the configuration file, or --set
""",
    ),
    "a key that does not exist": (
        SINK.format(", 'bacth.size' = 5"),
        """\
wrong.sql:5:67: unknown setting 'bacth.size' for connector 'file' [E3001]
  CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl', 'bacth.size' = 5) AS SELECT symbol FROM trades;
                                                                    ^^^^^^^^^^^^^^^^
hint: did you mean 'batch.size'?
""",
    ),
    "a duration without its unit": (
        SINK.format(", 'commit.interval' = 500"),
        """\
wrong.sql:5:67: 'commit.interval' = '500' does not fit: expected a duration with its unit: 500ms, 500s, 500m, 500h or 500d [E3002]
  CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl', 'commit.interval' = 500) AS SELECT symbol FROM trades;
                                                                    ^^^^^^^^^^^^^^^^^^^^^^^
hint: hybrid: the longest epoch.
""",
    ),
    "a strategy that does not exist": (
        SINK.format(", 'failure_strategy' = 'Ignore'"),
        "",
    ),
    "a connector that does not exist": (
        SINK.replace("'file'", "'fiel'").format(""),
        "",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_application_is_told_what_where_and_what_to_do(what: str, ferris: Ferris) -> None:
    statement, expected = WRONG[what]
    ferris.write(wrong__sql=f"{TRADES}\n{statement}\n")
    ran = ferris("run", "wrong.sql")
    assert (ran.code, ran.out, ran.err) == (1, "", expected)
    assert [path.name for path in ferris.folder.iterdir()] == ["wrong.sql"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (
            "bacth.size=5",
            "",
        ),
        (
            "batch.size=0",
            "",
        ),
        (
            "watermark.idle_timeout=5",
            "",
        ),
    ],
)
def test_wrong_setting_of_the_command_line_is_told_alike(setting: str, expected: str, ferris: Ferris) -> None:
    ferris.write(app__sql=f"{TRADES}\n{SINK.format('')}\n", trades__jsonl="")
    ran = ferris("run", "app.sql", "--set", setting)
    assert (ran.code, ran.out, ran.err) == (1, "", expected)
