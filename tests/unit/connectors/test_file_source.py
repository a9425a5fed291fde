from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ferrisstreams.batch import JsonValue, Limit, Positions
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.file_identity import FilePosition
from ferrisstreams.connectors.file_names import FileNames
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.errors import FatalConnectorError, StateError
from ferrisstreams.memory_file import MemoryFile

ALL = Limit(rows=10**9, bytes=10**9)


@pytest.fixture
def block() -> Iterator[MemoryFile]:
    block = MemoryFile()
    yield block
    block.close()


def read(path: Path | str, block: MemoryFile, positions: Positions | None = None) -> tuple[bytes, Positions]:
    """Everything behind the positions, and the positions after it."""
    source = FileSource(FileSourceSettings(str(path)), block, ManualClock())
    source.open(positions or {})
    data, after = b"", dict(positions or {})
    while (fetch := source.poll(ALL)) is not None:
        data += block.read()
        after[fetch.partition] = fetch.position
    source.close()
    return data, after


def rewrite(path: Path) -> None:
    path.write_bytes(b"other\nlines\nhere\n")


def replace(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(b"another file\n" * 3)
    os.replace(new, path)


def go(path: Path) -> None:
    path.unlink()


def shrink(path: Path) -> None:
    os.truncate(path, 3)


def go_on_in_the_last_line(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"er\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (rewrite, "was rewritten"),
        (replace, "was rewritten or replaced"),
        (go, r"a\.txt is gone: the job has read it up to byte 12 "),
        (shrink, "shrank to 3 bytes"),
        (go_on_in_the_last_line, "went on within its last line"),
    ],
)
def test_file_that_changed_under_its_position_is_refused(
    tmp_path: Path, block: MemoryFile, change: Callable[[Path], None], why: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\nthre")
    data, positions = read(path, block)
    assert data == b"one\ntwo\nthre"
    change(path)
    with pytest.raises(FatalConnectorError, match=why) as caught:
        read(path, block, positions)
    assert caught.value.code == "E4002"
    assert caught.value.hint


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_last_line_may_get_its_newline_later(tmp_path: Path, block: MemoryFile, end: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one")
    _, positions = read(path, block)
    path.write_bytes(b"one" + end)
    data, positions = read(path, block, positions)
    assert data == b""
    path.write_bytes(b"one" + end + b"two\n")
    assert read(path, block, positions)[0].strip() == b"two"


def glob(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content)
    return folder / "*.txt"


def test_file_that_sorts_before_the_position_is_not_skipped_silently(tmp_path: Path, block: MemoryFile) -> None:
    pattern = glob(tmp_path, b=b"1\n", c=b"2\n")
    _, positions = read(pattern, block)
    glob(tmp_path, a=b"0\n")
    with pytest.raises(FatalConnectorError, match=r"a\.txt is new or has changed"):
        read(pattern, block, positions)


def test_growth_of_a_file_before_the_position_is_not_skipped_silently(tmp_path: Path, block: MemoryFile) -> None:
    pattern = glob(tmp_path, b=b"1\n", c=b"2\n")
    _, positions = read(pattern, block)
    glob(tmp_path, b=b"1\n1\n")
    with pytest.raises(FatalConnectorError, match=r"b\.txt is new or has changed"):
        read(pattern, block, positions)


def test_file_may_go_once_it_was_read_whole(tmp_path: Path, block: MemoryFile) -> None:
    pattern = glob(tmp_path, a=b"0\n", b=b"1\n")
    _, positions = read(pattern, block)
    os.remove(tmp_path / "a.txt")
    os.remove(tmp_path / "b.txt")
    glob(tmp_path, c=b"2\n")
    assert read(pattern, block, positions)[0] == b"2\n"


def test_file_may_not_go_before_it_was_read_whole(tmp_path: Path, block: MemoryFile) -> None:
    pattern = glob(tmp_path, a=b"0\n0\n", b=b"1\n")
    source = FileSource(FileSourceSettings(str(pattern)), block, ManualClock())
    source.open({})
    fetch = source.poll(Limit(1, 10**9))
    source.close()
    assert fetch is not None
    os.remove(tmp_path / "a.txt")
    with pytest.raises(FatalConnectorError, match="has read it up to byte 2, which was not all of it"):
        read(pattern, block, {fetch.partition: fetch.position})


def test_glob_remembers_files_that_are_there_and_counts_the_others(tmp_path: Path, block: MemoryFile) -> None:
    pattern = tmp_path / "*.txt"
    positions: Positions = {}
    for number in range(40):
        path = tmp_path / f"{number:02}.txt"
        path.write_bytes(b"row\n")
        data, positions = read(pattern, block, positions)
        assert data == b"row\n"
        if number >= 3:
            os.remove(tmp_path / f"{number - 3:02}.txt")
    done = FilePosition.from_json(positions["*.txt"], FileNames(str(pattern))).done
    assert (len(done.digests), done.count) == (3, 39)
    (tmp_path / "38.txt").write_bytes(b"ROW\n")
    with pytest.raises(FatalConnectorError, match=r"38\.txt is new or has changed"):
        read(pattern, block, positions)


@pytest.mark.parametrize("name", ["a.txt", "*.txt"])
def test_file_that_is_gone_is_an_error_though_it_was_read_whole(tmp_path: Path, block: MemoryFile, name: str) -> None:
    glob(tmp_path, a=b"0\n")
    _, positions = read(tmp_path / name, block)
    os.remove(tmp_path / "a.txt")
    with pytest.raises(FatalConnectorError, match=r"is gone|no file matches") as caught:
        read(tmp_path / name, block, positions)
    assert caught.value.code in ("E4001", "E4002")


def test_sequence_goes_on_with_files_that_sort_last_until_its_writer_has_ended(
    tmp_path: Path, block: MemoryFile
) -> None:
    theirs, ours = os.pipe()
    settings = FileSourceSettings(str(tmp_path / "*.txt"), sequence=True, while_open=theirs)
    positions: dict[str, JsonValue] = {}

    def rest(source: FileSource) -> bytes:
        found = b""
        while (fetch := source.poll(ALL)) is not None:
            found += block.read()
            positions[fetch.partition] = fetch.position
        return found

    source = FileSource(settings, block, ManualClock())
    source.check({}, {})
    source.open({})
    assert rest(source) == b""
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(b"%d\n" % number)
        assert rest(source) == b"%d\n" % number
        assert not source.ended
        source.close()
        (tmp_path / f"{number - 1}.txt").unlink(missing_ok=True)
        source = FileSource(settings, block, ManualClock())
        source.open(positions)
    assert list(positions) == ["*.txt"]
    (tmp_path / "3.txt").write_bytes(b"3\n")
    os.close(ours)
    assert rest(source) == b"3\n"
    assert source.ended
    source.close()
    os.close(theirs)


def test_name_with_brackets_is_a_name_when_the_file_exists(tmp_path: Path, block: MemoryFile) -> None:
    path = tmp_path / "a[1].txt"
    path.write_bytes(b"x\n")
    assert read(path, block)[0] == b"x\n"


def test_folders_of_a_glob_are_passed_over(tmp_path: Path, block: MemoryFile) -> None:
    pattern = glob(tmp_path, a=b"0\n")
    (tmp_path / "folder.txt").mkdir()
    data, positions = read(pattern, block)
    assert (data, list(positions)) == (b"0\n", ["*.txt"])


def test_position_of_another_kind_is_refused(tmp_path: Path, block: MemoryFile) -> None:
    pattern = glob(tmp_path, a=b"0\n")
    with pytest.raises(StateError, match="not a position in a file"):
        read(pattern, block, {"*.txt": 7})


def test_header_is_given_for_each_file_also_alone_and_is_no_record(tmp_path: Path, block: MemoryFile) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfid,"na\nme"\r\n1,a\r\n')
    (tmp_path / "b.csv").write_bytes(b"name,id")
    (tmp_path / "c.csv").write_bytes(b"\nname,id\nc,3\nd,4\n")
    settings = FileSourceSettings(str(tmp_path / "*.csv"), framing="csv", header=True)
    source = FileSource(settings, block, ManualClock())
    source.open({})
    found = []
    while (fetch := source.poll(Limit(1, 10**9))) is not None:
        found.append((fetch.origin, fetch.header, block.read(), fetch.offset))
        position = {fetch.partition: fetch.position}
        source.close()
        source.open(position)
    assert found == [
        ("a.csv", b'id,"na\nme"', b"1,a\r\n", 15),
        ("b.csv", b"name,id", b"", 7),
        ("c.csv", b"name,id", b"c,3\n", 9),
        ("c.csv", b"name,id", b"d,4\n", 13),
    ]
    source.close()


def test_watched_header_waits_for_its_newline(tmp_path: Path, block: MemoryFile) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,na")
    source = FileSource(FileSourceSettings(str(path), "csv", header=True, watch=True), block, ManualClock())
    source.open({})
    assert source.poll(ALL) is None
    path.write_bytes(b"id,name\n1,a\n")
    fetch = source.poll(ALL)
    assert fetch is not None
    assert (fetch.header, block.read()) == (b"id,name", b"1,a\n")
    source.close()


class Appending(ManualClock):
    """A clock whose every sleep appends a line."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def sleep_ms(self, duration_ms: float) -> None:
        super().sleep_ms(duration_ms)
        with self.path.open("ab") as file:
            file.write(b"x\n")


@pytest.mark.parametrize(("rows", "wait_ms", "lines"), [(3, 10_000, 3), (100, 200, 5)])
def test_filling_poll_waits_for_the_limit_or_the_time(
    tmp_path: Path, block: MemoryFile, rows: int, wait_ms: float, lines: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\n")
    source = FileSource(FileSourceSettings(str(path), watch=True), block, Appending(path))
    source.open({})
    assert source.poll(Limit(rows, 10**9, wait_ms, fill=True)) is not None
    assert block.read() == b"x\n" * lines
    source.close()


def test_watched_files_take_turns(tmp_path: Path, block: MemoryFile) -> None:
    glob(tmp_path, a=b"1\n" * 50, b=b"2\n" * 50)
    source = FileSource(FileSourceSettings(str(tmp_path / "*.txt"), watch=True), block, ManualClock())
    source.open({})
    fetches = [source.poll(Limit(1, 10**9)) for _ in range(4)]
    assert [fetch.partition for fetch in fetches if fetch] == ["a.txt", "b.txt", "a.txt", "b.txt"]
    source.close()
