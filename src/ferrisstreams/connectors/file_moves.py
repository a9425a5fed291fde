"""Files that are renamed while they are followed, as log rotation does."""

from __future__ import annotations

import os

from ferrisstreams.connectors.file_identity import FilePosition, same_head


def is_in_place(position: FilePosition) -> bool:
    """Whether the file of the position still has its name; one of which nothing was read has no identity yet."""
    return not position.inode or _inode(position.path) == position.inode


def place_of(position: FilePosition) -> str | None:
    """Where the file of the position is now, in the same folder; None when it is not there."""
    folder = os.path.dirname(position.path)
    with os.scandir(folder) as entries:
        candidates = [entry.path for entry in entries if entry.inode() == position.inode]
    return next((path for path in candidates if _is_same(position, path)), None)


def _is_same(position: FilePosition, path: str) -> bool:
    """An inode may belong to another file by now: its size and its beginning tell."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return os.fstat(fd).st_size >= position.raw and same_head(position, fd)
    finally:
        os.close(fd)


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
