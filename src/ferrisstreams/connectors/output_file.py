"""One file that is written, packed or plain, and can be cut back to where a member or frame ends."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ferrisstreams import durable_file
from ferrisstreams.connectors.compression import Compression, new_packer
from ferrisstreams.connectors.file_head import HEAD_BYTES_MAX, head_sha
from ferrisstreams.errors import FatalConnectorError, InternalError, StateError

#: Bytes that are gathered before they are handed to the system.
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Extent:
    """What is ours of a file: its length, and the hash of its first bytes, which tells it from another file; None when
    others may change them, or when nobody has noted it."""

    length: int
    head: str | None


class OutputFile:
    """What is written is in whole members, and on disk, after `flush`.

    Errors: FatalConnectorError E4003 (cannot be written), StateError E5003 (gone, replaced, or lost bytes).
    """

    def __init__(self, path: str, compression: Compression = "none") -> None:
        self.path = path
        self._packer = new_packer(compression)
        self._compression = compression
        self._fd: int | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._begun = False
        self._head: str | None = None

    def create(self) -> None:
        """Open the file, which need not exist."""
        self._open(os.O_RDWR | os.O_CREAT)

    def reopen(self, extent: Extent) -> None:
        """Open a file that holds what is ours, and cut off what lies behind it."""
        self._open(os.O_RDWR)
        self.check(extent)
        self.cut(extent.length)

    def write(self, data: bytes) -> None:
        if data:
            self._begun = True
            self._keep(self._packer.pack(data))

    def flush(self, member: bool = False) -> Extent:
        """Put all on disk. With `member` an empty member is written when nothing else was."""
        if self._begun or member:
            self._keep(self._packer.finish())
            self._begun = False
        self._drain()
        try:
            os.fsync(self._opened())
        except OSError as error:
            raise write_error(self.path, error) from error
        status = os.fstat(self._opened())
        if self._inode_there() != status.st_ino:
            # Written it is, but into a file that nobody can find any more.
            raise lost(self.path, "was deleted or replaced while the job was writing to it")
        return Extent(status.st_size, self._noted_head(status.st_size))

    def _noted_head(self, length: int) -> str:
        """Read once when it is whole: what another program makes of it later is not ours."""
        if self._head is not None and length >= HEAD_BYTES_MAX:
            return self._head
        head = head_sha(self._opened(), length)
        self._head = head if length >= HEAD_BYTES_MAX else None
        return head

    def _inode_there(self) -> int | None:
        """The inode of what the path names now."""
        try:
            return os.stat(self.path).st_ino
        except OSError:
            return None

    def check(self, extent: Extent) -> None:
        """Raises StateError when the file does not hold what is ours."""
        size, length = os.fstat(self._opened()).st_size, extent.length
        if size < length:
            raise lost(self.path, f"has {size} bytes, fewer than the {length} that the job wrote")
        if extent.head is not None and extent.head != head_sha(self._opened(), length):
            raise lost(self.path, "was replaced by another file: it does not begin as the job wrote it")
        if length and self._compression == "none" and self.held(length - 1, length) != b"\n":
            raise lost(self.path, f"was replaced by another file: no line ends at byte {length}, as the job wrote it")

    def cut(self, length: int) -> None:
        """Drop what lies behind `length`, and what was not flushed."""
        self._drop_pending()
        self._head = self._head if length >= HEAD_BYTES_MAX else None
        try:
            os.ftruncate(self._opened(), length)
            os.lseek(self._opened(), length, os.SEEK_SET)
        except OSError as error:
            raise write_error(self.path, error) from error

    def held(self, start: int, stop: int) -> bytes:
        """Bytes of the file."""
        return os.pread(self._opened(), stop - start, start)

    @property
    def size(self) -> int:
        """Bytes of the file now; 0 when it is not open."""
        return os.fstat(self._fd).st_size if self._fd is not None else 0

    def close(self) -> None:
        """What was not flushed is dropped: no mark covers it."""
        fd, self._fd = self._fd, None
        self._drop_pending()
        if fd is not None:
            os.close(fd)

    def _open(self, flags: int) -> None:
        try:
            self._fd = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileNotFoundError as error:
            if flags & os.O_CREAT:
                folder = os.path.dirname(self.path)
                what = f"{self.path} cannot be written: the folder {folder} does not exist"
                raise FatalConnectorError(what, "E4003", f"create it: mkdir -p {folder}") from error
            raise lost(self.path, "is gone") from error
        except OSError as error:
            raise write_error(self.path, error) from error

    def _opened(self) -> int:
        if self._fd is None:
            raise InternalError("the file is not open")
        return self._fd

    def _keep(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _BUFFER_BYTES:
            self._drain()

    def _drain(self) -> None:
        """Hand everything to the system."""
        rest = memoryview(b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0
        try:
            while rest:
                rest = rest[os.write(self._opened(), rest) :]
        except OSError as error:
            raise write_error(self.path, error) from error

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0
        if self._begun:
            self._packer = new_packer(self._compression)
            self._begun = False


def packed(data: bytes, compression: Compression) -> bytes:
    """The data as a file of its own."""
    packer = new_packer(compression)
    return packer.pack(data) + packer.finish()


def sync_folder(folder: str, path: str) -> None:
    """Make the names in a folder durable. `path` is for the error. Raises FatalConnectorError."""
    try:
        durable_file.sync_folder(folder)
    except OSError as error:
        raise write_error(path, error) from error


def make_folder(folder: str, path: str) -> None:
    """Make a folder and those above it. `path` is for the error. Raises FatalConnectorError."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: str, error: OSError) -> FatalConnectorError:
    hint = "check the disk's free space and the permissions of the file and its folder"
    return FatalConnectorError(f"{path} cannot be written: {error.strerror}", "E4003", hint)


def lost(path: str, what: str) -> StateError:
    return StateError(
        f"{path} {what}",
        "E5003",
        "bring the file back, or reset the job's state and give --overwrite to write it from the beginning",
    )


def not_empty(path: str, size: int) -> FatalConnectorError:
    """A new job, and a target that another has written."""
    return FatalConnectorError(
        f"{path} is not empty ({size} bytes) and this job has not written it",
        "E4004",
        "give --overwrite to replace it, append=true to add to it, or another path",
    )
