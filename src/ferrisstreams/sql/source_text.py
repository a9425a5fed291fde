"""A text of SQL and the places in it: character offsets become lines and columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from ferrisstreams.config.secrets import MASK, secret_spans
from ferrisstreams.errors import Position, SqlError


@dataclass(frozen=True, slots=True)
class Span:
    """Character offsets in the text: `start` to `stop` (not included)."""

    start: int
    stop: int

    def through(self, other: Span) -> Span:
        return Span(min(self.start, other.start), max(self.stop, other.stop))


@dataclass(frozen=True, slots=True)
class SourceText:
    """`text` as it stands in the file `path`. `starts` are the offsets at which its lines begin, `secrets` where the
    values of secret settings stand, which are shown nowhere."""

    path: str
    text: str
    starts: tuple[int, ...] = field(default=(), compare=False)
    secrets: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    @classmethod
    def from_text(cls, path: str, text: str) -> SourceText:
        starts = [0]
        starts.extend(index + 1 for index, char in enumerate(text) if char == "\n")
        return cls(path, text, tuple(starts), tuple(secret_spans(text)))

    def position(self, span: Span) -> Position:
        """Line and column of the span's start, with the line as it may be shown; without it where it is very long."""
        start = min(max(span.start, 0), len(self.text))
        line = bisect_right(self.starts, start)
        begin = self.starts[line - 1]
        stop = self.starts[line] - 1 if line < len(self.starts) else len(self.text)
        shown = self.text[begin:stop].rstrip("\r")
        length = max(1, min(span.stop, stop) - start)
        column = start - begin + 1
        if len(shown) > _LINE_CHARS_MAX:
            return Position(self.path, line, column, "", length)
        hidden = [(a - begin, b - begin) for a, b in self.secrets if a < stop and b > begin]
        if not hidden:
            return Position(self.path, line, column, shown, length)
        masked = _Masked(shown, hidden)
        caret = masked.place(start - begin)
        marked = max(1, masked.place(start - begin + length) - caret)
        return Position(self.path, line, column, masked.text, marked, caret + 1)

    def error(self, span: Span, message: str, code: str, hint: str | None = None) -> SqlError:
        shown = self.mask_secrets(hint) if hint is not None else None
        return SqlError(self.mask_secrets(message), code, shown, self.position(span))

    def mask_secrets(self, message: str) -> str:
        """A message that may quote the text."""
        for start, stop in self.secrets:
            secret = self.text[start:stop]
            message = message.replace(f"'{secret}'", f"'{MASK}'")
            if len(secret) >= _SECRET_CHARS_MIN:
                message = message.replace(secret, MASK)
        return message


class _Masked:
    """A line with its secrets masked, and where its places have gone."""

    def __init__(self, line: str, hidden: Sequence[tuple[int, int]]) -> None:
        self._moved: list[tuple[int, int, int]] = []
        self.text, done = "", 0
        for start, stop in hidden:
            start, stop = max(start, done), min(max(stop, done), len(line))
            self.text += line[done:start]
            self._moved.append((start, stop, len(self.text)))
            self.text += MASK
            done = stop
        self.text += line[done:]

    def place(self, at: int) -> int:
        """Where the place `at` of the line is in `text`; within a secret, at its mask."""
        shift = 0
        for start, stop, shown in self._moved:
            if at < start:
                break
            if at < stop:
                return shown
            shift = shown + len(MASK) - stop
        return at + shift


def lowered(message: str) -> str:
    """A message of another's without its capital letter, unless it begins with a word in capitals."""
    return message if message[1:2].isupper() else message[:1].lower() + message[1:]


#: A longer line is not shown in errors: it would hide the message.
_LINE_CHARS_MAX = 400
#: A shorter secret is hidden in a message only where it is quoted: it may be a part of any word.
_SECRET_CHARS_MIN = 4
