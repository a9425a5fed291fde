"""What is wrong with a record, in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from ferrisstreams.batch import Fetch, RawRecord, Rejected
from ferrisstreams.errors import InternalError

_TEXT_LENGTH_MAX = 80


@dataclass(frozen=True, slots=True)
class Fault:
    code: str
    message: str


def undecoded(fetch: Fetch, row: int, fault: Fault, record: RawRecord) -> Rejected:
    """The record that does not decode, with what is wrong with it; `row` is its ordinal in the fetch."""
    return Rejected(
        value=record.value,
        code=fault.code,
        message=fault.message,
        stage="decode",
        partition=fetch.partition,
        offset=record.offset,
        position=record.position,
        row=row,
        key=record.key,
        headers=record.headers,
        timestamp_ms=record.timestamp_ms,
    )


def shortened(value: str) -> str:
    """At most 80 printable characters of a text, for messages."""
    if not value.isprintable():
        value = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value[:_TEXT_LENGTH_MAX])
    return value if len(value) <= _TEXT_LENGTH_MAX else value[: _TEXT_LENGTH_MAX - 1] + "…"


def shortened_bytes(value: bytes) -> str:
    return shortened(value[: 4 * _TEXT_LENGTH_MAX].decode(errors="backslashreplace"))


@lru_cache(maxsize=256)
def column_fault(name: str, described: str, code: str, value: str) -> Fault:
    """The fault of a column's value, which is given as text; `described` says what it should be."""
    match code:
        case "E2103":
            return Fault(code, f'duplicate key "{name}"')
        case "E2105":
            return Fault(code, f'column "{name}" is missing or null, but it is declared NOT NULL')
        case "E2109":
            return Fault(code, f'column "{name}" holds the event time, but it is missing or null')
    return Fault(code, f'column "{name}": {shortened(value)} is not {described}')


def utf8_fault(record: bytes) -> Fault:
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return Fault("E2107", f"not valid UTF-8 at byte {error.start} of the record: {shortened_bytes(record)}")
    raise InternalError("a record that the engine calls bad UTF-8 is not")


def create_table(name: str, query: exp.Select) -> exp.Create:
    """`CREATE OR REPLACE TEMP TABLE name AS query`."""
    return exp.Create(
        this=exp.to_table(name),
        kind="TABLE",
        replace=True,
        properties=exp.Properties(expressions=[exp.TemporaryProperty()]),
        expression=query,
    )
