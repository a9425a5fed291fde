"""Where a file is that is followed: in its place, renamed as log rotation does, or a copy of it that has its place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ferrisstreams.connectors.file_errors import read_error
from ferrisstreams.connectors.file_head import HEAD_BYTES_MAX
from ferrisstreams.connectors.file_identity import FileIdentity, FilePosition, same_head


class Folders:
    """What is where now. Each folder is looked at once: make a new one for each look."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[int, list[str]]] = {}

    def find(self, position: FilePosition) -> FilePosition | None:
        """The position in its file, wherever in its folder that is; None when it is not there.

        A file of which nothing was read has no identity yet. One that was cut is in its place: that is an error, not
        another file. Raises FatalConnectorError E4001 for a folder that cannot be read.
        """
        if not position.inode:
            return position
        identity, path = position.identity, position.path
        size, inode = _size_and_inode(path)
        if inode == position.inode and (size < position.raw or is_at(identity, path)):
            return position
        renamed = self._renamed(identity, os.path.dirname(path))
        if renamed is not None:
            return replace(position, path=renamed)
        return self._copy(position, size, inode)

    def copies(self, identities: Sequence[FileIdentity], paths: Sequence[str]) -> tuple[FileIdentity, ...]:
        """The identities of files that were read whole, in a folder that was copied: with the inodes that they have
        there. `paths` are the files that may be theirs."""
        return tuple(self._copied(identity, paths) for identity in identities)

    def _copied(self, identity: FileIdentity, paths: Sequence[str]) -> FileIdentity:
        for path in paths:
            size, inode = _size_and_inode(path)
            if size == identity.raw and is_like(identity, path):
                return replace(identity, inode=inode)
        return identity

    def _renamed(self, identity: FileIdentity, folder: str) -> str | None:
        if folder not in self._paths:
            self._paths[folder] = _paths_by_inode(folder)
        found = self._paths[folder].get(identity.inode, [])
        return next((path for path in found if is_at(identity, path)), None)

    @staticmethod
    def _copy(position: FilePosition, size: int, inode: int) -> FilePosition | None:
        """A file that begins in the same way and has another inode was copied, moved to another disk or restored."""
        if is_like(position.identity, position.path):
            return replace(position, inode=inode)
        shorter = replace(position, raw=HEAD_BYTES_MAX).identity
        cut = position.head_bytes == HEAD_BYTES_MAX and size < position.raw and is_like(shorter, position.path)
        return position if cut else None


def is_at(identity: FileIdentity, path: str) -> bool:
    """Whether this file is at `path`. An inode may belong to another file by now: its size and its beginning tell."""
    return _size_and_inode(path)[1] == identity.inode and is_like(identity, path)


def is_like(identity: FileIdentity, path: str) -> bool:
    """Whether what is at `path` begins as this file does, and is no shorter."""
    if _size_and_inode(path)[0] < identity.raw:
        return False
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return same_head(identity, fd)
    finally:
        os.close(fd)


def _paths_by_inode(folder: str) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found.setdefault(entry.inode(), []).append(entry.path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise read_error(folder, error) from error
    return found


def _size_and_inode(path: str) -> tuple[int, int]:
    """Those of what is at `path`; less than nothing, and no inode, when nothing is."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, 0
    return status.st_size, status.st_ino
