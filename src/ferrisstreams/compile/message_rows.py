"""Rows to messages: a value for each row and, where there is one, a key.

Values and keys leave the engine as one text each, a newline between two. A text that holds one itself, or that could be
taken for such a one, is written as NUL and its bytes in hexadecimal; NUL alone stands for no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import Headers, Messages, Payload
from ferrisstreams.compile.payload import LINE, Lines, Parameters, Written
from ferrisstreams.duck.engine import Connection, Statement, column
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.base import ROW, Encoder
from ferrisstreams.formats.expressions import data_type
from ferrisstreams.formats.json_text import JsonLinesEncoder
from ferrisstreams.formats.message_key import key_text
from ferrisstreams.formats.plain_text import plain_text
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.changes import DISAPPEARED
from ferrisstreams.schema import Schema

_KEY = "_message_key"
_NUL = b"\0"

#: The one header that an output record has from its input record: a trace goes through the job.
TRACE_HEADER = "traceparent"


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How rows become messages. `key` are output columns; without any, a stateless job hands on its records' keys.

    `chosen`: the author named the key, so that no column joins it.
    """

    key: tuple[str, ...] = ()
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class HeaderForm:
    """What the query does with headers: `values` are the name of each that it sets, the column that holds its value,
    and the column's type; `changed` are the names that it sets or removes, which no input record hands on."""

    values: tuple[tuple[str, str, str], ...] = ()
    changed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Beside:
    """What a message has beside its value. `carries`: which row each is of, to hand on what its record has."""

    key: exp.Expression | None
    headers: HeaderForm
    carries: bool


class MessageLines(Lines):
    """Values as lines, and what is beside them. `change` names the column that says of a row that it disappeared: its
    message has no value then.

    Raises SqlError E1102 for a header of a type that has no text.
    """

    def __init__(self, lines: Lines, beside: Beside, escapes: bool, change: str | None = None) -> None:
        super().__init__(_value(lines.line, escapes, change), lines.names, lines.timed)
        self._key = beside.key
        self._escapes = escapes or change is not None
        self._carries = beside.carries
        self._header_names = [name for name, _, _ in beside.headers.values]
        self._headers = [_header_text(name, type_) for _, name, type_ in beside.headers.values]

    def reduce(self, rows: exp.Select) -> exp.Select:
        made = super().reduce(rows)
        if self._key is not None:
            made = made.select(exp.alias_(_joined(column(_KEY)), "keys"))
        for place, header in enumerate(self._headers):
            made = made.select(exp.alias_(_joined(_lines_of(header.copy())), f"header{place}"))
        if self._carries:
            made = made.select(exp.alias_(_joined(_lines_of(exp.cast(column(ROW), "VARCHAR"))), "rows"))
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
            payload = replace(payload, data=b"", values=_texts(payload.data[:-1]))
        if self._key is not None:
            payload = replace(payload, keys=_keys(str(extra.pop(0)).encode()))
        if self._headers:
            values = [_texts(str(extra.pop(0)).encode()) for _ in self._headers]
            named = [tuple(zip(self._header_names, row, strict=True)) for row in zip(*values, strict=True)]
            payload = replace(payload, headers=named)
        lines = list(map(int, str(extra.pop(0)).split("\n"))) if self._carries else None
        return replace(written, payload=payload, lines=lines)

    def _lines(self, rows: exp.Select) -> exp.Select:
        """The rows with their values, without keys."""
        return super()._encoded(rows)

    def _encoded(self, rows: exp.Select) -> exp.Select:
        encoded = self._lines(rows)
        if self._key is None:
            return encoded
        # Of lines alone: a row that cannot be encoded has no key either.
        return exp.select("*", exp.alias_(_lines_of(escaped(self._key)), _KEY)).from_(
            encoded.subquery("keyed", copy=False)
        )


