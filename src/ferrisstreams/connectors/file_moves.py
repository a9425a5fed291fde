"""Files that are renamed while they are followed, as log rotation does."""

from __future__ import annotations

import os

from ferrisstreams.connectors.file_identity import FileIdentity, FilePosition, same_head


def is_in_place(position: FilePosition) -> bool:
    """Whether the file of the position still has its name; one of which nothing was read has no identity yet.

    One that was cut is in its place: that is an error, not another file.
    """
    if not position.inode:
        return True
    size = _size(position.path, position.inode)
    return size is not None and (size < position.raw or is_at(position.identity, position.path))


def place_of(position: FilePosition) -> str | None:
    """Where the file of the position is now, in the same folder; None when it is not there."""
    folder = os.path.dirname(position.path)
    with os.scandir(folder) as entries:
        candidates = [entry.path for entry in entries if entry.inode() == position.inode]
    return next((path for path in candidates if is_at(position.identity, path)), None)


def is_at(identity: FileIdentity, path: str) -> bool:
    """Whether this file is at `path`. An inode may belong to another file by now: its size and its beginning tell."""
    size = _size(path, identity.inode)
    if size is None or size < identity.raw:
        return False
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return same_head(identity, fd)
    finally:
        os.close(fd)


def _size(path: str, inode: int) -> int | None:
    """The size of the file at `path`; None when it is another one, or none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size if status.st_ino == inode else None
