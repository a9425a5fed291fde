"""The cells of a table in a test file: how values are written, read and compared.

A cell is a bare word, a JSON string in double quotes, or JSON in brackets. `NULL` is null. Times are `mm:ss` or
`hh:mm:ss` of the base day, or ISO 8601. `--` begins a comment.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum

#: Short times count from this day, a Monday.
BASE_DAY = datetime(2024, 1, 1)

#: Floats are compared to this relative difference.
FLOAT_TOLERANCE = 1e-9

_SHORT_TIME = re.compile(r"(?:(\d+):)?(\d+):(\d\d)(?:\.(\d{1,6}))?")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_BARE = re.compile(r'[^\s"\[\]{}]+')
_SAFE_WORD = re.compile(r'(?!--)[^\s"\[\]{}]+')
_JSON_DECODER = json.JSONDecoder(parse_float=Decimal)


class CellKind(Enum):
    BARE = "bare"
    STRING = "string"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Cell:
    """`text` is the word, the content of the string, or the JSON text."""

    kind: CellKind
    text: str

    @property
    def is_null(self) -> bool:
        return self.kind is CellKind.BARE and self.text == "NULL"


class CellError(Exception):
    """A line that is not a row of cells; `column` is from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


def split(line: str) -> list[Cell]:
    """The cells of a line, without its comment. Raises `CellError`."""
    cells: list[Cell] = []
    place = 0
    while True:
        while place < len(line) and line[place].isspace():
            place += 1
        if place == len(line) or line.startswith("--", place):
            return cells
        cell, stop = _cell(line, place)
        if stop < len(line) and not line[stop].isspace():
            raise CellError("a cell ends here, but no space follows", stop + 1)
        cells.append(cell)
        place = stop


def _cell(line: str, place: int) -> tuple[Cell, int]:
    if line[place] in '"[{':
        try:
            value, stop = _JSON_DECODER.raw_decode(line, place)
        except ValueError as error:
            raise CellError(f"not JSON: {error}", place + 1) from error
        return (Cell(CellKind.STRING, value) if isinstance(value, str) else Cell(CellKind.JSON, line[place:stop])), stop
    found = _BARE.match(line, place)
    if found is None:
        raise CellError(f"{line[place]!r} cannot begin a cell", place + 1)
    return Cell(CellKind.BARE, found.group()), found.end()


# -- cells to records


def json_text(cell: Cell, type_name: str) -> str:
    """The cell as JSON text for an input column of this type. A cell that does not fit its type goes through as a
    string, so that bad input can be written too."""
    if cell.is_null:
        return "null"
    if cell.kind is CellKind.JSON:
        return cell.text
    if cell.kind is CellKind.BARE:
        if type_name.startswith("TIMESTAMP"):
            moment = moment_of(cell.text)
            return json.dumps(cell.text if moment is None else moment.isoformat() + "Z")
        if type_name != "VARCHAR" and (_NUMBER.fullmatch(cell.text) or cell.text in ("true", "false")):
            return cell.text
    return json.dumps(cell.text, ensure_ascii=False)


def moment_of(text: str) -> datetime | None:
    """A short time or ISO 8601 text as a time in UTC; None when it is neither."""
    if short := _SHORT_TIME.fullmatch(text):
        hours, minutes, seconds, fraction = short.groups()
        micros = int((fraction or "").ljust(6, "0"))
        return BASE_DAY + timedelta(
            hours=int(hours or 0), minutes=int(minutes), seconds=int(seconds), microseconds=micros
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


# -- values to cells


def render(value: object) -> str:
    """A value as the text of a cell; `split` reads it back."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case datetime():
            return _render_moment(value)
        case str():
            word = _SAFE_WORD.fullmatch(value) and value != "NULL"
            return value if word else json.dumps(value, ensure_ascii=False)
        case list() | tuple() | dict():
            return _json(value)
        case _:
            return _scalar_text(value)


def _render_moment(value: datetime) -> str:
    moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if moment.date() != BASE_DAY.date():
        return moment.isoformat()
    short = moment.time().isoformat()
    return short.removeprefix("00:") if moment.hour == 0 else short


def _scalar_text(value: object) -> str:
    match value:
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case Decimal():
            return format(value, "f")
        case bytes():
            return base64.b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _json(value: object) -> str:
    match value:
        case Mapping():
            return "{" + ", ".join(f"{json.dumps(str(k))}: {_json(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(_json(each) for each in value) + "]"
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case datetime():
            return json.dumps(_render_moment(value))
        case int() | float() | Decimal():
            return _scalar_text(value)
        case _:
            return json.dumps(_scalar_text(value))


# -- comparing


def agrees(cell: Cell, value: object) -> bool:
    """Whether the expected cell is this value: floats to 1e-9, everything else exactly."""
    if cell.is_null or value is None:
        return cell.is_null and value is None
    match value:
        case float():
            return _floats_agree(_float(cell.text), value)
        case datetime():
            return moment_of(cell.text) == moment_of(_render_moment(value))
        case str():
            return cell.text == value
        case list() | tuple() | dict():
            return cell.kind is CellKind.JSON and _deep(_load(cell.text), _load(_json(value)))
        case _:
            return cell.text == render(value)


def _load(text: str) -> object:
    return json.loads(text, parse_float=Decimal)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _floats_agree(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=FLOAT_TOLERANCE, abs_tol=1e-12)


def _deep(one: object, other: object) -> bool:
    match one, other:
        case Mapping(), Mapping():
            return list(one) == list(other) and all(_deep(one[key], other[key]) for key in one)
        case Sequence(), Sequence() if not isinstance(one, str) and not isinstance(other, str):
            return len(one) == len(other) and all(_deep(a, b) for a, b in zip(one, other, strict=True))
        case (Decimal() | int(), Decimal() | int()) if not isinstance(one, bool) and not isinstance(other, bool):
            return _floats_agree(float(one), float(other))
        case _:
            return one == other


def layout(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in aligned columns, two spaces between them, without an indent."""
    lines = [[render(name) for name in header], *([render(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
