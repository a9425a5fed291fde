"""CSV: records with quoted fields, read by the engine's own reader from the memory file."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord
from ferrisstreams.connectors.framing import CsvFraming
from ferrisstreams.duck.engine import Engine, column
from ferrisstreams.errors import ConfigError, FatalConnectorError
from ferrisstreams.formats.csv_fields import FieldSplitter
from ferrisstreams.formats.csv_judge import CsvJudge
from ferrisstreams.formats.diagnosis import Diagnoser
from ferrisstreams.formats.expressions import any_of, call, data_type, number, table_function, text, type_map
from ferrisstreams.formats.json_text import unencodable
from ferrisstreams.formats.messages import csv_framed
from ferrisstreams.formats.plain_text import plain_text
from ferrisstreams.formats.reading import (
    RAW,
    fetched_block,
    guard,
    raw_records,
    read_columns,
    scan_nothing,
    select_rows,
)
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Schema

T = exp.DataType.Type

#: What the engine's reader takes as the longest record unless told otherwise.
_RECORD_BYTES = 2 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_NEVER_QUOTED = (
    *(T.TINYINT, T.SMALLINT, T.INT, T.BIGINT, T.INT128, T.UTINYINT, T.USMALLINT, T.UINT, T.UBIGINT, T.UINT128),
    *(T.BOOLEAN, T.DECIMAL, T.DOUBLE, T.FLOAT, T.DATE, T.TIME, T.UUID, *_TIMES),
)


class CsvDecoder:
    """With a header, columns are found by its names, in any order; others pass. Without one they stand in order.

    An unquoted empty field (and each of `nulls`) is NULL, a quoted one is text. What the engine's `read_csv` says of a
    record holds; a delimiter at a record's end passes. `scan` raises FatalConnectorError E4005 for a header that lacks
    a column.
    """

    def __init__(self, engine: Engine, schema: Schema, settings: DecodeSettings) -> None:
        _require_marks(settings.delimiter, settings.quote)
        self._schema = schema
        self._settings = settings
        self._columns = read_columns(schema, settings, engine.work)
        self._framing = CsvFraming(settings.delimiter, settings.quote)
        self._splitter = FieldSplitter(settings.delimiter, settings.quote)
        self._names: tuple[bytes | None, tuple[str, ...]] | None = None
        self._scans: dict[tuple[str, tuple[str, ...], int, str], exp.Select] = {}
        self._judge = CsvJudge(engine.work, self._columns, self._splitter, self._plain, ("", *settings.nulls))
        self._diagnoser = Diagnoser(engine.work, self._framing, self._judge)

    def scan(self, fetch: Fetch) -> exp.Select:
        block = fetched_block(fetch)
        names = self._file_names(fetch)
        if self._must_be_diagnosed(fetch, block, names):
            return scan_nothing(self._schema)
        key = block.path, names, _record_bytes(block.length), _newline(block)
        if key not in self._scans:
            self._scans[key] = self._select(*key)
        return self._scans[key]

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        self._judge.names = self._file_names(fetch)
        return self._diagnoser.run(fetch, fetched_block(fetch))

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        return raw_records(fetch, self._framing, rows)

    def _must_be_diagnosed(self, fetch: Fetch, block: MemoryFile, names: tuple[str, ...]) -> bool:
        """Where the engine's reader would not see the records as they are.

        It skips a byte order mark, drops a last record whose quote is not closed without a word, and takes a blank line
        as a row when there is one column.
        """
        if block.read(0, min(len(_BOM), block.length)) == _BOM:
            return True
        if not csv_framed(fetch, self._settings.quote):
            return True
        if fetch.caught_up and not self._framing.whole(block.read()):
            return True
        if len(names) > 1:
            return False
        data = block.read()
        return data.startswith((b"\n", b"\r")) or b"\n\n" in data or b"\n\r" in data

    def _file_names(self, fetch: Fetch) -> tuple[str, ...]:
        """The columns of the file in their order; those that are not declared have names that nobody asks for."""
        if not self._settings.header:
            return self._schema.names
        if self._names is None or self._names[0] != fetch.header:
            self._names = fetch.header, self._match(fetch.header or b"", fetch.origin)
        return self._names[1]

    def _match(self, header: bytes, origin: str) -> tuple[str, ...]:
        found = [field.text.strip() for field in self._splitter.split(header.decode(errors="replace")) or ()]
        names = [f"_column_{place}" for place in range(len(found))]
        for declared in self._schema.names:
            places = [i for i, name in enumerate(found) if name == declared]
            places = places or [i for i, name in enumerate(found) if name.lower() == declared.lower()]
            if len(places) != 1:
                what = "has no column" if not places else "has more than one column"
                raise FatalConnectorError(
                    f'{origin} {what} "{declared}": its header is {", ".join(found)}',
                    "E4005",
                    "declare the columns by the names of the header, or set header to false",
                )
            names[places[0]] = declared
        return tuple(names)

    def _plain(self, path: str, length: int) -> exp.Select:
        return self._select(path, self._judge.names, _record_bytes(length), "\\n", skip=1)

    def _select(self, path: str, names: Sequence[str], record_bytes: int, newline: str, skip: int = 0) -> exp.Select:
        raw_types = {c.name: c.raw_type for c in self._columns}
        reader = table_function(
            "read_csv",
            text(path),
            alias=RAW,
            auto_detect=exp.false(),
            header=exp.false(),
            skip=number(skip),
            parallel=exp.false(),
            compression=text("none"),
            delim=text(self._settings.delimiter),
            quote=text(self._settings.quote),
            escape=text(self._settings.quote),
            new_line=text(newline),
            nullstr=exp.Array(expressions=[text(value) for value in dict.fromkeys(("", *self._settings.nulls))]),
            allow_quoted_nulls=exp.false(),
            max_line_size=number(record_bytes),
            columns=type_map((name, raw_types.get(name, "VARCHAR")) for name in names),
        )
        conditions = [check.condition.copy() for c in self._columns for check in c.checks]
        return (
            select_rows([(c.name, c.value) for c in self._columns])
            .from_(reader)
            .where(guard(conditions, [c.raw for c in self._columns]))
        )


class CsvEncoder:
    """Fields are quoted where they must be; NULL is `settings.null`, and text that reads like it is quoted.

    Values are written as in JSON, without the quotes around text; lists, structs and maps as JSON text. A row of one
    column that is NULL is a blank line, which readers (ours too) pass over: choose another `null` for such a file.
    """

    def __init__(self, settings: EncodeSettings) -> None:
        _require_marks(settings.delimiter, settings.quote)
        self._settings = settings
        marks = (settings.delimiter, settings.quote)
        self._bare = settings.null == "" and not any(mark.isalnum() or mark in "+-.: " for mark in marks)

    def line(self, schema: Schema) -> exp.Expression:
        """Raises SqlError E1102 for a type that CSV cannot hold."""
        kinds = [(c.name, data_type(c.type)) for c in schema]
        fields: list[exp.Expr] = []
        for name, kind in kinds:
            fields += [text(self._settings.delimiter), self._field(kind, column(name))]
        line = call("concat", *fields[1:])
        failures = (unencodable(kind, column(name)) for name, kind in kinds)
        failed = any_of(failure for failure in failures if failure is not None)
        return line if failed is None else exp.Case(ifs=[exp.If(this=failed, true=exp.null())], default=line)

    def header(self, schema: Schema) -> bytes:
        if not self._settings.header:
            return b""
        return (self._settings.delimiter.join(self._header_field(name) for name in schema.names) + "\n").encode()

    def _header_field(self, name: str) -> str:
        quote = self._settings.quote
        plain = name and not any(mark in name for mark in (self._settings.delimiter, quote, "\n", "\r"))
        return name if plain else quote + name.replace(quote, quote * 2) + quote

    def _field(self, kind: exp.DataType, value: exp.Expr) -> exp.Expr:
        """Never NULL."""
        null = text(self._settings.null)
        if kind.this == T.NULL:
            return null
        value = plain_text(kind, value, "CSV")
        bare = self._bare and kind.this in _NEVER_QUOTED
        return exp.func("COALESCE", value if bare else self._quoted(value), null)

    def _quoted(self, value: exp.Expr) -> exp.Expr:
        """Quoted where it holds a mark, is empty, reads like NULL, or has spaces at an end, which readers may drop."""
        marks = "".join(
            f"\\x{{{ord(mark):x}}}" for mark in (self._settings.delimiter, self._settings.quote, "\n", "\r")
        )
        pattern = f"[^{marks} ](?:[^{marks}]*[^{marks} ])?"
        plain: exp.Expr = call("regexp_full_match", value.copy(), text(pattern))
        if self._settings.null:
            plain = exp.and_(plain, value.copy().neq(text(self._settings.null)))
        quote = self._settings.quote
        doubled = call("replace", value.copy(), text(quote), text(quote * 2))
        return exp.Case(
            ifs=[
                exp.If(this=value.copy().is_(exp.null()), true=exp.null()),
                exp.If(this=plain, true=value.copy()),
            ],
            default=call("concat", text(quote), doubled, text(quote)),
        )


def _require_marks(delimiter: str, quote: str) -> None:
    for key, mark in (("delimiter", delimiter), ("quote", quote)):
        if len(mark) != 1 or mark in "\r\n" or not mark.isascii():
            raise ConfigError(
                f"{key} = '{mark}' is not one ASCII character", "E3002", "give one character, such as , or ;"
            )
    if delimiter == quote:
        raise ConfigError("delimiter and quote are the same", "E3003", "give two different characters")


def _newline(block: MemoryFile) -> str:
    """How the first record ends; a block that mixes both goes through the diagnosis."""
    at = 0
    while at < block.length:
        piece = block.read(at, min(at + 4096, block.length))
        place = piece.find(b"\n")
        if place >= 0:
            before = block.read(at + place - 1, at + place) if at + place else b""
            return "\\r\\n" if before == b"\r" else "\\n"
        at += len(piece)
    return "\\n"


def _record_bytes(length: int) -> int:
    """A power of two, so that the statement's text seldom changes."""
    return 1 << length.bit_length() if length > _RECORD_BYTES else _RECORD_BYTES
