"""CSV records as bytes: where each lies, and how the engine's reader must have them to see them as we do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from ferrisstreams.batch import Fetch, RawRecord
from ferrisstreams.connectors.framing import CsvFraming
from ferrisstreams.formats.csv_fields import Field, FieldSplitter

#: A first line to be skipped: behind it, a byte order mark is nothing special to the engine's reader.
SKIPPED = b"-\n"

#: Bytes of a block that are split into lines at once.
_SLICE_BYTES = 4096
_RETURNS = re.compile(rb"\r+\n")
_MARKS = [chr(mark) for mark in range(1, 32) if chr(mark) not in "\t\n\r"]


class CsvRecords:
    def __init__(self, delimiter: str, quote: str) -> None:
        self._framing = CsvFraming(delimiter, quote)
        self._splitter = FieldSplitter(delimiter, quote)
        self._quote = quote.encode()
        sep, mark = re.escape(delimiter.encode()), re.escape(self._quote)
        plain = rb"(?! *%b)[^%b\r\n]*+" % (mark, sep)
        quoted = rb" *+%b(?>[^%b]+|%b%b)*+%b *+" % (mark, mark, mark, mark, mark)
        field = rb"(?>%b|%b)" % (quoted, plain)
        record = rb"%b(?>%b%b)*+" % (field, sep, field)
        self._sound = re.compile(record)
        self._sound_lines = re.compile(rb"(?>(?=[^%b\n]*+%b)%b\n)*+" % (mark, mark, record))
        self._marks = [mark for mark in _MARKS if mark not in (delimiter, quote)]
        self.quote = quote
        self.delimiter = delimiter.encode()

    def has_blank(self, data: bytes) -> bool:
        """Whether a line may be blank."""
        return data.startswith((b"\n", b"\r")) or b"\n\n" in data or b"\n\r" in data

    def split(self, record: bytes) -> list[Field] | None:
        """The fields of a record; None where a quote, a carriage return or a newline stands as it must not."""
        return self._splitter.split(record.decode(errors="replace"))

    def are_sound(self, joined: bytes, values: Iterable[bytes]) -> bool:
        """Whether each of the values, which are lines of `joined`, is one record as far as quotes tell."""
        return self._quote not in joined or all(self._sound.fullmatch(value) for value in values)

    def is_suspect(self, record: bytes) -> bool:
        """Whether `split` might give None."""
        return self._quote in record or b"\r" in record or b"\n" in record

    def unsound(self, data: bytes) -> list[tuple[int, int]]:
        """Start and end of the records in which quotes stand as they must not: only lines with quotes are looked at."""
        data = data if data.endswith(b"\n") else data + b"\n"
        found, done = [], 0
        while (quote := data.find(self._quote, done)) >= 0:
            start = data.rfind(b"\n", done, quote) + 1 or done
            match = self._sound_lines.match(data, start)
            done = match.end() if match else start
            if done == start:
                done = self._framing.record_end(data, start)
                found.append((start, done))
        return found

    def bare(self, data: bytes) -> list[bytes]:
        """Every record without its line end."""
        return [data[start:end].rstrip(b"\r\n") for start, end in self._framing.spans(data)]

    def as_lines(self, data: bytes) -> bytes:
        """`SKIPPED`, and then the records of a block with LF behind each. Blank lines stay where no quotes are."""
        if self._quote in data and (b"\r" in data or self.has_blank(data)):
            return lined(self.bare(data))
        lines = data.replace(b"\r\n", b"\n")
        return SKIPPED + (_RETURNS.sub(b"\n", lines) if b"\r\n" in lines else lines)

    def comment(self, data: bytes) -> str | None:
        """A character for comments, which the block does not have; empty where nothing needs a `stop`.

        None where it has them all.
        """
        if self._quote not in data:
            return ""
        return next((mark for mark in self._marks if mark.encode() not in data), None)

    def stop(self, data: bytes, comment: str, newline: bytes = b"\n") -> bytes:
        """What must follow a block with quotes: a comment, at which the engine's reader stumbles if it is within quotes
        there. It would drop what is behind the opening one without a word."""
        if not comment:
            return b""
        return (b"" if data.endswith(b"\n") else newline) + comment.encode() + self._quote + b"-" + newline

    def count(self, lines: bytes) -> int | None:
        """How many records stand in `as_lines` when none is blank; None where only the engine's reader knows."""
        return None if self._quote in lines else line_count(lines) - 1

    def raw(self, fetch: Fetch, data: bytes, rows: Sequence[int], are_lines: bool) -> list[RawRecord]:
        """The records with these ordinals (ascending): lines but for their newline, messages as they are."""
        if fetch.messages is not None:
            return [fetch.messages.record(row) for row in rows]
        if not rows:
            return []
        simple = are_lines or not (self._quote in data or self.has_blank(data))
        found = _lines_at(data, rows) if simple else self._spans_at(data, rows)
        return [
            RawRecord(record.removesuffix(b"\n"), fetch.offset + at, f"{fetch.origin} byte {fetch.offset + at}")
            for at, record in found
        ]

    def _spans_at(self, data: bytes, rows: Sequence[int]) -> list[tuple[int, bytes]]:
        spans = list(self._framing.spans(data))
        return [(spans[row][0], data[slice(*spans[row])]) for row in rows]


def lined(records: Sequence[bytes]) -> bytes:
    """The same as `CsvRecords.as_lines` of records that stand alone."""
    return b"\n".join([SKIPPED[:-1], *records, b""])


def line_count(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


def _lines_at(data: bytes, rows: Sequence[int]) -> list[tuple[int, bytes]]:
    """The lines with these numbers (ascending), and where they begin; only the slices that hold some are split."""
    found: list[tuple[int, bytes]] = []
    start, first, wanted = 0, 0, iter(rows)
    row = next(wanted, None)
    while row is not None:
        stop = data.find(b"\n", min(start + _SLICE_BYTES, len(data)) - 1) + 1 or len(data)
        count = data.count(b"\n", start, stop)
        if row < first + count or stop == len(data):
            lines = data[start:stop].split(b"\n")
            starts = [start, *(start + end for end in itertools.accumulate(len(line) + 1 for line in lines))]
            while row is not None and row < first + len(lines):
                found.append((starts[row - first], lines[row - first]))
                row = next(wanted, None)
                if stop < len(data) and row is not None and row >= first + count:
                    break
        start, first = stop, first + count
    return found
