from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.errors import SqlError
from ferrisstreams.testing.case import RawRecords, Span, Table
from ferrisstreams.testing.parser import parse

WHOLE = """\
stream shared (a INT)
  a
  1

# First case
# More about it.
stream orders (at TIMESTAMP, note VARCHAR,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND)
  WITH ('event.time.format' = 'iso8601')
  at     note
  00:01  "a (b"   -- why
partition other
  at
  00:02

json raw
  {"at": "x"}
  \\xff

with
  late.data.strategy = update
query
  SELECT count(*) AS n FROM orders
output
  n
  1
ledger read 3 absorbed 2
  skipped 1
dead letters
  code
  E2104
schedule fixed 3

# Second case
query SELECT * FROM shared
error E1101 unknown
  name
"""


def test_file_gives_its_cases_with_streams_settings_and_expectations() -> None:
    first, second = parse(Path("x.test"), WHOLE)
    assert (first.name, first.line, first.last_line) == ("x: First case", 5, 32)
    shared, orders = first.streams
    assert shared.name == "shared"
    assert orders.declaration.count("\n") == 2
    table, other, raw = orders.partitions.values()
    assert isinstance(table, Table)
    assert (table.columns, [cell.text for cell in table.rows[0]]) == (("at", "note"), ["00:01", "a (b"])
    assert isinstance(other, Table)
    assert raw == RawRecords("json", (b'{"at": "x"}', b"\xff"))
    assert list(orders.partitions) == ["0", "other", "raw"]
    assert dict(first.settings) == {"late.data.strategy": "update"}
    assert first.expected.ledger == {"read": 3, "absorbed": 2, "skipped": 1}
    assert first.batch_rows == 3
    assert first.spans["output"] == Span(24, 26)
    assert second.query == "SELECT * FROM shared"
    assert second.expected.error == ("E1101", "unknown", "name")
    assert [stream.name for stream in second.streams] == ["shared"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("# a\nquery SELECT 1\nquery SELECT 2", 3, "two sections 'query'"),
        ("# a\noutput\n  x", 1, "has no query"),
        ("# a\nqery SELECT 1", 2, "no section is called 'qery'"),
        ("# a\n!", 2, "section's name"),
        ("#\nquery SELECT 1", 1, "no title"),
        ("# a\nstream s (a INT\nquery SELECT 1", 2, "not closed"),
        ("# a\nstream s (a INT)\n  a b\n  1", 4, "1 cells in a table of 2"),
        ("# a\nstream s (a INT)\n  a\n  [", 4, "not JSON"),
        ("# a\nstream s (a INT)\nstream s (b INT)", 3, "declared twice"),
        ("# a\nstream (a INT)", 2, "expected `stream"),
        ("# a\npartition\n  a", 2, "before any stream"),
        ("# a\nstream s (a INT)\njson x\njson x", 4, "two partitions x"),
        ("# a\nwith\n  a: 1", 3, "key = value"),
        ("# a\nwith a = 1", 2, "with stands alone"),
        ("# a\nledger red 1", 2, "red 1 is not a count"),
        ("# a\nledger read", 2, "read has no count"),
        ("# a\nschedule often", 2, "schedule fixed"),
        ("# a\nquery\n", 2, "query is empty"),
        ("# a\nerror", 2, "error code"),
        ("query SELECT 1\n# a\nquery SELECT 1", 1, "before the first"),
    ],
)
def test_text_that_cannot_be_read_names_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SqlError, match=message) as raised:
        parse(Path("x.test"), text)
    assert raised.value.position is not None
    assert raised.value.position.line == line
