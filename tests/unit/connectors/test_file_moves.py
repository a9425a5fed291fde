"""Files that are renamed while they are followed, as log rotation does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ferrisstreams.batch import JsonValue, Limit
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.memory_file import MemoryFile


@pytest.fixture
def block() -> Iterator[MemoryFile]:
    block = MemoryFile()
    yield block
    block.close()


@dataclass
class Follower:
    """A watching source, and the positions that a job would have committed."""

    pattern: Path
    block: MemoryFile
    positions: dict[str, JsonValue] = field(default_factory=dict)
    source: FileSource | None = None

    def take(self, rows: int = 1000) -> list[str]:
        """Everything that is there now."""
        found: list[str] = []
        while (fetch := self.opened().poll(Limit(rows, 10**9))) is not None:
            found += self.block.read().decode().split()
            self.positions[fetch.partition] = fetch.position
            if rows == 1:
                break
        return found

    def opened(self) -> FileSource:
        if self.source is None:
            self.source = FileSource(FileSourceSettings(str(self.pattern), watch=True), self.block, ManualClock())
            self.source.open(self.positions)
        return self.source

    def restart(self) -> None:
        if self.source is not None:
            self.source.close()
        self.source = None


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def rotate(path: Path, to: str) -> Path:
    old = path.with_name(to)
    os.rename(path, old)
    return old


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize("restarted", [False, True])
def test_rest_of_a_renamed_file_is_read_and_then_the_one_that_took_its_name(
    tmp_path: Path, block: MemoryFile, pattern: str, restarted: bool
) -> None:
    log = tmp_path / "app.log"
    append(log, "a1", "a2")
    follower = Follower(tmp_path / pattern, block)
    assert follower.take() == ["a1", "a2"]
    append(log, "a3")
    old = rotate(log, "app.log.1")
    append(old, "a4")
    append(log, "b1")
    if restarted:
        follower.restart()
    assert follower.take() == ["a3", "a4", "b1"]
    append(log, "b2")
    assert follower.take() == ["b2"]
    follower.restart()
    assert follower.take() == []
    append(log, "b3")
    assert follower.take() == ["b3"]
    follower.restart()


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_chain_of_renames_reads_every_row_once(tmp_path: Path, block: MemoryFile, pattern: str) -> None:
    log = tmp_path / "app.log"
    follower = Follower(tmp_path / pattern, block)
    found: list[str] = []
    expected: list[str] = []
    for number in range(6):
        rows = [f"{number}-{row}" for row in range(3)]
        expected += rows
        append(log, *rows)
        found += follower.take()
        if number % 2:
            follower.restart()
        for older in range(number, 0, -1):
            rotate(tmp_path / f"app.log.{older}", f"app.log.{older + 1}")
        rotate(log, "app.log.1")
    append(log, "last")
    assert found + follower.take() == [*expected, "last"]
    follower.restart()
    assert follower.take() == []
    follower.restart()


def test_renamed_file_waits_for_its_successor(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1")
    follower = Follower(log, block)
    assert follower.take() == ["a1"]
    old = rotate(log, "app.log.1")
    assert follower.take() == []
    append(old, "a2")
    assert follower.take() == ["a2"]
    append(log, "b1")
    assert follower.take() == ["b1"]
    follower.restart()


def test_restart_in_the_middle_of_a_renamed_file_goes_on_there(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1", "a2", "a3")
    follower = Follower(log, block)
    assert follower.take(rows=1) == ["a1"]
    rotate(log, "app.log.1")
    append(log, "b1")
    assert follower.take(rows=1) == ["a2"]
    follower.restart()
    assert follower.take() == ["a3", "b1"]
    follower.restart()


def test_file_that_was_deleted_before_it_was_read_whole_is_an_error(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1", "a2")
    follower = Follower(log, block)
    assert follower.take(rows=1) == ["a1"]
    follower.restart()
    os.remove(log)
    append(log, "b1")
    with pytest.raises(FatalConnectorError, match=r"is gone|was rewritten") as caught:
        follower.take()
    assert caught.value.code == "E4002"
    follower.restart()


def test_open_file_that_was_deleted_is_read_to_its_end(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1", "a2")
    follower = Follower(log, block)
    assert follower.take(rows=1) == ["a1"]
    os.remove(log)
    append(log, "b1")
    assert follower.take() == ["a2", "b1"]
    follower.restart()


def test_file_that_was_read_whole_may_be_replaced(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1")
    follower = Follower(log, block)
    assert follower.take() == ["a1"]
    follower.restart()
    new = tmp_path / "new"
    append(new, "b1")
    os.replace(new, log)
    assert follower.take() == ["b1"]
    follower.restart()


def test_file_that_is_cut_in_place_is_an_error(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1", "a2")
    follower = Follower(log, block)
    assert follower.take() == ["a1", "a2"]
    os.truncate(log, 0)
    with pytest.raises(FatalConnectorError, match="shrank") as caught:
        follower.take()
    assert caught.value.code == "E4002"
    follower.restart()


def test_files_that_were_there_at_the_start_are_not_read_again_under_their_next_names(
    tmp_path: Path, block: MemoryFile
) -> None:
    log = tmp_path / "app.log"
    append(tmp_path / "app.log.2", "old")
    append(tmp_path / "app.log.1", "older")
    append(log, "a1")
    follower = Follower(tmp_path / "app.log*", block)
    assert sorted(follower.take()) == ["a1", "old", "older"]
    for turn in range(3):
        for older in range(turn + 2, 0, -1):
            rotate(tmp_path / f"app.log.{older}", f"app.log.{older + 1}")
        rotate(log, "app.log.1")
        append(log, f"b{turn}")
        if turn == 1:
            follower.restart()
        assert follower.take() == [f"b{turn}"]
    follower.restart()
    assert follower.take() == []
    follower.restart()


def test_new_file_with_the_inode_of_a_deleted_one_is_a_new_file(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    follower = Follower(tmp_path / "app.log*", block)
    found: list[str] = []
    for turn in range(12):
        append(log, f"{turn} begins", f"{turn} ends")
        found += follower.take()
        (tmp_path / "app.log.1").unlink(missing_ok=True)  # its inode is free, and the next file may get it
        rotate(log, "app.log.1")
    assert found == [word for turn in range(12) for word in (str(turn), "begins", str(turn), "ends")]
    follower.restart()


def test_folder_of_watched_files_that_is_gone_is_an_error(tmp_path: Path, block: MemoryFile) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    append(folder / "a.log", "a1")
    follower = Follower(folder / "*.log", block)
    assert follower.take() == ["a1"]
    follower.restart()
    (folder / "a.log").unlink()
    assert follower.take() == []
    folder.rmdir()
    follower.restart()
    with pytest.raises(FatalConnectorError, match=r"folder .* is gone"):
        follower.take()
    follower.restart()


def test_copy_knows_the_files_that_were_renamed_before(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "one" / "app.log"
    log.parent.mkdir()
    append(log, "a1", "a2")
    follower = Follower(log.with_name("app.log*"), block)
    assert follower.take() == ["a1", "a2"]
    rotate(log, "app.log.1")
    append(log, "b1")
    assert follower.take() == ["b1"]
    follower.restart()
    copy = Path(shutil.copytree(log.parent, tmp_path / "two"))
    follower.pattern = copy / "app.log*"
    assert follower.take() == []
    append(copy / "app.log", "b2")
    assert follower.take() == ["b2"]
    follower.restart()


def test_file_that_is_replaced_by_a_longer_copy_of_itself_goes_on(tmp_path: Path, block: MemoryFile) -> None:
    log = tmp_path / "app.log"
    append(log, "a1", "a2")
    follower = Follower(log, block)
    assert follower.take() == ["a1", "a2"]
    new = Path(shutil.copy(log, tmp_path / "new"))
    append(new, "a3")
    os.replace(new, log)
    assert follower.take() == ["a3"]
    follower.restart()
