"""Rows of a benchmark and what can be wrong with them, as JSON and as CSV."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum

#: Gives the record with a number as text, without its newline; None for a message without a value.
Record = Callable[[int], str | None]

COLUMNS = "id BIGINT NOT NULL, name TEXT, price DOUBLE, qty INTEGER, ts TIMESTAMP, code TEXT"
QUERY = "SELECT id, name, price FROM s WHERE qty > 3"


class Format(Enum):
    JSON = "json"
    CSV = "csv"


class Fault(Enum):
    """What is wrong with a row."""

    MALFORMED = "malformed"
    WRONG_TYPE = "wrong type"
    MISSING = "missing NOT NULL"
    OVERFLOW = "overflow"
    DUPLICATE = "duplicate key"
    RAGGED = "ragged"
    CAST_IN_SELECT = "cast in SELECT"
    CAST_IN_WHERE = "cast in WHERE"

    def record(self, format_: Format) -> Record | None:
        """The row with this fault; None where the format cannot have it."""
        return (_JSON if format_ is Format.JSON else _CSV).get(self)

    @property
    def query(self) -> str:
        """A query in which it shows."""
        match self:
            case Fault.CAST_IN_SELECT:
                return "SELECT id, name, CAST(code AS INTEGER) AS code FROM s"
            case Fault.CAST_IN_WHERE:
                return "SELECT id, name, price FROM s WHERE CAST(code AS INTEGER) % 7 > 3"
        return QUERY


def json_record(row: int) -> str:
    """A sound row."""
    id_, name, price, qty, time, code = _fields(row)
    return f'{{"id":{id_},"name":"{name}","price":{price},"qty":{qty},"ts":"{time}","code":"{code}"}}'


def csv_record(row: int) -> str:
    """A sound row."""
    return ",".join(_fields(row))


def _fields(row: int) -> list[str]:
    time = f"2024-01-01T00:{row // 60 % 60:02}:{row % 60:02}Z"
    return [str(row), f"user{row % 1000}", f"{row % 500}.25", str(row % 7 + 1), time, str(row % 1000)]


def _json_with(key: str, value: object) -> Record:
    return lambda row: json.dumps({**json.loads(json_record(row)), key: value}, separators=(",", ":"))


def _csv_with(place: int, value: str) -> Record:
    def record(row: int) -> str:
        fields = _fields(row)
        return ",".join([*fields[:place], value, *fields[place + 1 :]])

    return record


_JSON: dict[Fault, Record] = {
    Fault.MALFORMED: lambda row: json_record(row)[:20],
    Fault.WRONG_TYPE: _json_with("qty", "many"),
    Fault.MISSING: lambda row: json_record(row).replace('"id"', '"no"'),
    Fault.OVERFLOW: _json_with("qty", 99_999_999_999),
    Fault.DUPLICATE: lambda row: json_record(row)[:-1] + ',"qty":1}',
    Fault.CAST_IN_SELECT: _json_with("code", "none"),
    Fault.CAST_IN_WHERE: _json_with("code", "none"),
}

_CSV: dict[Fault, Record] = {
    Fault.MALFORMED: _csv_with(1, '"user"7'),
    Fault.WRONG_TYPE: _csv_with(3, "many"),
    Fault.MISSING: _csv_with(0, ""),
    Fault.OVERFLOW: _csv_with(3, "99999999999"),
    Fault.RAGGED: lambda row: ",".join(_fields(row)[:4]),
    Fault.CAST_IN_SELECT: _csv_with(5, "none"),
    Fault.CAST_IN_WHERE: _csv_with(5, "none"),
}


def heartbeat(row: int) -> str:
    """A valid record without any declared key."""
    return f'{{"beat":{row},"at":"2024-01-01T00:00:00Z","host":"machine-{row % 10}","load":0.5,"state":"fine"}}'


def amount(row: int) -> str:
    return f'{{"id":{row},"amount":{row % 1000}.{row * 7919 % 100:02}}}'


def wide_amount(row: int) -> str:
    """An amount with more digits than a double has."""
    return f'{{"id":{row},"amount":{row % 1000}.{row * 7919:018}}}'


def pretty(row: int) -> str:
    """A record on several lines."""
    return json.dumps(json.loads(json_record(row)), indent=2)
