"""The rows of a case as the records of its stream's format, and as messages where the stream is a topic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC

from ferrisstreams.batch import Headers, RawRecord
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.plan.system_columns import system_columns
from ferrisstreams.testing.case import Content, RawRecords, StreamInput, Table
from ferrisstreams.testing.cells import Cell, json_text, moment_of
from ferrisstreams.testing.doubles import Records


def records_of(stream: StreamInput, spec: SourceSpec) -> Records:
    """The stream's rows as records. Of a topic, the columns `_key`, `_timestamp` and `_headers` (an object) of a table
    are those of the message; without them it has none, and no time."""
    types = {column.name.lower(): column.type for column in spec.schema}
    system = frozenset(column.name for column in system_columns(spec.schema, spec.properties))
    partitions = {name: _lines(content, types, system) for name, content in stream.partitions.items()}
    raw = [content for content in stream.partitions.values() if isinstance(content, RawRecords)]
    header = None
    if raw and raw[0].format == "csv" and _has_header(spec):
        header = next(iter(partitions.values()))[0]
        partitions = {name: lines[1:] for name, lines in partitions.items()}
    messages = {name: _messages(stream.partitions[name], lines) for name, lines in partitions.items()}
    return Records(partitions, header, messages if system else None)


def _has_header(spec: SourceSpec) -> bool:
    given = spec.properties.get("header")
    return given is None or str(given.value).lower() != "false"


def _lines(content: Content, types: Mapping[str, str], system: frozenset[str]) -> tuple[bytes, ...]:
    if isinstance(content, RawRecords):
        return content.records
    return tuple(
        (
            "{"
            + ", ".join(
                f"{json.dumps(name)}: {json_text(cell, types.get(name.lower(), 'VARCHAR'))}"
                for name, cell in zip(content.columns, row, strict=True)
                if name not in system
            )
            + "}"
        ).encode()
        for row in content.rows
    )


def _messages(content: Content, lines: Sequence[bytes]) -> tuple[RawRecord, ...]:
    columns = content.columns if isinstance(content, Table) else ()
    rows: Sequence[Sequence[Cell]] = content.rows if isinstance(content, Table) else [()] * len(lines)
    return tuple(
        _message(number, line, dict(zip(columns, row, strict=True)))
        for number, (line, row) in enumerate(zip(lines, rows, strict=True))
    )


def _message(number: int, value: bytes, cells: Mapping[str, Cell]) -> RawRecord:
    given = {name: cell.text for name, cell in cells.items() if not cell.is_null}
    return RawRecord(
        value=value,
        offset=number,
        position=f"offset {number}",
        key=given["_key"].encode() if "_key" in given else None,
        headers=_headers(given.get("_headers", "{}")),
        timestamp_ms=_milliseconds(given["_timestamp"]) if "_timestamp" in given else None,
    )


def _headers(text: str) -> Headers:
    return tuple((name, None if value is None else str(value).encode()) for name, value in json.loads(text).items())


def _milliseconds(text: str) -> int | None:
    """None for a text that is not a time: the message has none then."""
    moment = moment_of(text)
    return None if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)
