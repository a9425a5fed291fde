"""JSON lines: one object a line, read by the engine's own reader from the memory file."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.batch import Fetch, RawRecord
from ferrisstreams.connectors.framing import LineFraming
from ferrisstreams.duck.engine import Engine
from ferrisstreams.errors import InternalError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.expressions import call, number, table_function, text, type_map
from ferrisstreams.formats.reading import RAW, ReadColumn, guard, read_columns
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Schema

#: What the engine's reader takes as the longest line unless told otherwise.
_OBJECT_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class JsonLinesDecoder:
    """What the engine's `read_json` says of a line, and what it would let pass: `null` lines and non-finite numbers.

    A byte order mark is the source's to skip; before any other record than a file's first it is malformed text.
    Decimals of more than 15 digits are exact: a value that a double cannot carry goes through the diagnosis.
    """

    def __init__(self, engine: Engine, schema: Schema, settings: DecodeSettings) -> None:
        self._engine = engine
        self._columns = read_columns(schema, settings, engine.work, through_double=True)
        self._scans: dict[tuple[str, int], exp.Select] = {}

    def scan(self, fetch: Fetch) -> exp.Select:
        block = _block(fetch)
        if block.read(0, min(len(_BOM), block.length)) == _BOM:
            return scan_nothing(self._columns)
        key = block.path, _object_bytes(block.length)
        if key not in self._scans:
            self._scans[key] = _scan(self._columns, *key)
        return self._scans[key]

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        return raw_records(fetch, LineFraming(), rows)


def raw_records(fetch: Fetch, framing: LineFraming, rows: Sequence[int]) -> list[RawRecord]:
    """The records with these ordinals, without their newline."""
    data = _block(fetch).read()
    spans = list(framing.spans(data))
    found = (spans[row] for row in rows)
    return [
        RawRecord(data[start:end].rstrip(b"\r\n"), fetch.offset + start, f"{fetch.origin} byte {fetch.offset + start}")
        for start, end in found
    ]


def scan_nothing(columns: Sequence[ReadColumn]) -> exp.Select:
    """A scan that raises: for a block that the engine's reader would take in another way than its records alone."""
    nulls = [exp.alias_(exp.cast(exp.null(), c.type, dialect="duckdb"), c.name, quoted=True) for c in columns]
    alarm = exp.cast(call("error", text("a block that must be diagnosed")), "BOOLEAN")
    return exp.select(exp.alias_(exp.cast(number(0), "BIGINT"), ROW), *nulls).where(alarm)


def _scan(columns: tuple[ReadColumn, ...], path: str, object_bytes: int) -> exp.Select:
    reader = _reader(columns, path, object_bytes)
    conditions = [check.condition.copy() for c in columns for check in c.checks]
    conditions += [c.inexact.copy() for c in columns if c.inexact is not None]
    if not any(c.required for c in columns):
        # A line `null` reads as a row of NULLs. So does `{}`, which the diagnosis lets pass.
        conditions.append(exp.and_(*(c.raw.is_(exp.null()) for c in columns)))
    return select_rows(columns).from_(reader).where(guard(conditions, [c.raw for c in columns]))


def select_rows(columns: Sequence[ReadColumn]) -> exp.Select:
    """`_row` and the values of the columns; over what, the caller says."""
    ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
    values = (exp.alias_(c.value.copy(), c.name, quoted=True) for c in columns)
    return exp.select(exp.alias_(ordinal, ROW), *values)


def _reader(columns: Sequence[ReadColumn], path: str, object_bytes: int) -> exp.Table:
    return table_function(
        "read_json",
        text(path),
        alias=RAW,
        format=text("newline_delimited"),
        records=text("true"),
        compression=text("none"),
        maximum_object_size=number(object_bytes),
        columns=type_map((c.name, c.raw_type) for c in columns),
    )


def _object_bytes(length: int) -> int:
    """A power of two, so that the statement's text seldom changes."""
    return max(_OBJECT_BYTES, 1 << length.bit_length()) if length > _OBJECT_BYTES else _OBJECT_BYTES


def _block(fetch: Fetch) -> MemoryFile:
    if not isinstance(fetch.records, MemoryFile):
        raise InternalError("this format reads bytes")
    return fetch.records
