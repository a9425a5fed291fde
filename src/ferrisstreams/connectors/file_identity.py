"""Which file a position belongs to: its name, how it begins, and how much of it was there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ferrisstreams.batch import JsonValue
from ferrisstreams.connectors.file_content import Content, RestartPoint
from ferrisstreams.connectors.file_errors import open_file
from ferrisstreams.connectors.file_head import HEAD_BYTES_MAX, head_bytes, head_sha, sha
from ferrisstreams.connectors.file_names import FileNames
from ferrisstreams.errors import FatalConnectorError, StateError

_BEGINNING = RestartPoint()
#: Hexadecimal digits that stand for a file read whole, and that stood for one in states of before.
_DIGEST_DIGITS, _FORMER_DIGITS = 32, 6


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells a file from another one: how it begins, and that it holds at least the `raw` bytes that were read.

    The inode finds it again when it was renamed; a copy has another one, and a new file may have it again.
    """

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
        raise StateError(
            f"not a file's identity: {value!r}", "E5003", "the state was written with another kind of source"
        )


@dataclass(frozen=True, slots=True)
class DoneFiles:
    """The files of a glob that were read whole before the one of the position, as far as they are still there.

    Each is a digest of its name, its length and its beginning. `former` are those of a state of before: six digits of
    length and absolute path, when the files were in `former_folder`. `gone` counts those that were taken away.
    """

    digests: tuple[str, ...] = ()
    gone: int = 0
    former: frozenset[str] = frozenset()
    former_folder: str = ""

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.digests) + self.gone + len(self.former)

    def to_json(self) -> JsonValue:
        return {"digests": list(self.digests), "gone": self.gone}

    @staticmethod
    def from_json(value: JsonValue, former_folder: str) -> DoneFiles:
        match value:
            case str(former):
                starts = range(0, len(former), _FORMER_DIGITS)
                return DoneFiles((), 0, frozenset(former[at : at + _FORMER_DIGITS] for at in starts), former_folder)
            case {"digests": list(digests), "gone": int(gone)}:
                return DoneFiles(tuple(map(str, digests)), gone)
        raise StateError(
            f"not files that were read: {value!r}", "E5003", "the state was written with another kind of source"
        )

    def plus(self, position: FilePosition, names: FileNames) -> DoneFiles:
        """With the file of the position, which was read whole."""
        done = _digest(names.name(position.path), position.raw, position.head_sha)
        return replace(self, digests=(*self.digests, done))

    def found(self, paths: Iterable[str], names: FileNames) -> DoneFiles:
        """Those that are there. Raises FatalConnectorError E4002 for a path that was not read as it is now."""
        known, kept = frozenset(self.digests), list[str]()
        for path in paths:
            name = names.name(path)
            digest = _digest_of(path, name)
            former = f"{os.path.getsize(path)} {os.path.join(self.former_folder, name)}"
            if digest not in known and sha(former.encode())[:_FORMER_DIGITS] not in self.former:
                raise FatalConnectorError(
                    f"{path} is new or has changed, but the job has read files that sort after it",
                    "E4002",
                    "give it a name that sorts last, or reset the job's state to read from the beginning",
                )
            kept.append(digest)
        return DoneFiles(tuple(kept), self.count - len(kept))