def key_expression(schema: Schema, names: Sequence[str]) -> exp.Expression:
    """The message key of a row as text, of these columns. Raises ConfigError E3002 for a name that is not a column of
    the output."""
    columns = []
    for name in names:
        found = next((c for c in schema if c.name == name), None) or next(
            (c for c in schema if c.name.lower() == name.lower()), None
        )
        if found is None:
            raise ConfigError(
                f"the message key {name} is not a column of the output ({', '.join(schema.names)})",
                "E3002",
                "select the column too, or leave 'key' out",
            )
        columns.append(found)
    return key_text(columns)


def with_keys(payload: Payload, messages: Messages, lines: Sequence[int]) -> Payload:
    """The payload with the keys of its rows' records, where it has none."""
    if payload.keys is not None or not messages.has_keys():
        return payload
    keys = messages.keys()
    return replace(payload, keys=[keys[row] for row in lines])


def with_traces(payload: Payload, messages: Messages, lines: Sequence[int]) -> Payload:
    """The payload with the header of a trace from its rows' records, before the headers that it has."""
    traces = [_trace(named) for named in messages.headers()] if messages.has_headers() else []
    if not any(traces):
        return payload
    own: Sequence[Headers] = payload.headers if payload.headers is not None else [()] * len(lines)
    return replace(payload, headers=[traces[row] + set_ for row, set_ in zip(lines, own, strict=True)])


def escapes(encoder: Encoder) -> bool:
    """Whether a line of this format may hold a newline. JSON's never does."""
    return not isinstance(encoder, JsonLinesEncoder)


def escaped(value: exp.Expr) -> exp.Expression:
    """The text as it can stand between newlines; NULL as NUL."""
    newline, nul = (function("chr", exp.Literal.number(code)) for code in (10, 0))
    hexadecimal = exp.DPipe(this=nul, expression=function("hex", value.copy()), safe=False)
    awkward = exp.or_(function("contains", value.copy(), newline), function("starts_with", value.copy(), nul.copy()))
    return exp.Case().when(value.copy().is_(exp.null()), nul.copy()).when(awkward, hexadecimal).else_(value.copy())


def _value(line: exp.Expression, escapes: bool, change: str | None) -> exp.Expression:
    """The line between newlines: NUL alone for no value, NULL for a row that cannot be encoded."""
    value = exp.Case().when(exp.not_(line.copy().is_(exp.null())), escaped(line)) if escapes else line
    if change is None:
        return value
    gone = column(change).eq(exp.Literal.string(DISAPPEARED))
    return exp.Case().when(gone, function("chr", exp.Literal.number(0))).else_(value)


def _joined(value: exp.Expression) -> exp.Expression:
    return function("string_agg", value, function("chr", exp.Literal.number(10)))


def _lines_of(value: exp.Expression) -> exp.Expression:
    return exp.Case().when(exp.not_(column(LINE).is_(exp.null())), value)


def _header_text(name: str, type_: str) -> exp.Expression:
    """A header's value between newlines: its text, or its bytes in hexadecimal behind NUL."""
    kind, value = data_type(type_), column(name)
    if kind.this != exp.DType.VARBINARY:
        return escaped(plain_text(kind, value, "a header"))
    nul = function("chr", exp.Literal.number(0))
    some = exp.DPipe(this=nul, expression=function("hex", value.copy()), safe=False)
    empty = value.copy().eq(exp.cast(exp.Literal.string(""), "BLOB"))
    return exp.Case().when(value.copy().is_(exp.null()), nul.copy()).when(empty, exp.Literal.string("")).else_(some)


def _keys(data: bytes) -> list[bytes | None] | None:
    keys = _texts(data)
    return keys if any(key is not None for key in keys) else None


def _texts(data: bytes) -> list[bytes | None]:
    """What stood between newlines; None for NUL alone."""
    if _NUL not in data:
        return list(data.split(b"\n"))
    return [None if text == _NUL else _plain(text) for text in data.split(b"\n")]


def _plain(value: bytes) -> bytes:
    return bytes.fromhex(value[1:].decode()) if value.startswith(_NUL) else value


def _trace(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if name == TRACE_HEADER)
