"""Which file a position belongs to: its path, inode and the hash of its first bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace

from ferrisstreams.batch import JsonValue
from ferrisstreams.errors import FatalConnectorError, StateError

#: How much of a file's beginning is hashed. Only bytes before the position count, because the rest may still change.
_HEAD_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class FilePosition:
    """The next byte to read of a file. `whole` says that the file ended there when it was read.

    `done` remembers the files of a glob that were read before: for each `digest` of its path and length, joined.
    """

    path: str
    inode: int = 0
    head_bytes: int = 0
    head_sha: str = ""
    offset: int = 0
    whole: bool = False
    done: str = ""

    def to_json(self) -> JsonValue:
        return {
            "path": self.path,
            "inode": self.inode,
            "head": {"bytes": self.head_bytes, "sha256": self.head_sha},
            "offset": self.offset,
            "whole": self.whole,
            "done": self.done,
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
            }:
                return FilePosition(path, inode, head_bytes, head_sha, offset, whole, done)
        raise StateError(f"not a position in a file: {value!r}", "E5003", "the state belongs to another kind of source")

    def at(self, fd: int, offset: int, whole: bool) -> FilePosition:
        """This file's position moved on to `offset`."""
        if self.head_bytes == _HEAD_BYTES_MAX or self.head_bytes == offset:
            return replace(self, offset=offset, whole=whole)
        covered = min(_HEAD_BYTES_MAX, offset)
        return replace(self, offset=offset, whole=whole, head_bytes=covered, head_sha=_sha(os.pread(fd, covered, 0)))


def digest(path: str, length: int) -> str:
    """Six hexadecimal digits that stand for a file read whole."""
    return _sha(f"{length} {path}".encode())[:6]


def open_file(path: str) -> int:
    """A descriptor to read a regular file. Raises FatalConnectorError E4001."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise FatalConnectorError(
                f"{path} is {kind}", "E4001", "give the path of a file, or a glob such as *.jsonl"
            )
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise FatalConnectorError(f"{path} does not exist", "E4001", "check the path") from error
    except PermissionError as error:
        hint = "give this user the right to read it"
        raise FatalConnectorError(f"{path} cannot be read: no permission", "E4001", hint) from error
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: str, error: OSError) -> FatalConnectorError:
    return FatalConnectorError(f"{path} cannot be read: {error.strerror}", "E4001", "check the path and the disk")


def verify(position: FilePosition, fd: int, watched: bool) -> FilePosition:
    """The position, with the open file's inode when nothing was read yet.

    Raises FatalConnectorError E4002 when the file is not the one that the position was taken in, or lost bytes.
    """
    status = os.fstat(fd)
    if position.offset == 0:
        return replace(position, inode=status.st_ino)
    if status.st_size < position.offset:
        raise _changed(position, f"shrank to {status.st_size} bytes")
    if status.st_ino != position.inode:
        raise _changed(position, "was replaced by another file")
    if _sha(os.pread(fd, position.head_bytes, 0)) != position.head_sha:
        raise _changed(position, "was rewritten: its beginning is not the same")
    if not watched and _record_goes_on(fd, position.offset):
        raise _changed(position, "went on within its last line, which was read as a record without a newline")
    return position


def _record_goes_on(fd: int, offset: int) -> bool:
    around = os.pread(fd, 2, offset - 1)
    return len(around) == 2 and around[:1] != b"\n" and around[1:] not in (b"\n", b"\r")


def _changed(position: FilePosition, what: str) -> FatalConnectorError:
    return FatalConnectorError(
        f"{position.path} {what}, but the job has read it up to byte {position.offset}",
        "E4002",
        "bring the old file back, or reset the job's state to read from the beginning",
    )


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
