"""Which file a position belongs to: its path, inode and the hash of its first bytes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace

from ferrisstreams.batch import JsonValue
from ferrisstreams.connectors.file_content import Content, RestartPoint
from ferrisstreams.errors import FatalConnectorError, StateError

#: How much of a file's beginning is hashed. Only bytes before the position count, because the rest may still change.
_HEAD_BYTES_MAX = 1024
_BEGINNING = RestartPoint()


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells a file from another one: its inode (which may be used again), how it begins, and that it holds at
    least the `raw` bytes that were read."""

    inode: int
    raw: int
    head_bytes: int
    head_sha: str

    def to_json(self) -> JsonValue:
        return [self.inode, self.raw, self.head_bytes, self.head_sha]

    @staticmethod
    def from_json(value: JsonValue) -> FileIdentity:
        match value:
            case [int(inode), int(raw), int(head_bytes), str(head_sha)]:
                return FileIdentity(inode, raw, head_bytes, head_sha)
        raise StateError(f"not a file's identity: {value!r}", "E5003", "the state belongs to another kind of source")


@dataclass(frozen=True, slots=True)
class FilePosition:
    """The next byte to read of a file's content. `whole` says that the file ended there when it was read.

    `raw` is how many bytes of the file had been read by then, and `restart` where unpacking can begin again: both say
    nothing new about a file that is read as it is. `done` remembers the files of a glob that were read before: for each
    `digest` of its path and length, joined; `before` the files that had its name and were
    renamed.
    """

    path: str
    inode: int = 0
    head_bytes: int = 0
    head_sha: str = ""
    offset: int = 0
    whole: bool = False
    done: str = ""
    raw: int = 0
    restart: RestartPoint = _BEGINNING
    before: tuple[FileIdentity, ...] = ()

    @property
    def identity(self) -> FileIdentity:
        return FileIdentity(self.inode, self.raw, self.head_bytes, self.head_sha)

    def to_json(self) -> JsonValue:
        return {
            "path": self.path,
            "inode": self.inode,
            "head": {"bytes": self.head_bytes, "sha256": self.head_sha},
            "offset": self.offset,
            "whole": self.whole,
            "done": self.done,
            "raw": self.raw,
            "restart": [self.restart.raw, self.restart.offset],
            "before": [identity.to_json() for identity in self.before],
        }

    @staticmethod
    def from_json(value: JsonValue) -> FilePosition:
        """Raises StateError for what is not a file position."""
        match value:
            case {
                "path": str(path),
                "inode": int(inode),
                "head": {"bytes": int(head_bytes), "sha256": str(head_sha)},
                "offset": int(offset),
                "whole": bool(whole),
                "done": str(done),
                "raw": int(raw),
                "restart": [int(restart_raw), int(restart_offset)],
                "before": list(before),
            }:
                restart = RestartPoint(restart_raw, restart_offset)
                earlier = tuple(map(FileIdentity.from_json, before))
                return FilePosition(path, inode, head_bytes, head_sha, offset, whole, done, raw, restart, earlier)
        raise StateError(f"not a position in a file: {value!r}", "E5003", "the state belongs to another kind of source")

    def at(self, content: Content, offset: int, whole: bool) -> FilePosition:
        """This file's position moved on to `offset`."""
        raw = content.raw_bytes(offset)
        moved = replace(self, offset=offset, whole=whole, raw=raw, restart=content.restart_point(offset))
        if self.head_bytes == _HEAD_BYTES_MAX or self.head_bytes == raw:
            return moved
        covered = min(_HEAD_BYTES_MAX, raw)
        return replace(moved, head_bytes=covered, head_sha=_sha(os.pread(content.fd, covered, 0)))


def digest(path: str, length: int) -> str:
    """Six hexadecimal digits that stand for a file read whole."""
    return _sha(f"{length} {path}".encode())[:6]


def verify(position: FilePosition, content: Content, watched: bool) -> FilePosition:
    """The position, with the open file's inode when nothing was read yet.

    Raises FatalConnectorError E4002 when the file is not the one that the position was taken in, or lost bytes.
    """
    status = os.fstat(content.fd)
    if position.offset == 0:
        return replace(position, inode=status.st_ino)
    if status.st_size < position.raw:
        raise changed(position, f"shrank to {status.st_size} bytes")
    if status.st_ino != position.inode:
        raise changed(position, "was replaced by another file")
    if not same_head(position.identity, content.fd):
        raise changed(position, "was rewritten: its beginning is not the same")
    if not watched and _record_goes_on(content, position.offset):
        raise changed(position, "went on within its last line, which was read as a record without a newline")
    return position


def same_head(identity: FileIdentity, fd: int) -> bool:
    """Whether the file begins as that one did."""
    return not identity.head_bytes or _sha(os.pread(fd, identity.head_bytes, 0)) == identity.head_sha


def _record_goes_on(content: Content, offset: int) -> bool:
    around = content.part(offset - 1, offset + 1)
    return len(around) == 2 and around[:1] != b"\n" and around[1:] not in (b"\n", b"\r")


def changed(position: FilePosition, what: str) -> FatalConnectorError:
    return FatalConnectorError(
        f"{position.path} {what}, but the job has read it up to byte {position.offset}",
        "E4002",
        "bring the old file back, or reset the job's state to read from the beginning",
    )


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
