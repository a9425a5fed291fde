"""A file that is one JSON array, seen as lines: one element a line, every byte in its place.

The commas between elements and the closing bracket become newlines, newlines within elements become tabs (white space
where JSON allows it, and as wrong as a newline within a text). So an offset means the same in both.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from ferrisstreams.connectors.compression import BrokenContentError

#: Texts and what lies between them, unrolled: most of a file is passed over in long runs.
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_REST = rb'[^"{}\[\]]*+'
#: Objects nested deeper go through the slower way, bracket by bracket.
_FAST_DEPTH = 5


def _whole_element() -> re.Pattern[bytes]:
    inside = rb"%b(?:%b%b)*+" % (_REST, _TEXT, _REST)
    for _ in range(_FAST_DEPTH):
        inside = rb"%b(?:(?:%b|[{\[]%b[}\]])%b)*+" % (_REST, _TEXT, inside, _REST)
    return re.compile(rb"[ \t\r\n]*+\{%b\}[ \t\r\n]*+," % inside, re.DOTALL)


_WHOLE = _whole_element()
_MARK = re.compile(rb'["{}\[\],]')
_TEXT_MARK = re.compile(rb'["\\]')
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")
_HINT = "json_array is for a file that is one array; one object a line is 'format' = 'json'"
_SHOWN_BYTES = 20
_AS_LINES = bytes.maketrans(b"\n", b"\t")


class _State(Enum):
    BEFORE = auto()
    FIRST = auto()
    NEEDED = auto()
    ELEMENT = auto()
    TEXT = auto()
    ESCAPED = auto()
    DONE = auto()


class ArrayScanner:
    """Takes the bytes of the file piece by piece. `inside`: they begin behind a comma between elements.

    `edge` is the place behind the last such comma in the last piece, or 0. A blank file holds no elements.
    """

    def __init__(self, inside: bool) -> None:
        self._state = _State.NEEDED if inside else _State.BEFORE
        self._depth = 0
        self.edge = 0

    def scan(self, data: bytes) -> bytes:
        """The same number of bytes, as lines. Raises BrokenContentError."""
        out = bytearray(data.translate(_AS_LINES))
        at, self.edge = 0, 0
        while at < len(data):
            if self._state in (_State.FIRST, _State.NEEDED):
                at = self._fast(data, out, at)
            if at < len(data):
                at = self._slow(data, out, at)
        return bytes(out)

    def end(self) -> None:
        """Nothing follows. Raises BrokenContentError when the array is not closed."""
        if self._state not in (_State.BEFORE, _State.DONE):
            raise BrokenContentError("ends within its JSON array, which is not closed", _HINT)

    def _fast(self, data: bytes, out: bytearray, at: int) -> int:
        """Whole objects, each with the comma behind it."""
        start, whole = at, _WHOLE.match
        while (match := whole(data, at)) is not None:
            at = match.end()
            out[at - 1] = 10
        if at > start:
            self.edge = at
            self._state = _State.NEEDED
        return at

    def _slow(self, data: bytes, out: bytearray, at: int) -> int:
        """On to the next byte that means something."""
        match self._state:
            case _State.ESCAPED:
                self._state = _State.TEXT
                return at + 1
            case _State.TEXT:
                return self._skip_text(data, at)
            case _State.ELEMENT:
                return self._take_element(data, out, at)
        found = _NOT_SPACE.search(data, at)
        if found is None:
            return len(data)
        return self._skip_between(data, out, found.start())

    def _skip_between(self, data: bytes, out: bytearray, at: int) -> int:
        mark = data[at : at + 1]
        match self._state:
            case _State.BEFORE if mark == b"[":
                out[at] = 32
                self._state = _State.FIRST
                return at + 1
            case _State.BEFORE if at == 0 and data.startswith(b"\xef\xbb\xbf"):
                return 3
            case _State.FIRST if mark == b"]":
                out[at] = 10
                self._state = _State.DONE
                return at + 1
            case _State.FIRST | _State.NEEDED if mark not in (b",", b"]", b"}"):
                self._state = _State.ELEMENT
                self._depth = 0
                return at
            case _State.BEFORE:
                raise BrokenContentError(f"is not a JSON array: it begins with {_shown(data, at)}", _HINT)
            case _State.DONE:
                raise BrokenContentError(f"continues after the end of its JSON array: {_shown(data, at)}", _HINT)
        raise BrokenContentError(f"is not a JSON array: {mark.decode()} where an element should be", _HINT)

    def _skip_text(self, data: bytes, at: int) -> int:
        found = _TEXT_MARK.search(data, at)
        if found is None:
            return len(data)
        self._state = _State.ELEMENT if found[0] == b'"' else _State.ESCAPED
        return found.end()

    def _take_element(self, data: bytes, out: bytearray, at: int) -> int:
        found = _MARK.search(data, at)
        if found is None:
            return len(data)
        mark, place = found[0], found.start()
        match mark:
            case b'"':
                self._state = _State.TEXT
            case b"{" | b"[":
                self._depth += 1
            case b"," if self._depth == 0:
                out[place] = 10
                self.edge = found.end()
                self._state = _State.NEEDED
            case b"]" if self._depth == 0:
                out[place] = 10
                self._state = _State.DONE
            case b"}" if self._depth == 0:
                raise BrokenContentError("is not a JSON array: a closing brace without an opening one", _HINT)
            case b"}" | b"]":
                self._depth -= 1
        return found.end()


def _shown(data: bytes, at: int) -> str:
    """A little of what stands there, for messages."""
    text = data[at : at + _SHOWN_BYTES].decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
