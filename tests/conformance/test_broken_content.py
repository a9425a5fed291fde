"""Files whose content breaks off or cannot be unpacked: what stands before is read, then there is one clear error."""

from __future__ import annotations

import gzip
import mmap
import os
import resource
from pathlib import Path

import pytest

from ferrisstreams.batch import Limit
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.connectors.output_file import packed
from ferrisstreams.errors import FatalConnectorError
from tests.conformance.conftest import Bench

ROWS = b"".join(b'{"id":%d}\n' % number for number in range(10))
ALL = Limit(10**9, 10**9)
MEGABYTE = 1 << 20


def read(bench: Bench, settings: FileSourceSettings) -> tuple[bytes, FatalConnectorError | None]:
    """What was read, and the error that ended it."""
    source = FileSource(settings, bench.block, ManualClock())
    data = b""
    try:
        source.open({})
        while source.poll(ALL) is not None:
            data += bench.block.read()
    except FatalConnectorError as error:
        return data, error
    finally:
        source.close()
    return data, None


#: The file's name, its bytes, the rows that can be read, and what the error says.
BROKEN = [
    ("a.jsonl.gz", packed(ROWS, "gzip") + packed(ROWS, "gzip")[:-9], ROWS + ROWS[:-9], "ends within its gzip data"),
    ("a.jsonl.gz", packed(ROWS, "gzip")[:4], b"", "ends within its gzip data"),
    ("a.jsonl.gz", packed(ROWS, "gzip") + b"junk behind it", ROWS, "is not whole gzip data"),
    ("a.jsonl.gz", ROWS, b"", "is not whole gzip data"),
    ("a.jsonl.gz", packed(ROWS, "gzip")[:-8] + b"\0" * 8, b"", "is not whole gzip data"),
    ("a.jsonl.zst", packed(ROWS, "zstd") + packed(ROWS, "zstd")[:-3], ROWS, "ends within its zstd data"),
    ("a.jsonl.zst", ROWS, b"", "is not whole zstd data"),
    ("a.jsonl.zst", packed(ROWS, "zstd")[:10] + b"junk", b"", "zstd data"),
]


@pytest.mark.parametrize(("name", "content", "rows", "why"), BROKEN)
def test_packed_file_that_breaks_off_is_read_up_to_there(
    bench: Bench, tmp_path: Path, name: str, content: bytes, rows: bytes, why: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    data, error = read(bench, FileSourceSettings(str(path)))
    assert error is not None
    assert (error.code, data) == ("E4007", rows)
    assert why in str(error)
    assert name in str(error)
    assert error.hint


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl"])
def test_empty_file_has_no_rows(bench: Bench, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    assert read(bench, FileSourceSettings(str(path))) == (b"", None)
    assert read(bench, FileSourceSettings(str(path), array=True)) == (b"", None)
    if name == "a.jsonl":
        assert read(bench, FileSourceSettings(str(path), mapped=True)) == (b"", None)


def test_padding_behind_the_last_member_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(packed(ROWS, "gzip") + bytes(512))
    assert read(bench, FileSourceSettings(str(path))) == (ROWS, None)


#: Text of a file that should be one array, and what the error says; None: it is one.
ARRAYS = [
    (b"[]", None),
    (b" [ ] \n", None),
    (b'[{"id":1}', "is not closed"),
    (b'[{"id":1},', "is not closed"),
    (b'[{"id":1},]', "where an element should be"),
    (b'[,{"id":1}]', "where an element should be"),
    (b'[{"id":1}] x', "continues after the end of its JSON array"),
    (b'[{"id":1}}]', "a closing brace without an opening one"),
    (b'{"id":1}\n{"id":2}', "it begins with"),
    (b"\x00\xff", "it begins with"),
]


@pytest.mark.parametrize(("content", "why"), ARRAYS)
def test_file_that_is_no_array_is_refused(bench: Bench, tmp_path: Path, content: bytes, why: str | None) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    _, error = read(bench, FileSourceSettings(str(path), array=True))
    if why is None:
        assert error is None
        return
    assert error is not None
    assert error.code == "E4007"
    assert why in str(error)


def test_bomb_is_a_long_record_in_little_memory(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"id":1}\n')
        for _ in range(200):
            file.write(bytes(MEGABYTE))
        file.write(b'\n{"id":2}\n')
    assert path.stat().st_size < MEGABYTE
    source = FileSource(FileSourceSettings(str(path), record_bytes_max=MEGABYTE), bench.block, ManualClock())
    source.open({})
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = Limit(10**9, 8 * MEGABYTE)
    fetches = [source.poll(limit) for _ in range(3)]
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    source.close()
    (huge,) = fetches[1].oversized if fetches[1] else ()
    assert (huge.code, huge.truncated) == ("E2108", True)
    assert bench.block.read() == b'{"id":2}\n'
    assert grown_kb < 60 * 1024


@pytest.mark.parametrize("mapped", [False, True])
def test_file_that_shrinks_while_it_is_read_is_an_error(bench: Bench, tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(ROWS * 10_000)
    source = FileSource(FileSourceSettings(str(path), mapped=mapped), bench.block, ManualClock())
    source.open({})
    assert source.poll(Limit(10**9, 64 * 1024)) is not None
    os.truncate(path, 4096)
    with pytest.raises(FatalConnectorError, match="shrank") as caught:
        source.poll(Limit(10**9, 64 * 1024))
    assert caught.value.code == "E4002"
    source.close()


def test_map_of_a_file_that_shrinks_within_a_read_kills_nothing(bench: Bench, tmp_path: Path) -> None:
    """The race between the look at the size and the read: the map still covers what the file has lost."""
    path = tmp_path / "a"
    path.write_bytes(bytes(MEGABYTE))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        os.truncate(path, 0)
        bench.block.view(MEGABYTE)
        with memoryview(mapped) as view, pytest.raises(OSError, match="Bad address"):
            bench.block.take(view)
        mapped.close()


def test_wrong_encoding_is_a_row_error(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"id":1,"name":"é"}\n'.encode("latin-1"))
    data, _ = read(bench, FileSourceSettings(str(path)))
    assert data == '{"id":1,"name":"é"}\n'.encode("latin-1"), "the decoder says that it is not UTF-8"
    data, _ = read(bench, FileSourceSettings(str(path), encoding="latin-1"))
    assert data == '{"id":1,"name":"é"}\n'.encode()
    path.write_bytes(b'{"name":"\x81"}\n')
    data, _ = read(bench, FileSourceSettings(str(path), encoding="windows-1252"))
    assert data == b'{"name":"\x81"}\n', "a byte that the encoding does not know stays"
