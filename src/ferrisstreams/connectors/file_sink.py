"""Rows into one file, exactly once: what lies behind the last mark is cut off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ferrisstreams.batch import JsonValue, Payload, Rejected
from ferrisstreams.errors import FatalConnectorError, InternalError, StateError

#: Bytes that are gathered before they are handed to the system.
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileSinkSettings:
    """`path` is absolute; its folder must exist. `append` and `overwrite` say what a new job does with what is there.

    `header` is written first into a file that is empty.
    """

    path: str
    append: bool = False
    overwrite: bool = False
    header: bytes = b""


class FileSink:
    """A mark is `{"length": bytes, "inode": number}`.

    Take a mark right after the first `open` and keep it, before the first `write`: a crash before there is a mark
    leaves at most the header, which counts as empty.

    Errors: FatalConnectorError E4003 (cannot be written) and E4004 (a new job, and a target that is not empty),
    StateError E5003 (the file is not the one that the mark was set in, or lost bytes).
    """

    exactly_once = True

    def __init__(self, settings: FileSinkSettings) -> None:
        self._settings = settings
        self._fd: int | None = None
        self._first = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def open(self, mark: JsonValue) -> None:
        if mark is not None:
            self._open(os.O_RDWR)
            self.rollback(mark)
            return
        settings = self._settings
        size = self._foreign_bytes()
        if size and not (settings.append or settings.overwrite):
            raise FatalConnectorError(
                f"{settings.path} is not empty ({size} bytes) and this job has not written it",
                "E4004",
                "give --overwrite to replace it, append=true to add to it, or another path",
            )
        self._open(os.O_RDWR | os.O_CREAT)
        self._first = size if settings.append else 0
        self._begin()
        self._sync_folder()

    def write(self, payload: Payload) -> Sequence[Rejected]:
        if not isinstance(payload.data, bytes):
            raise InternalError("a file sink takes bytes")
        self._write(payload.data)
        return ()

    def flush(self) -> JsonValue:
        self._drain()
        try:
            os.fsync(self._opened())
        except OSError as error:
            raise _write_error(self._settings.path, error) from error
        status = os.fstat(self._opened())
        if self._inode_there() != status.st_ino:
            # Written it is, but into a file that nobody can find any more.
            raise _lost(self._settings.path, "was deleted or replaced while the job was writing to it")
        return {"length": status.st_size, "inode": status.st_ino}

    def confirm(self, mark: JsonValue) -> None:
        """The rows are in their place already."""

    def rollback(self, mark: JsonValue) -> None:
        match mark:
            case {"length": int(length), "inode": int(inode)}:
                self._check(length, inode)
                self._cut(length)
            case None:
                self._begin()
            case _:
                raise StateError(f"not a mark of a file sink: {mark!r}", "E5003", "the state belongs to another sink")

    def close(self) -> None:
        """What was not flushed is dropped: no mark covers it."""
        fd, self._fd = self._fd, None
        self._drop_pending()
        if fd is not None:
            os.close(fd)

    def _begin(self) -> None:
        """Cut off all that is ours; what `append` found there stays."""
        self._cut(self._first)
        if self._first == 0:
            self._write(self._settings.header)

    def _inode_there(self) -> int | None:
        """The inode of what the path names now."""
        try:
            return os.stat(self._settings.path).st_ino
        except OSError:
            return None

    def _foreign_bytes(self) -> int:
        """Bytes in the target that are not our header alone (which a crash before the first mark leaves there)."""
        path, header = self._settings.path, self._settings.header
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        if header and size == len(header):
            self._open(os.O_RDWR)
            held = os.pread(self._opened(), size, 0)
            self.close()
            return 0 if held == header else size
        return size

    def _open(self, flags: int) -> None:
        path = self._settings.path
        try:
            self._fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileNotFoundError as error:
            if flags & os.O_CREAT:
                folder = os.path.dirname(path)
                what = f"{path} cannot be written: the folder {folder} does not exist"
                raise FatalConnectorError(what, "E4003", f"make it: mkdir -p {folder}") from error
            raise _lost(path, "is gone") from error
        except OSError as error:
            raise _write_error(path, error) from error

    def _opened(self) -> int:
        if self._fd is None:
            raise InternalError("the file sink is not open")
        return self._fd

    def _write(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _BUFFER_BYTES:
            self._drain()

    def _drain(self) -> None:
        """Hand everything to the system."""
        rest = memoryview(b"".join(self._pending))
        self._drop_pending()
        try:
            while rest:
                rest = rest[os.write(self._opened(), rest) :]
        except OSError as error:
            raise _write_error(self._settings.path, error) from error

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0

    def _check(self, length: int, inode: int) -> None:
        status = os.fstat(self._opened())
        if status.st_ino != inode:
            raise _lost(self._settings.path, "was replaced by another file")
        if status.st_size < length:
            raise _lost(self._settings.path, f"has {status.st_size} bytes, fewer than the {length} that the job wrote")

    def _cut(self, length: int) -> None:
        self._drop_pending()
        try:
            os.ftruncate(self._opened(), length)
            os.lseek(self._opened(), length, os.SEEK_SET)
        except OSError as error:
            raise _write_error(self._settings.path, error) from error

    def _sync_folder(self) -> None:
        """Make the file's name durable, not only its bytes."""
        try:
            fd = os.open(os.path.dirname(self._settings.path), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _write_error(self._settings.path, error) from error


def _write_error(path: str, error: OSError) -> FatalConnectorError:
    hint = "check the disk's free space and the rights of the file and its folder"
    return FatalConnectorError(f"{path} cannot be written: {error.strerror}", "E4003", hint)


def _lost(path: str, what: str) -> StateError:
    return StateError(
        f"{path} {what}",
        "E5003",
        "bring the file back, or reset the job's state and give --overwrite to write it from the beginning",
    )
