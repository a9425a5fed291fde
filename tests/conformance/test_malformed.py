"""Malformed files, from the file to the outcome of each record: nothing raises but what is promised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlglot import exp

from ferrisstreams.batch import Limit
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.connectors.output_file import packed
from ferrisstreams.duck.engine import DataError
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.formats.registry import decoder
from ferrisstreams.formats.settings import DecodeSettings, FormatName
from ferrisstreams.schema import Column, Schema
from tests.conformance.conftest import Bench

SCHEMA = Schema((Column("id", "BIGINT", nullable=False), Column("name", "VARCHAR")))

#: Name, format, content, and for each row its id when it is good, or the code of its rejection.
FILES: list[tuple[str, FormatName, bytes, list[int | str]]] = [
    ("binary junk", "json", bytes(range(256)) * 3, ["E2101", "E2107", "E2107", "E2107"]),
    ("binary junk", "csv", b"id,name\n" + bytes(range(128, 256)) + b"\n1,a\n", ["E2107", 1]),
    ("truncated", "json", b'{"id":1}\n{"id":2,"na', [1, "E2101"]),
    ("truncated", "csv", b'id,name\n1,a\n2,"b', [1, "E2101"]),
    ("wrong types", "json", b'{"id":"x"}\n{"id":[1]}\n{"id":1e99}\n{"id":4}\n', ["E2104", "E2104", "E2104", 4]),
    ("wrong types", "csv", b"id,name\nx,a\n2,b\n", ["E2104", 2]),
    ("no objects", "json", b'[{"id":1}]\nnull\n"id"\n5\n', ["E2102", "E2102", "E2102", "E2102"]),
    ("missing values", "json", b'{}\n{"id":null}\n{"id":3}\n', ["E2105", "E2105", 3]),
    ("missing values", "csv", b"id,name\n,a\n2,\n", ["E2105", 2]),
    ("duplicate key", "json", b'{"id":1,"id":2}\n{"id":3}\n', ["E2103", 3]),
    ("wrong column count", "csv", b"id,name\n1\n1,a,b\n3,c\n", ["E2106", "E2106", 3]),
    ("bad UTF-8", "json", b'{"id":1,"name":"\xff"}\n{"id":2}\n', ["E2107", 2]),
    ("bad UTF-8", "csv", b"id,name\n1,\xc3\n2,b\n", ["E2107", 2]),
    ("deep nesting", "json", b'{"id":' + b"[" * 100_000 + b'\n{"id":2}\n', ["E2101", 2]),
    ("deep nesting", "json", b'{"id":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", [1]),
    ("byte order mark", "json", b'\xef\xbb\xbf{"id":1}\n{"id":2}\n\xef\xbb\xbf{"id":3}\n', [1, 2, "E2101"]),
    ("byte order mark", "csv", b"\xef\xbb\xbfid,name\n1,a\n", [1]),
    ("CRLF", "json", b'{"id":1}\r\n\r\n{"id":2}\r\n', [1, 2]),
    ("CRLF", "csv", b'id,name\r\n1,"a\r\nb"\r\n\r\n2,b\r\n', [1, 2]),
    ("CRLF and LF", "csv", b"id,name\n1,a\r\n2,b\n", [1, 2]),
    ("empty", "json", b"", []),
    ("empty", "csv", b"", []),
    ("blank", "json", b"\n \n\r\n\t\n", []),
    ("header only", "csv", b"id,name", []),
    ("NUL", "json", b'\x00\n{"id":1}\x00\n{"id":3}\n', ["E2101", "E2101", 3]),
    ("too long", "json", b'{"id":1,"name":"' + b"x" * 3000 + b'"}\n{"id":2}\n' + b"y" * 5000, ["E2108", 2, "E2108"]),
    ("too long", "csv", b"id,name\n" + b'1,"' + b"x\n" * 3000 + b'"\n2,b\n', ["E2108", 2]),
    ("not too long", "json", b'{"id":1,"name":"' + b"x" * 1982 + b'"}\n{"id":2}\n', [1, 2]),
    ("one byte too long", "json", b'{"id":1,"name":"' + b"x" * 1983 + b'"}\n{"id":2}\n', ["E2108", 2]),
]


def outcomes(bench: Bench, name: FormatName, limit: Limit, settings: FileSourceSettings) -> Iterator[int | str]:
    csv = name == "csv"
    settings = replace(settings, framing="csv" if csv else "lines", header=csv)
    source = FileSource(settings, bench.block, ManualClock())
    reader = decoder(bench.engine, SCHEMA, DecodeSettings(name))
    source.open({})
    while (fetch := source.poll(limit)) is not None:
        yield from (rejected.code for rejected in fetch.oversized)
        try:
            good = bench.engine.work.table(reader.scan(fetch)).to_pylist()
            found = {row["_row"]: row["id"] for row in good}
        except DataError:
            diagnosis = reader.diagnose(fetch)
            kept = bench.engine.work.table(exp.select("*").from_(diagnosis.relation)).to_pylist()
            found = {row["_row"]: row["id"] for row in kept} | {bad.row: bad.code for bad in diagnosis.rejected}
        yield from (found[row] for row in range(len(found)))
    assert source.ended
    source.close()


@pytest.mark.parametrize(("case", "name", "content", "expected"), FILES, ids=lambda value: str(value)[:20])
def test_malformed_file_gives_the_promised_outcomes(
    bench: Bench, tmp_path: Path, case: str, name: FormatName, content: bytes, expected: list[int | str]
) -> None:
    path = tmp_path / "data"
    path.write_bytes(content)
    most = 2000 if "too long" in case else 1_000_000
    settings = FileSourceSettings(str(path), record_bytes_max=most)
    for limit in (Limit(10**9, 10**9), Limit(1, 10**9), Limit(10**9, 7)):
        assert list(outcomes(bench, name, limit, settings)) == expected, (case, limit)
    packed_path = tmp_path / "data.gz"
    packed_path.write_bytes(packed(content[:5], "gzip") + packed(content[5:], "gzip"))
    for other in (replace(settings, path=str(packed_path)), replace(settings, mapped=True)):
        assert list(outcomes(bench, name, Limit(2, 10**9), other)) == expected, (case, other)


def test_hundred_megabyte_line_is_passed_over_in_little_memory(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id":1}\n')
        file.seek(100 * 1024 * 1024)  # a hole: 100 MB of NUL bytes without the disk
        file.write(b'\n{"id":2}\n')
    source = FileSource(FileSourceSettings(str(path), record_bytes_max=1024 * 1024), bench.block, ManualClock())
    source.open({})
    limit = Limit(10**9, 8 * 1024 * 1024)
    fetches = [source.poll(limit) for _ in range(3)]
    source.close()
    (huge,) = fetches[1].oversized if fetches[1] else ()
    assert huge.code == "E2108"
    assert huge.truncated
    assert len(huge.value) == 64 * 1024
    assert str(100 * 1024 * 1024 - 8) in huge.message
    assert huge.position == "data.jsonl byte 9"
    assert bench.block.read() == b'{"id":2}\n'
    assert bench.block.length < 2 * 1024 * 1024


def opened(path: Path, bench: Bench) -> FatalConnectorError:
    with pytest.raises(FatalConnectorError) as caught:
        FileSource(FileSourceSettings(str(path)), bench.block, ManualClock()).open({})
    return caught.value


def test_file_that_cannot_be_read_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, why in [
        (tmp_path, "is a folder"),
        (tmp_path / "nothing.jsonl", "does not exist"),
        (tmp_path / "*.jsonl", "no file matches"),
        (tmp_path / "file" / "below", "cannot be read"),
        (Path("/dev/null"), "not a regular file"),
    ]:
        error = opened(path, bench)
        assert error.code == "E4001"
        assert why in error.message
        assert str(path) in error.message
        assert error.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_file_without_permission_is_named(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "secret.jsonl"
    path.write_bytes(b'{"id":1}\n')
    path.chmod(0)
    assert "no permission" in opened(path, bench).message


def test_shrinking_file_is_an_error_that_says_so(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"id":1}\n{"id":2}\n')
    source = FileSource(FileSourceSettings(str(path)), bench.block, ManualClock())
    source.open({})
    assert source.poll(Limit(1, 100)) is not None
    path.write_bytes(b"")
    with pytest.raises(FatalConnectorError, match="shrank to 0 bytes"):
        source.poll(Limit(1, 100))
    source.close()
