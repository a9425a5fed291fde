"""What is left of doors whose workers were killed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ferrisstreams.clock import SystemClock
from ferrisstreams.runtime.door_name import remove_left


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="f") as folder:  # The path of a socket is short.
        yield Path(folder)


def left(temporary: Path, name: str, *, age: int = 3600, mode: int = 0o700) -> Path:
    private = temporary / f"ferris-{name:_<8}"
    private.mkdir(mode=mode)
    os.utime(private, (0, os.stat(private).st_mtime - age))
    return private


def bound(private: Path) -> socket.socket:
    hearing = socket.socket(socket.AF_UNIX)
    hearing.bind(str(private / "door"))
    os.utime(private, (0, os.stat(private).st_mtime - 3600))
    return hearing


def test_doors_of_killed_workers_are_taken_away_and_nothing_else(temporary: Path, tmp_path: Path) -> None:
    killed, empty = left(temporary, "killed"), left(temporary, "empty")
    bound(killed).close()
    kept = [left(temporary, "young", age=0), left(temporary, "open", mode=0o755), left(temporary, "alive")]
    other = left(temporary, "other")
    (other / "file").write_text("somebody's")
    os.utime(other, (0, 0))
    link = temporary / "ferris-linked__"
    link.symlink_to(tmp_path)
    with ExitStack() as stack:
        hearing = stack.enter_context(bound(kept[2]))
        hearing.listen()
        remove_left(str(temporary), SystemClock().now_us())
    assert set(temporary.iterdir()) == {*kept, other, link}
    assert not killed.exists()
    assert not empty.exists()
