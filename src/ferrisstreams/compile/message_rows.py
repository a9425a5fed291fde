"""Rows to messages: a value for each row and, where there is one, a key.

Values and keys leave the engine as one text each, a newline between two. A text that holds one itself, or that could be
taken for such a one, is written as NUL and its bytes in hexadecimal; NUL alone stands for no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import Fetch, Headers, Payload
from ferrisstreams.compile.payload import LINE, Lines, Parameters, Written
from ferrisstreams.duck.engine import Connection, Statement, column
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.base import ROW, Encoder
from ferrisstreams.formats.expressions import data_type
from ferrisstreams.formats.json_text import JsonLinesEncoder, json_text
from ferrisstreams.operators.aggregates import function
from ferrisstreams.schema import Schema

_KEY = "_message_key"
_NUL = b"\0"

#: The one header that an output record has from its input record: a trace goes through the job.
TRACE_HEADER = "traceparent"


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How rows become messages. `key` are output columns; without any, a stateless job hands on its records' keys."""

    key: tuple[str, ...] = ()


class MessageLines(Lines):
    """Values as lines, and keys beside them. `carries`: which row each line is of, to hand on what its record has."""

    def __init__(self, lines: Lines, key: exp.Expression | None, escapes: bool, carries: bool) -> None:
        super().__init__(escaped(lines.line) if escapes else lines.line, lines.names, lines.timed)
        self._key = key
        self._escapes = escapes
        self._carries = carries

    def reduce(self, rows: exp.Select) -> exp.Select:
        made = super().reduce(rows)
        if self._key is not None:
            made = made.select(exp.alias_(_joined(column(_KEY)), "keys"))
        if self._carries:
            row = exp.Case().when(exp.not_(column(LINE).is_(exp.null())), exp.cast(column(ROW), "VARCHAR"))
            made = made.select(exp.alias_(_joined(row), "rows"))
        return made

    def run(self, work: Connection, statement: Statement, parameters: Parameters) -> Written:
        found = work.rows(statement, parameters)[0]
        extra = list(found[self.width :])
        written = self.written(found[: self.width])
        payload = written.payload
        if not payload.rows:
            return written
        assert isinstance(payload.data, bytes)
        if self._escapes and _NUL in payload.data:
            payload = replace(payload, data=b"", values=_unescaped(payload.data[:-1]))
        if self._key is not None:
            payload = replace(payload, keys=_keys(str(extra.pop(0)).encode()))
        lines = [int(row) for row in str(extra.pop(0)).split("\n")] if self._carries else None
        return replace(written, payload=payload, lines=lines)

    def _encoded(self, rows: exp.Select) -> exp.Select:
        encoded = super()._encoded(rows)
        if self._key is None:
            return encoded
        # Of lines alone: a row that cannot be encoded has no key either.
        key = exp.Case().when(exp.not_(column(LINE).is_(exp.null())), escaped(self._key))
        return exp.select("*", exp.alias_(key, _KEY)).from_(encoded.subquery("keyed", copy=False))


def key_expression(schema: Schema, names: Sequence[str]) -> exp.Expression:
    """The message key of a row as text: a single text column as it is, NULL for no key; anything else as JSON.

    Raises ConfigError E3002 for a name that is no column of the output.
    """
    columns = []
    for name in names:
        found = next((c for c in schema if c.name == name), None) or next(
            (c for c in schema if c.name.lower() == name.lower()), None
        )
        if found is None:
            raise ConfigError(
                f"the message key {name} is no column of the output ({', '.join(schema.names)})",
                "E3002",
                "select the column too, or leave 'key' out",
            )
        columns.append(found)
    if len(columns) > 1:
        return JsonLinesEncoder().line(Schema(tuple(columns)))
    (single,) = columns
    value = column(single.name)
    kind = data_type(single.type)
    if kind.this in (exp.DType.TEXT, exp.DType.VARCHAR):
        return value
    present = exp.not_(value.copy().is_(exp.null()))
    return exp.Case().when(present, json_text(kind, value))


def carried(payload: Payload, fetch: Fetch, lines: Sequence[int], key: bool) -> Payload:
    """The payload with what its rows' records hand on: their keys with `key`, and the header of a trace."""
    assert fetch.messages is not None
    keys, headers = payload.keys, payload.headers
    if key and payload.keys is None and fetch.messages.has_keys():
        own = fetch.messages.keys()
        keys = [own[row] for row in lines]
    if fetch.messages.has_headers():
        traces = [_trace(named) for named in fetch.messages.headers()]
        if any(traces):
            headers = [traces[row] for row in lines]
    return replace(payload, keys=keys, headers=headers)


def escapes(encoder: Encoder) -> bool:
    """Whether a line of this format may hold a newline. JSON's never does."""
    return not isinstance(encoder, JsonLinesEncoder)


def escaped(value: exp.Expression) -> exp.Expression:
    """The text as it can stand between newlines; NULL as NUL."""
    newline, nul = (function("chr", exp.Literal.number(code)) for code in (10, 0))
    hexadecimal = exp.DPipe(this=nul, expression=function("hex", value.copy()), safe=False)
    awkward = exp.or_(function("contains", value.copy(), newline), function("starts_with", value.copy(), nul.copy()))
    return exp.Case().when(value.copy().is_(exp.null()), nul.copy()).when(awkward, hexadecimal).else_(value.copy())


def _joined(value: exp.Expression) -> exp.Expression:
    return function("string_agg", value, function("chr", exp.Literal.number(10)))


def _keys(data: bytes) -> list[bytes | None] | None:
    if _NUL not in data:
        return list(data.split(b"\n"))
    keys = [None if key == _NUL else _plain(key) for key in data.split(b"\n")]
    return keys if any(key is not None for key in keys) else None


def _unescaped(data: bytes) -> list[bytes | None]:
    return [_plain(value) for value in data.split(b"\n")]


def _plain(value: bytes) -> bytes:
    return bytes.fromhex(value[1:].decode()) if value.startswith(_NUL) else value


def _trace(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if name == TRACE_HEADER)
