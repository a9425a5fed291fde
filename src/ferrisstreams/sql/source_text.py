"""A text of SQL and the places in it: character offsets become lines and columns."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from ferrisstreams.errors import Position, SqlError


@dataclass(frozen=True, slots=True)
class Span:
    """Character offsets in the text: `start` to `stop` (not included)."""

    start: int
    stop: int

    def to(self, other: Span) -> Span:
        return Span(min(self.start, other.start), max(self.stop, other.stop))


@dataclass(frozen=True, slots=True)
class SourceText:
    """`text` as it stands in the file `path`. `starts` are the offsets at which its lines begin."""

    path: str
    text: str
    starts: tuple[int, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, path: str, text: str) -> SourceText:
        starts = [0]
        starts.extend(index + 1 for index, char in enumerate(text) if char == "\n")
        return cls(path, text, tuple(starts))

    def position(self, span: Span) -> Position:
        """Line and column of the span's start, with the line, cut to what is near in a very long one."""
        start = min(max(span.start, 0), len(self.text))
        line = bisect_right(self.starts, start)
        begin = self.starts[line - 1]
        stop = self.starts[line] - 1 if line < len(self.starts) else len(self.text)
        shown = self.text[begin:stop].rstrip("\r")
        length = max(1, min(span.stop, stop) - start)
        column = start - begin + 1
        if len(shown) > _LINE_CHARS_MAX:
            return Position(self.path, line, column, "", length)
        return Position(self.path, line, column, shown, length)

    def error(self, span: Span, message: str, code: str, hint: str | None = None) -> SqlError:
        return SqlError(message, code, hint, self.position(span))


def lowered(message: str) -> str:
    """A message of another's without its capital letter, unless it begins with a word in capitals."""
    return message if message[1:2].isupper() else message[:1].lower() + message[1:]


#: A longer line is not shown in errors: it would hide the message.
_LINE_CHARS_MAX = 400
