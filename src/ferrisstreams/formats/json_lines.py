"""JSON lines: one object a line, read by the engine's own reader from the memory file."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord
from ferrisstreams.connectors.framing import LineFraming
from ferrisstreams.duck.engine import Engine
from ferrisstreams.formats.diagnosis import Diagnoser
from ferrisstreams.formats.expressions import number, table_function, text, type_map
from ferrisstreams.formats.json_judge import JsonJudge
from ferrisstreams.formats.messages import json_framed
from ferrisstreams.formats.reading import (
    RAW,
    ReadColumn,
    fetched_block,
    guard,
    raw_records,
    read_columns,
    scan_nothing,
    select_rows,
)
from ferrisstreams.formats.settings import DecodeSettings
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
        judge = JsonJudge(engine.work, self._columns, self._plain)
        self._diagnoser = Diagnoser(engine.work, LineFraming(), judge)

    def scan(self, fetch: Fetch) -> exp.Select:
        block = fetched_block(fetch)
        if block.read(0, min(len(_BOM), block.length)) == _BOM or not json_framed(fetch):
            return scan_nothing(self._columns)
        key = block.path, _object_bytes(block.length)
        if key not in self._scans:
            self._scans[key] = self._scan(*key)
        return self._scans[key]

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        return self._diagnoser.run(fetch, fetched_block(fetch))

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        return raw_records(fetch, LineFraming(), rows)

    def _scan(self, path: str, object_bytes: int) -> exp.Select:
        alarms = self._alarms()
        if not any(c.required for c in self._columns):
            # A line `null` reads as a row of NULLs. So does `{}`, which the diagnosis lets pass.
            alarms.append(exp.and_(*(c.raw.is_(exp.null()) for c in self._columns)))
        return self._select(path, object_bytes, alarms)

    def _plain(self, path: str, length: int) -> exp.Select:
        """The scan of lines of which none is `null`."""
        return self._select(path, _object_bytes(length), self._alarms())

    def _alarms(self) -> list[exp.Expr]:
        alarms = [check.condition.copy() for c in self._columns for check in c.checks]
        return alarms + [c.inexact.copy() for c in self._columns if c.inexact is not None]

    def _select(self, path: str, object_bytes: int, alarms: list[exp.Expr]) -> exp.Select:
        watched = guard(alarms, [c.raw for c in self._columns])
        return select_rows(self._columns).from_(_reader(self._columns, path, object_bytes)).where(watched)


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
