"""Reads whole records of one file's content into the memory file."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisstreams.batch import Limit
from ferrisstreams.connectors.file_content import Content
from ferrisstreams.connectors.framing import Framing
from ferrisstreams.memory_file import MemoryFile

#: First guess of a record's length, and what is read beyond the guess for `Limit.rows` records.
_RECORD_BYTES_GUESS = 128
_READ_BYTES_MIN = 4096
#: How much of an oversized record is looked at in one step.
_SKIP_BYTES = 1024 * 1024
#: How much of an oversized record a dead letter keeps.
_OVERSIZED_KEPT_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Records:
    """Whole records, not only blank ones, now in the memory file: bytes `start` to `stop` of the content.

    `full`: as many as the limit allows.
    """

    start: int
    stop: int
    full: bool


@dataclass(frozen=True, slots=True)
class Oversized:
    """A record that was passed over: bytes `start` to `stop` of the content, its newline too. `head`: its beginning."""

    start: int
    stop: int
    head: bytes


class FileReader:
    """`final` in the methods says that nothing will be appended: a last line without newline is a record then."""

    def __init__(self, content: Content, framing: Framing, block: MemoryFile, record_bytes_max: int) -> None:
        self.content = content
        self._framing = framing
        self._block = block
        self._record_bytes_max = record_bytes_max
        self._record_bytes = float(_RECORD_BYTES_GUESS)

    def read(self, start: int, limit: Limit, final: bool) -> Records | Oversized | None:
        """The records from byte `start` on, or None when there is no whole one.

        Content that breaks off gives the whole records before, and then FatalConnectorError E4007.
        """
        while True:
            found = self._read_once(start, limit, final)
            if not isinstance(found, Records) or not self._is_blank(found):
                return found
            start = found.stop

    def content_start(self) -> int:
        """Where the first record begins: behind a byte order mark."""
        return len(_BOM) if self.content.part(0, len(_BOM)) == _BOM else 0

    def _read_once(self, start: int, limit: Limit, final: bool) -> Records | Oversized | None:
        # No more than one record's limit: whether a record is oversized must not depend on the batch size.
        most = self._record_bytes_max + 1
        wanted = min(most, max(limit.bytes, 1))
        length = min(wanted, _READ_BYTES_MIN + int(limit.rows * self._record_bytes * 1.25))
        while True:
            found = self.content.load(self._block, start, length)
            end = self._framing.end(self._block.view(length), found, limit.rows) if found else 0
            ended = found < length
            if end and (ended or length == wanted or self._has_more(end, found, limit.rows)):
                all_read = ended or self.content.ends_at(start + found)
                all_read = all_read and not self._has_more(end, found, limit.rows)
                full = not all_read or self._block.view(length)[:end].count(b"\n") >= limit.rows
                return self._records(start, end, full)
            if ended or length == most:
                break
            wanted = wanted if length < wanted else most
            length = min(wanted, length * 4)
        if found > self._record_bytes_max:
            return self._pass_over(start, final)
        self.content.check()
        return self._records(start, found, full=False) if final and found else None

    def _has_more(self, end: int, length: int, rows: int) -> bool:
        """True when records follow the first `rows`; learns how long records are."""
        if self._block.view(length).rfind(b"\n", end, length) >= 0:
            self._record_bytes = end / rows
            return True
        self._record_bytes = max(self._record_bytes, length / rows)
        return False

    def _records(self, start: int, length: int, full: bool) -> Records:
        self._block.truncate(length)
        return Records(start, start + length, full)

    def _is_blank(self, records: Records) -> bool:
        length = records.stop - records.start
        return self._framing.blank(self._block.read(0, min(length, 64))) and self._framing.blank(self._block.read())

    def _pass_over(self, start: int, final: bool) -> Oversized | None:
        head = self._block.read(0, _OVERSIZED_KEPT_BYTES)
        self._block.truncate(0)
        at, open_quote = start, False
        while data := self.content.part(at, at + _SKIP_BYTES):
            end, open_quote = self._framing.closes(data, open_quote)
            if end:
                return Oversized(start, at + end, head[: at + end - start])
            at += len(data)
        self.content.check()
        return Oversized(start, at, head[: at - start]) if final else None
