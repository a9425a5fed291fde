"""Reads whole records of one open file into the memory file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ferrisstreams.batch import Limit
from ferrisstreams.connectors.file_identity import read_error
from ferrisstreams.connectors.framing import Framing
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.memory_file import MemoryFile

#: First guess of a record's length, and what is read beyond the guess for `Limit.rows` records.
_RECORD_BYTES_GUESS = 128
_READ_BYTES_MIN = 4096
#: How much of an oversized record is looked at in one step.
_SKIP_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Records:
    """Whole records, not only blank ones, now in the memory file: bytes `start` to `stop` of the file.

    `full`: as many as the limit allows.
    """

    start: int
    stop: int
    full: bool


@dataclass(frozen=True, slots=True)
class Oversized:
    """A record that was passed over: bytes `start` to `stop` of the file, its newline included."""

    start: int
    stop: int


class FileReader:
    """`final` in the methods says that nothing will be appended: a last line without newline is a record then."""

    def __init__(self, path: str, fd: int, framing: Framing, block: MemoryFile, record_bytes_max: int) -> None:
        self.path = path
        self.fd = fd
        self._framing = framing
        self._block = block
        self._record_bytes_max = record_bytes_max
        self._record_bytes = float(_RECORD_BYTES_GUESS)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read(self, start: int, size: int, limit: Limit, final: bool) -> Records | Oversized | None:
        """The records from byte `start` on, or None when there is no whole one before byte `size`."""
        while start < size:
            found = self._read_once(start, size, limit, final)
            if not isinstance(found, Records) or not self._is_blank(found):
                return found
            start = found.stop
        return None

    def content_start(self) -> int:
        """Where the first record begins: behind a byte order mark."""
        return len(_BOM) if self.bytes(0, len(_BOM)) == _BOM else 0

    def bytes(self, start: int, stop: int) -> bytes:
        """A copy of a part of the file."""
        try:
            return os.pread(self.fd, stop - start, start)
        except OSError as error:
            raise read_error(self.path, error) from error

    def close(self) -> None:
        os.close(self.fd)

    def _read_once(self, start: int, size: int, limit: Limit, final: bool) -> Records | Oversized | None:
        # No more than one record's limit: whether a record is oversized must not depend on the batch size.
        most = min(size - start, self._record_bytes_max + 1)
        wanted = min(most, max(limit.bytes, 1))
        length = min(wanted, _READ_BYTES_MIN + int(limit.rows * self._record_bytes * 1.25))
        while True:
            self._load(start, length)
            end = self._framing.end(self._block.view(length), length, limit.rows)
            if end and (length == wanted or self._has_more(end, length, limit.rows)):
                all_read = length == size - start and not self._has_more(end, length, limit.rows)
                full = not all_read or self._block.view(length)[:end].count(b"\n") >= limit.rows
                return self._records(start, end, full)
            if length == most:
                break
            wanted = wanted if length < wanted else most
            length = min(wanted, length * 4)
        if length > self._record_bytes_max:
            return self._pass_over(start, size, final)
        return self._records(start, length, full=False) if final else None

    def _has_more(self, end: int, length: int, rows: int) -> bool:
        """True when records follow the first `rows`; learns how long records are."""
        if self._block.view(length).rfind(b"\n", end, length) >= 0:
            self._record_bytes = end / rows
            return True
        self._record_bytes = max(self._record_bytes, length / rows)
        return False

    def _load(self, start: int, length: int) -> None:
        with memoryview(self._block.view(length)) as view:
            done = 0
            while done < length:
                with view[done:length] as rest:
                    try:
                        count = os.preadv(self.fd, [rest], start + done)
                    except OSError as error:
                        raise read_error(self.path, error) from error
                if count == 0:
                    raise FatalConnectorError(
                        f"{self.path} shrank while it was read",
                        "E4002",
                        "let no other process cut the file, or reset the job's state to read from the beginning",
                    )
                done += count

    def _records(self, start: int, length: int, full: bool) -> Records:
        self._block.truncate(length)
        return Records(start, start + length, full)

    def _is_blank(self, records: Records) -> bool:
        length = records.stop - records.start
        return self._framing.blank(self._block.read(0, min(length, 64))) and self._framing.blank(self._block.read())

    def _pass_over(self, start: int, size: int, final: bool) -> Oversized | None:
        self._block.truncate(0)
        at, open_quote = start, False
        while at < size:
            data = self.bytes(at, min(at + _SKIP_BYTES, size))
            if not data:
                break
            end, open_quote = self._framing.closes(data, open_quote)
            if end:
                return Oversized(start, at + end)
            at += len(data)
        return Oversized(start, at) if final else None
