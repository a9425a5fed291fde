"""Names of the files that a rotated output is spread over: a number, and parts of the time at which a file began."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: What a file is called until its epoch is decided.
PENDING = ".pending"
_NUMBER = re.compile(r"\{n(?::0?(\d+))?\}")
#: The parts of a time that a name may hold, and how they look.
_TIME_PARTS = {"Y": r"\d{4}", "m": r"\d\d", "d": r"\d\d", "H": r"\d\d", "M": r"\d\d", "S": r"\d\d", "j": r"\d{3}"}
_PIECE = re.compile(r"\{n(?::0?\d+)?\}|%.")


class OutputNames:
    """`pattern` is a path with `{n}` (or `{n:06}`) and parts as of strftime, such as `%Y-%m-%d`.

    Raises ValueError with what is wrong.
    """

    def __init__(self, pattern: str) -> None:
        if len(_NUMBER.findall(pattern)) != 1:
            raise ValueError("a path that rotates has {n} in it once: the number of the file")
        for piece in re.findall(r"%(.?)", pattern):
            if piece not in _TIME_PARTS:
                known = ", ".join(f"%{part}" for part in _TIME_PARTS)
                raise ValueError(f"%{piece} is not known; the parts of a time are {known}")
        self.pattern = pattern
        self._shape = re.compile(_regex(pattern))

    @property
    def wild(self) -> str:
        """A glob of the files."""
        return "".join("*" if _PIECE.fullmatch(piece) else glob.escape(piece) for piece in _pieces(self.pattern))

    @property
    def folder(self) -> str:
        """The folder above the first part of the pattern that is not fixed."""
        folder = os.path.dirname(self.pattern)
        while _PIECE.search(folder):
            folder = os.path.dirname(folder)
        return folder

    @property
    def claimed(self) -> str:
        """What stands for all the files where a job claims them."""
        names = "".join("*" if _PIECE.fullmatch(piece) else piece for piece in _pieces(self.name(self.pattern)))
        return os.path.join(os.path.realpath(self.folder), names.replace(os.sep, "*"))

    def matches(self, path: str) -> bool:
        """Whether the path could be one of the files."""
        return self._shape.fullmatch(path) is not None

    def name(self, path: str) -> str:
        """The path relative to that folder, which stays when the folder is moved."""
        return os.path.relpath(path, self.folder)

    def located(self, name: str) -> str:
        """Where the file of this name is. An absolute one is of a state of before, when marks had paths: its last parts
        are the name."""
        if os.path.isabs(name):
            depth = len(Path(self.name(self.pattern)).parts)
            name = os.path.join(*Path(name).parts[-depth:])
        return os.path.join(self.folder, name)

    @property
    def sorts(self) -> bool:
        """Whether the order of names is that of the numbers: they are as wide as `{n:06}` says."""
        return any(int(width or 0) > 1 for width in _NUMBER.findall(self.pattern))

    def path(self, number: int, now_us: int) -> str:
        """The file with this number (from 1), begun at this time (UTC)."""
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)
        named = _NUMBER.sub(lambda match: str(number).zfill(int(match[1] or 0)), self.pattern)
        return re.sub(r"%(.)", lambda match: now.strftime(match[0]), named)

    def existing(self) -> Iterator[str]:
        """Files there are, in name order; pending ones too, by their final name with `.pending`."""
        for path in sorted({*glob.glob(self.wild), *glob.glob(self.wild + PENDING)}):
            if self._shape.fullmatch(path.removesuffix(PENDING)):
                yield path

    def last_number(self) -> int:
        """The greatest number of the files there are; 0: none."""
        found = (self._shape.fullmatch(path.removesuffix(PENDING)) for path in self.existing())
        return max((int(match[1]) for match in found if match is not None), default=0)


def is_pattern(path: str) -> bool:
    """Whether a path asks for rotation."""
    return _NUMBER.search(path) is not None or any(f"%{part}" in path for part in _TIME_PARTS)


def _regex(pattern: str) -> str:
    def expression(piece: str) -> str:
        if _NUMBER.fullmatch(piece):
            return r"(\d+)"
        return _TIME_PARTS[piece[1]] if _PIECE.fullmatch(piece) else re.escape(piece)

    return "".join(map(expression, _pieces(pattern)))


def _pieces(pattern: str) -> list[str]:
    """The pattern cut at its placeholders, which stay as pieces of their own."""
    pieces, at = [], 0
    for match in _PIECE.finditer(pattern):
        pieces += [pattern[at : match.start()], match[0]]
        at = match.end()
    return [*pieces, pattern[at:]]
