from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from ferrisstreams.batch import Fetch
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.settings import DecodeSettings
from tests.unit.formats.conftest import Bench, schema

ARROW = DecodeSettings("arrow", event_time="t")
NOON = datetime(2024, 1, 1, 12)


def decode(bench: Bench, kind: str, values: Any, settings: DecodeSettings = ARROW) -> tuple[list[object], list[str]]:
    """The values of column `t` that are good, and the codes of the others."""
    table = values if isinstance(values, pa.Table) else pa.table({"t": values, "more": [0] * len(values)})
    reader = bench.decoder(schema(t=kind, absent="DATE"), settings)
    rows, rejected = bench.decode(reader, Fetch("p", table, "memory", 0, 0))
    assert all(row["absent"] is None for row in rows)
    return [row["t"] for row in rows], [bad.code for bad in rejected]


@pytest.mark.parametrize(
    ("kind", "values", "good", "bad"),
    [
        ("BIGINT", pa.array([1, None]), [1], ["E2109"]),
        ("BIGINT", pa.array(["1", "x"]), [1], ["E2104"]),
        ("TINYINT", pa.array([1, 1000]), [1], ["E2104"]),
        ("DOUBLE", pa.array([float("inf")]), [float("inf")], []),
        ("TIMESTAMP", pa.array([NOON], pa.timestamp("us")), [NOON], []),
        ("TIMESTAMP", pa.array([NOON], pa.timestamp("ns")), [NOON], []),
        ("TIMESTAMP", pa.array([NOON.replace(tzinfo=UTC)], pa.timestamp("ms", "UTC")), [NOON], []),
        ("TIMESTAMP", pa.array([date(2024, 1, 1)]), [datetime(2024, 1, 1)], []),
        ("TIMESTAMP", pa.array(["2024-01-01T14:00:00+02:00", "x"]), [NOON], ["E2104"]),
    ],
)
def test_column_is_cast_to_its_declared_type(
    bench: Bench, kind: str, values: pa.Array, good: list[object], bad: list[str]
) -> None:
    assert decode(bench, kind, values) == (good, bad)


def test_number_is_a_time_by_its_format(bench: Bench) -> None:
    settings = DecodeSettings("arrow", event_time="t", event_time_format="epoch_millis")
    assert decode(bench, "TIMESTAMP", pa.array([1704110400000]), settings) == ([NOON], [])
    with pytest.raises(ConfigError, match="a plain number is not a TIMESTAMP") as caught:
        decode(bench, "TIMESTAMP", pa.array([1704110400000]))
    assert "event.time.format" in (caught.value.hint or "")


def test_statement_is_kept_while_tables_look_alike(bench: Bench) -> None:
    reader = bench.decoder(schema(t="BIGINT"), ARROW)
    first, second, other = ({"t": [1]}, {"t": [2, 3]}, {"t": ["4"]})
    scans = [reader.scan(Fetch("p", pa.table(values), "memory", 0, 0)) for values in (first, second, other)]
    assert scans[0] is scans[1]
    assert scans[1] is not scans[2]


def test_rejected_row_is_given_as_json(bench: Bench) -> None:
    reader = bench.decoder(schema(t="BIGINT"), ARROW)
    fetch = Fetch("p", pa.table({"t": [1, None], "s": ["a", "b"]}), "memory", 10, 12)
    (bad,) = reader.diagnose(fetch).rejected
    assert (bad.value, bad.row, bad.offset, bad.position) == (b'{"t":null,"s":"b"}', 1, 11, "memory row 11")
    (raw,) = reader.raw(fetch, [1])
    assert (raw.value, raw.offset, raw.position) == (bad.value, bad.offset, bad.position)