@dataclass(frozen=True, slots=True)
class FilePosition:
    """The next byte to read of a file's content. `whole` says that the file ended there when it was read.

    `raw` is how many bytes of the file had been read by then, and `restart` where unpacking can begin again: both say
    nothing new about a file that is read as it is. `done` remembers the files of a glob that were read before, and
    `before` the files that had its name and were renamed. As JSON it has the file's name in its source, not its path.
    """

    path: str
    inode: int = 0
    head_bytes: int = 0
    head_sha: str = ""
    offset: int = 0
    whole: bool = False
    done: DoneFiles = DoneFiles()
    raw: int = 0
    restart: RestartPoint = _BEGINNING
    before: tuple[FileIdentity, ...] = ()

    @property
    def identity(self) -> FileIdentity:
        return FileIdentity(self.inode, self.raw, self.head_bytes, self.head_sha)

    def to_json(self, names: FileNames) -> JsonValue:
        return {
            "path": names.name(self.path),
            "inode": self.inode,
            "head": {"bytes": self.head_bytes, "sha256": self.head_sha},
            "offset": self.offset,
            "whole": self.whole,
            "done": self.done.to_json(),
            "raw": self.raw,
            "restart": [self.restart.raw, self.restart.offset],
            "before": [identity.to_json() for identity in self.before],
        }

    @staticmethod
    def from_json(value: JsonValue, names: FileNames) -> FilePosition:
        """Raises StateError for what is not a file position."""
        match value:
            case {
                "path": str(name),
                "inode": int(inode),
                "head": {"bytes": int(head_bytes), "sha256": str(head_sha)},
                "offset": int(offset),
                "whole": bool(whole),
                "done": done,
                "raw": int(raw),
                "restart": [int(restart_raw), int(restart_offset)],
                "before": list(before),
            }:
                path = names.path(name)
                done_files = DoneFiles.from_json(done, name.removesuffix(os.sep + names.name(path)))
                restart = RestartPoint(restart_raw, restart_offset)
                earlier = tuple(map(FileIdentity.from_json, before))
                return FilePosition(path, inode, head_bytes, head_sha, offset, whole, done_files, raw, restart, earlier)
        raise StateError(
            f"not a position in a file: {value!r}", "E5003", "the state was written with another kind of source"
        )

    def moved_to(self, content: Content, offset: int, whole: bool) -> FilePosition:
        """This file's position moved on to `offset`."""
        raw = content.raw_bytes(offset)
        return replace(self, offset=offset, whole=whole, restart=content.restart_point(offset))._holding(content, raw)

    def moved_to_end(self, content: Content) -> FilePosition:
        """This file's position when nothing more is to be read of it."""
        return replace(self, whole=True)._holding(content, content.size())

    def _holding(self, content: Content, raw: int) -> FilePosition:
        if self.head_bytes == HEAD_BYTES_MAX:
            return replace(self, raw=raw)
        return replace(self, raw=raw, head_bytes=head_bytes(raw), head_sha=head_sha(content.fd, raw))


def verify(position: FilePosition, content: Content, watched: bool) -> FilePosition:
    """The position with the open file's inode.

    Raises FatalConnectorError E4002 when the file is not the one that the position was taken in, or lost bytes.
    """
    status = os.fstat(content.fd)
    if position.offset:
        if status.st_size < position.raw:
            raise _changed(position, f"shrank to {status.st_size} bytes")
        if not same_head(position.identity, content.fd):
            raise _changed(position, "was rewritten or replaced: its beginning is not the same")
        if not watched and _record_goes_on(content, position.offset):
            raise _changed(position, "went on within its last line, which was read as a record without a newline")
    return replace(position, inode=status.st_ino)


def same_head(identity: FileIdentity, fd: int) -> bool:
    """Whether the file begins as that one did."""
    return not identity.head_bytes or head_sha(fd, identity.head_bytes) == identity.head_sha


def refuse_gone(position: FilePosition) -> FatalConnectorError:
    """The file that a position is in is not there."""
    return FatalConnectorError(
        f"{position.path} is gone: the job has read it up to byte {position.offset}"
        + ("" if position.whole else ", which was not all of it"),
        "E4002",
        "bring the file back, or reset the job's state to read from the beginning",
    )


def _record_goes_on(content: Content, offset: int) -> bool:
    around = content.part(offset - 1, offset + 1)
    return len(around) == 2 and around[:1] != b"\n" and around[1:] not in (b"\n", b"\r")


def _changed(position: FilePosition, what: str) -> FatalConnectorError:
    return FatalConnectorError(
        f"{position.path} {what}, but the job has read it up to byte {position.offset}",
        "E4002",
        "bring the old file back, or reset the job's state to read from the beginning",
    )


def _digest(name: str, length: int, head: str) -> str:
    return sha(f"{length} {head} {name}".encode())[:_DIGEST_DIGITS]


def _digest_of(path: str, name: str) -> str:
    """That of the file as it is now. Raises FatalConnectorError E4001."""
    fd = open_file(path)
    try:
        length = os.fstat(fd).st_size
        return _digest(name, length, head_sha(fd, length))
    finally:
        os.close(fd)
