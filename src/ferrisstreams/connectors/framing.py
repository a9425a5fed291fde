"""Where records end in a block of bytes: at newlines, or, for CSV, at newlines outside quoted fields."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from typing import Protocol

#: Bytes of one slice when newlines are counted: small enough to stay in the processor's cache.
_SLICE_BYTES = 64 * 1024
#: So many lines are passed one by one more quickly than a slice is counted.
_NEAR_LINES = 32


class Framing(Protocol):
    """How records lie in bytes. A record's end is the place behind its newline."""

    def end(self, block: mmap.mmap, length: int, rows: int) -> int:
        """The end of the last whole record in the first `length` bytes, of at most `rows` records; 0: there is none."""

    def spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Start and end (its newline included) of every record that is not blank; a last one may lack its newline."""

    def blank(self, data: bytes) -> bool:
        """True when these whole records hold nothing."""

    def closes(self, data: bytes, open_quote: bool) -> tuple[int, bool]:
        """The end of a record that began earlier (0: not in `data`), and whether a quote is open behind `data`."""


class LineFraming:
    """One record a line; lines of white space only are blank."""

    #: What the engine's reader skips between records.
    _SPACE = b" \t\n\v\f\r"
    #: What a blank line begins with. A pattern that begins with one character is searched for quickly.
    _BLANK_BEGINS = re.compile(rb"\n[ \t\n\v\f\r]")

    def end(self, block: mmap.mmap, length: int, rows: int) -> int:
        return _newlines_end(block, length, rows)

    def spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        start = 0
        for line in data.split(b"\n"):
            end = min(start + len(line) + 1, len(data))
            if line.strip(self._SPACE):
                yield start, end
            start = end

    def chosen(self, data: bytes, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The spans of the records with these ordinals (ascending), without a look at most of the others."""
        if not data[:1].strip(self._SPACE) or self._BLANK_BEGINS.search(data) is not None:
            spans = list(self.spans(data))
            yield from (spans[row] for row in rows)
            return
        start, ordinal = 0, 0
        for row in rows:
            start, ordinal = _skipped(data, start, row - ordinal), row
            end = data.find(b"\n", start) + 1 or len(data)
            yield start, end

    def blank(self, data: bytes) -> bool:
        return not data.strip(self._SPACE)

    def closes(self, data: bytes, open_quote: bool) -> tuple[int, bool]:
        return data.find(b"\n") + 1, False


class CsvFraming:
    """Records whose quoted fields may hold newlines. A quote opens a field only at its start (or behind spaces)."""

    def __init__(self, delimiter: str, quote: str) -> None:
        self._quote = quote.encode()
        mark, sep = re.escape(self._quote), re.escape(delimiter.encode())
        # Possessive throughout: one pass, no memory for going back, whatever the input.
        field = rb"(?> *+%b(?>[^%b]+|%b%b)*+%b?)?+[^%b\n]*+" % (mark, mark, mark, mark, mark, sep)
        record = rb"%b(?:%b%b)*+" % (field, sep, field)
        self._record = re.compile(record + rb"(?:\n|\Z)")
        self._closed_record = re.compile(record + rb"\n")
        # Only lines with a quote are looked at: a search finds the next one a hundred times as fast.
        self._quoted_records = re.compile(rb"(?>(?=[^%b\n]*+%b)%b\n)*+" % (mark, mark, record))

    def end(self, block: mmap.mmap, length: int, rows: int) -> int:
        """May stop short of `rows` records, but not short of one."""
        head = _newlines_end(block, length, rows)
        return self._closed_end(block, head) or self._first_end(block, length)

    def spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        start = 0
        while start < len(data):
            match = self._record.match(data, start)
            end = match.end() if match else len(data)
            if not self.blank(data[start:end]):
                yield start, end
            start = end

    def blank(self, data: bytes) -> bool:
        return not data.strip(b"\r\n")

    def record_end(self, data: bytes, start: int) -> int:
        """Where the record that begins at `start` ends."""
        match = self._record.match(data, start)
        return match.end() if match else len(data)

    def closes(self, data: bytes, open_quote: bool) -> tuple[int, bool]:
        start = 0
        while (end := data.find(b"\n", start) + 1) > 0:
            open_quote ^= data.count(self._quote, start, end) % 2 == 1
            if not open_quote:
                return end, False
            start = end
        return 0, open_quote ^ (data.count(self._quote, start) % 2 == 1)

    def _closed_end(self, data: bytes | mmap.mmap, length: int) -> int:
        """The end of the records before the first that is not closed, of `length` bytes that end with a newline."""
        done = 0
        while (quote := data.find(self._quote, done, length)) >= 0:
            start = data.rfind(b"\n", done, quote) + 1 or done
            end = self._quoted_records_end(data, start, length)
            if end == start:
                return start
            done = end
        return length

    def _quoted_records_end(self, data: bytes | mmap.mmap, start: int, length: int) -> int:
        with memoryview(data) as view, view[:length] as head:
            match = self._quoted_records.match(head, start)
            end = match.end() if match else start
            del match  # it holds on to the view
        return end

    def _first_end(self, block: mmap.mmap, length: int) -> int:
        with memoryview(block) as view, view[:length] as head:
            match = self._closed_record.match(head)
            end = match.end() if match else 0
            del match
        return end


def _skipped(data: bytes, start: int, lines: int) -> int:
    """The place behind so many newlines, which are there."""
    while lines > _NEAR_LINES:
        stop = min(start + _SLICE_BYTES, len(data))
        count = data.count(b"\n", start, stop)
        if count >= lines:
            return start + _nth_newline(data[start:stop], lines) + 1
        start, lines = stop, lines - count
    for _ in range(lines):
        start = data.find(b"\n", start) + 1
    return start


def _newlines_end(block: mmap.mmap, length: int, rows: int) -> int:
    """Behind the last newline, or behind the one with number `rows` when there are more."""
    if length > rows:
        seen = 0
        for at in range(0, length, _SLICE_BYTES):
            piece = block[at : min(at + _SLICE_BYTES, length)]
            count = piece.count(b"\n")
            if seen + count >= rows:
                return at + _nth_newline(piece, rows - seen) + 1
            seen += count
    return block.rfind(b"\n", 0, length) + 1


def _nth_newline(piece: bytes, number: int) -> int:
    """The place of newline `number` (from 1), by halving."""
    low, high = 0, len(piece)
    while high - low > 1:
        middle = (low + high) // 2
        count = piece.count(b"\n", low, middle)
        if count >= number:
            high = middle
        else:
            low, number = middle, number - count
    return low
