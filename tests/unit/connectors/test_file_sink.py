from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pytest

from ferrisstreams.batch import JsonValue, Payload
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.errors import FatalConnectorError, InternalError, StateError


def test_new_job_refuses_a_target_that_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"precious\n")
    with pytest.raises(FatalConnectorError) as caught:
        FileSink(FileSinkSettings(str(path))).open(None)
    assert caught.value.code == "E4004"
    assert "--overwrite" in (caught.value.hint or "")
    assert path.read_bytes() == b"precious\n"


@pytest.mark.parametrize(("append", "expected"), [(True, b"old\nnew\n"), (False, b"h\nnew\n")])
def test_new_job_appends_or_overwrites_when_told(tmp_path: Path, append: bool, expected: bytes) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old\n")
    sink = FileSink(FileSinkSettings(str(path), append=append, overwrite=not append, header=b"h\n"))
    sink.open(None)
    for _ in range(2):
        sink.write(Payload(b"new\n", 1))
        sink.flush()
        assert path.read_bytes() == expected
        sink.rollback(None)
    sink.close()


def test_line_that_was_not_ended_is_ended_before_rows_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    sink = FileSink(FileSinkSettings(str(path), append=True))
    sink.open(None)
    sink.write(Payload(b"new\n", 1))
    sink.flush()
    sink.close()
    assert path.read_bytes() == b"old\nnew\n"


def test_packed_rows_are_appended_as_a_member(tmp_path: Path) -> None:
    path = tmp_path / "out.gz"
    path.write_bytes(gzip.compress(b"old\n"))
    sink = FileSink(FileSinkSettings(str(path), append=True, compression="gzip"))
    sink.open(None)
    sink.write(Payload(b"new\n", 1))
    mark = sink.flush()
    sink.write(Payload(b"lost\n", 1))
    sink.rollback(mark)
    sink.close()
    assert gzip.decompress(path.read_bytes()) == b"old\nnew\n"


def test_file_exists_even_when_it_is_empty(tmp_path: Path) -> None:
    sink = FileSink(FileSinkSettings(str(tmp_path / "out")))
    sink.open(None)
    assert sink.flush() == {"length": 0, "head": hashlib.sha256(b"").hexdigest(), "header": ""}
    sink.close()
    assert (tmp_path / "out").read_bytes() == b""


def marked(path: Path) -> JsonValue:
    sink = FileSink(FileSinkSettings(str(path)))
    sink.open(None)
    sink.write(Payload(b"one\ntwo\n", 2))
    mark = sink.flush()
    sink.close()
    return mark


@pytest.mark.parametrize("change", ["shorter", "gone", "replaced"])
def test_file_that_lost_its_marked_rows_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "out"
    mark = marked(path)
    match change:
        case "shorter":
            os.truncate(path, 3)
        case "gone":
            os.remove(path)
        case "replaced":
            (tmp_path / "other").write_bytes(b"other\n" * 10)
            os.replace(tmp_path / "other", path)
    sink = FileSink(FileSinkSettings(str(path), overwrite=True))
    with pytest.raises(StateError) as caught:
        sink.open(mark)
    sink.close()
    assert caught.value.code == "E5003"


@pytest.mark.parametrize("target", ["missing/out", "."])
def test_target_that_cannot_be_written_is_named(tmp_path: Path, target: str) -> None:
    path = tmp_path / target
    with pytest.raises(FatalConnectorError) as caught:
        FileSink(FileSinkSettings(str(path), overwrite=True)).open(None)
    assert caught.value.code == "E4003"
    assert str(path) in caught.value.message


def test_full_disk_is_an_error_that_the_sink_survives() -> None:
    sink = FileSink(FileSinkSettings("/dev/full", append=True))
    with pytest.raises(FatalConnectorError):
        sink.open(None)  # a device cannot be cut
    sink.write(Payload(b"x\n", 1))
    with pytest.raises(FatalConnectorError, match="No space left") as caught:
        sink.flush()
    assert caught.value.code == "E4003"
    sink.close()


def test_tables_are_not_taken(tmp_path: Path) -> None:
    sink = FileSink(FileSinkSettings(str(tmp_path / "out")))
    sink.open(None)
    with pytest.raises(InternalError):
        sink.write(Payload(pa.table({"a": [1]}), 1))
    sink.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_file_that_was_deleted_or_replaced_under_the_sink_is_noticed_before_its_mark(
    tmp_path: Path, replaced: bool
) -> None:
    path = tmp_path / "out"
    sink = FileSink(FileSinkSettings(str(path)))
    sink.open(None)
    sink.write(Payload(b"row\n", 1))
    path.rename(tmp_path / "away")
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(StateError, match="deleted or replaced") as caught:
        sink.flush()
    assert caught.value.code == "E5003"
    (tmp_path / "away").replace(path)
    assert sink.flush() == {"length": 4, "head": hashlib.sha256(b"row\n").hexdigest(), "header": ""}
    sink.close()
