from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from ferrisstreams.durable_file import replace_text


def test_file_is_replaced_with_its_rights_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "mark"
    replace_text(path, "old")
    path.chmod(0o640)
    before = path.stat().st_ino
    replace_text(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert path.stat().st_ino != before, "whoever has the old one open reads all of it"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ["mark"]


def test_text_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    replace_text(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_text(path, "new" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["mark"])
