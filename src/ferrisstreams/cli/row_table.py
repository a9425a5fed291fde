"""Rows of a SELECT alone as a table, a piece of it whenever some have come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TextIO

#: Rows that are held until a piece is printed, in which columns are as wide as these rows need.
_ROWS_MAX = 1_000

#: To this many characters a cell is cut where the table is wider than the terminal.
_CELL_MIN = 8

_GAP = "  "


class RowTable:
    """Takes JSON objects, one a line, and prints them to `out`. Where `columns` are too few for a table, each row is a
    block with a line a column; None: no limit."""

    def __init__(self, out: TextIO, columns: int | None) -> None:
        self._out = out
        self._columns = columns
        self._rest = b""
        self._rows: list[dict[str, object]] = []
        self._head: list[str] = []
        self._widths: list[int] = []

    def write(self, data: bytes | memoryview) -> int:
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        for start in range(0, len(lines), _ROWS_MAX):
            self._rows += map(json.loads, lines[start : start + _ROWS_MAX])
            if len(self._rows) >= _ROWS_MAX:
                self.flush()
        return len(data)

    def flush(self) -> None:
        """Print what has come."""
        rows, self._rows = self._rows, []
        if rows:
            self._out.write("\n".join(self._lines(rows)) + "\n")
        self._out.flush()

    def _lines(self, rows: Sequence[Mapping[str, object]]) -> list[str]:
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[_text(row.get(name)) for name in names] for row in rows]
        needed = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        if names == self._head:
            needed = [max(pair) for pair in zip(needed, self._widths, strict=True)]
        widths = self._fitted(needed)
        if widths is None:
            return [line for row in cells for line in (*_block(names, row), "")]
        numbers = [all(_is_number(row.get(name)) for row in rows) for name in names]
        lines = [_line(row, widths, numbers) for row in cells]
        if (names, widths) == (self._head, self._widths):
            return lines
        below = bool(self._head)
        self._head, self._widths = names, widths
        head = [_line(names, widths, numbers), _GAP.join("─" * width for width in widths)]
        return [*([""] if below else []), *head, *lines]

    def _fitted(self, needed: list[int]) -> list[int] | None:
        """Widths with which the table fits, the widest columns cut first; None: there are none."""
        if self._columns is None:
            return needed
        widths, left = list(needed), sum(needed) + len(_GAP) * (len(needed) - 1) - self._columns
        while left > 0:
            widest = max(range(len(widths)), key=widths.__getitem__)
            if widths[widest] <= _CELL_MIN:
                return None
            # All at once down to the second widest, which is as good as one character a time.
            others = [width for place, width in enumerate(widths) if place != widest]
            cut = min(left, widths[widest] - max(_CELL_MIN, min(max(others, default=0), widths[widest] - 1)))
            widths[widest] -= cut
            left -= cut
        return widths


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    cut = (cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(cells, widths, strict=True))
    aligned = (
        f"{cell:>{width}}" if number else f"{cell:<{width}}"
        for cell, width, number in zip(cut, widths, numbers, strict=True)
    )
    return _GAP.join(aligned).rstrip()


def _block(names: Sequence[str], cells: Sequence[str]) -> list[str]:
    width = max(map(len, names))
    return [f"{name:<{width}}{_GAP}{cell}" for name, cell in zip_longest(names, cells)]


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
