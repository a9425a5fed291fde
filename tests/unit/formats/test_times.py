from __future__ import annotations

from datetime import datetime

import pytest

from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.settings import DecodeSettings, FormatName
from tests.unit.formats.conftest import Bench, schema

NEW_YEAR = datetime(2024, 1, 1)

#: Format, value as text, and the timestamp, or None when it is rejected.
TIMES: list[tuple[str, str, datetime | None]] = [
    ("epoch_seconds", "1704067200", NEW_YEAR),
    ("epoch_seconds", "1704067200.123456", datetime(2024, 1, 1, 0, 0, 0, 123456)),
    ("epoch_seconds", "-1", datetime(1969, 12, 31, 23, 59, 59)),
    ("epoch_millis", "1704067200001", datetime(2024, 1, 1, 0, 0, 0, 1000)),
    ("epoch_seconds", "253402300799", datetime(9999, 12, 31, 23, 59, 59)),
    ("epoch_millis", "253402300799999", datetime(9999, 12, 31, 23, 59, 59, 999000)),
    ("epoch_millis", "-62135596799999", datetime(1, 1, 1, 0, 0, 0, 1000)),
    ("epoch_millis", "1704067200001.5", datetime(2024, 1, 1, 0, 0, 0, 1500)),
    ("epoch_millis", "1e300", None),
    ("epoch_micros", "1704067200000001", datetime(2024, 1, 1, 0, 0, 0, 1)),
    ("epoch_micros", "9223372036854775807", None),
    ("epoch_micros", "-9223372036854775808", None),
    ("epoch_millis", "2024-01-01", None),
    ("%d/%m/%Y %H:%M", "01/01/2024 00:00", NEW_YEAR),
    ("%d/%m/%Y %H:%M", "2024-01-01", None),
    ("%Y-%m-%dT%H:%M:%S%z", "2024-01-01T02:00:00+0200", NEW_YEAR),
    ("%Y%m%d", "20240101", NEW_YEAR),
    ("iso8601", "2024-01-01T02:00:00+02:00", NEW_YEAR),
]


@pytest.mark.parametrize("name", ["json", "csv"])
@pytest.mark.parametrize(("form", "written", "expected"), TIMES)
def test_time_is_read_by_its_format(
    bench: Bench, name: FormatName, form: str, written: str, expected: datetime | None
) -> None:
    reader = bench.decoder(schema(a="TIMESTAMP", b="BIGINT"), DecodeSettings(name, timestamp_format=form, header=False))
    rows, rejected = bench.decode(
        reader, bench.fetch(f'{{"a":"{written}"}}\n'.encode() if name == "json" else f"{written},\n".encode())
    )
    if expected is None:
        assert [bad.code for bad in rejected] == ["E2104"]
        assert "timestamp.format" in rejected[0].message
    else:
        assert [row["a"] for row in rows] == [expected]


def test_fraction_of_a_second_is_exact_in_the_year_9999(bench: Bench) -> None:
    """As text: a number of JSON is a double, which has no microseconds there."""
    reader = bench.decoder(schema(a="TIMESTAMP"), DecodeSettings("csv", timestamp_format="epoch_seconds", header=False))
    rows, _ = bench.decode(reader, bench.fetch(b"253402300799.999999\n"))
    assert rows == [{"a": datetime(9999, 12, 31, 23, 59, 59, 999999)}]


def test_event_time_has_a_format_of_its_own(bench: Bench) -> None:
    settings = DecodeSettings("json", event_time="e", event_time_format="epoch_millis", timestamp_format="%Y")
    reader = bench.decoder(schema(e="TIMESTAMP", t="TIMESTAMP", s="STRUCT(t TIMESTAMP)"), settings)
    rows, _ = bench.decode(reader, bench.fetch(b'{"e":1704067200000,"t":"2024","s":{"t":2024}}\n'))
    assert rows == [{"e": NEW_YEAR, "t": NEW_YEAR, "s": {"t": NEW_YEAR}}]


@pytest.mark.parametrize("form", ["epoch", "%Q", "%Y-%", ""])
def test_format_that_is_none_is_refused(bench: Bench, form: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.decoder(schema(a="TIMESTAMP"), DecodeSettings("json", timestamp_format=form))
    assert caught.value.code == "E3002"
    assert "timestamp.format" in caught.value.message
