from __future__ import annotations

from datetime import datetime, timedelta

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


@pytest.mark.parametrize("name", ["json", "csv"])
@pytest.mark.parametrize(
    ("form", "written", "us"),
    [
        ("epoch_seconds", "253402300799.999999", 253402300799999999),
        ("epoch_seconds", "-62135596799.999999", -62135596799999999),
        ("epoch_seconds", "253402300799.00001", 253402300799000010),
        ("epoch_seconds", "9000000000.000001", 9000000000000001),
        ("epoch_seconds", "1704067200.0000005", 1704067200000001),
        ("epoch_millis", "253402300799999.999", 253402300799999999),
        ("epoch_millis", "253402300799999.001", 253402300799999001),
        ("epoch_millis", "1704067200001.0005", 1704067200001001),
    ],
)
def test_fraction_of_a_number_is_exact_to_the_microsecond(
    bench: Bench, name: FormatName, form: str, written: str, us: int
) -> None:
    """Also where a double, which the engine's reader makes of it, has no microseconds."""
    reader = bench.decoder(schema(a="TIMESTAMP", b="BIGINT"), DecodeSettings(name, timestamp_format=form, header=False))
    for text in (written, f'"{written}"') if name == "json" else (written,):
        content = f'{{"a":{text},"b":null}}\n' if name == "json" else f"{text},\n"
        rows, rejected = bench.decode(reader, bench.fetch(content.encode()))
        assert not rejected
        assert [row["a"] for row in rows] == [datetime(1970, 1, 1) + timedelta(microseconds=us)]


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
