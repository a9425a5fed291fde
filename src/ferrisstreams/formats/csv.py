"""CSV: records with quoted fields, read by the engine's own reader from the memory file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord
from ferrisstreams.duck.engine import DataError, Engine, column
from ferrisstreams.errors import ConfigError, FatalConnectorError
from ferrisstreams.formats.csv_fields import FieldSplitter
from ferrisstreams.formats.csv_judge import CsvJudge
from ferrisstreams.formats.csv_reader import Block, CsvReader, Fields, record_bytes
from ferrisstreams.formats.csv_records import CsvRecords
from ferrisstreams.formats.expressions import any_of, call, data_type, text
from ferrisstreams.formats.json_text import unencodable
from ferrisstreams.formats.messages import csv_framed
from ferrisstreams.formats.plain_text import plain_text
from ferrisstreams.formats.reading import fetched_block, read_columns
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Schema

T = exp.DataType.Type

_BOM = b"\xef\xbb\xbf"
_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_NEVER_QUOTED = (
    *(T.TINYINT, T.SMALLINT, T.INT, T.BIGINT, T.INT128, T.UTINYINT, T.USMALLINT, T.UINT, T.UBIGINT, T.UINT128),
    *(T.BOOLEAN, T.DECIMAL, T.DOUBLE, T.FLOAT, T.DATE, T.TIME, T.UUID, *_TIMES),
)


class CsvDecoder:
    """With a header, columns are found by its names, in any order; others pass. Without one they stand in order.

    An unquoted empty field (and each of `nulls`) is NULL, a quoted one is text; in a file of one column both are NULL,
    because a blank line is not a record. Delimiters at a record's end pass. Records end with LF or CRLF, also mixed; a
    carriage return alone is a fault of its record. `scan` raises FatalConnectorError E4005 for a header that lacks a
    column.
    """

    def __init__(self, engine: Engine, schema: Schema, settings: DecodeSettings) -> None:
        _require_marks(settings.delimiter, settings.quote, settings.nulls)
        self._schema = schema
        self._settings = settings
        columns = read_columns(schema, settings, engine.work)
        self._reader = CsvReader(columns, settings)
        self._records = CsvRecords(settings.delimiter, settings.quote)
        self._splitter = FieldSplitter(settings.delimiter, settings.quote)
        self._names: tuple[bytes | None, Fields] | None = None
        self._scans: dict[Block, exp.Select] = {}
        self._judge = CsvJudge(engine.work, columns, self._reader, self._records)
        self._prepared: _Prepared | None = None
        #: Whether the judge is asked at once: the last batch that it saw had records that fail.
        self._expects_faults = False
        self._judged: tuple[Fetch, Diagnosis] | None = None
        self._good: exp.Select | None = None

    def scan(self, fetch: Fetch) -> exp.Select:
        fields = self._fields(fetch)
        if self._expects_faults:
            return self._scan_judged(fetch)
        form = self._form(fetch, fields)
        if form is None:
            raise DataError("records must be looked at one by one")
        file = fetched_block(fetch)
        block = Block(file.path, fields, record_bytes(file.length), form.newline, form.skip, form.comment)
        if block not in self._scans:
            self._scans[block] = self._reader.plain(block)
        return self._scans[block]

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        if self._judged is None or self._judged[0] is not fetch:
            self._judged = fetch, self._diagnosed(fetch)
            self._expects_faults = bool(self._judged[1].rejected)
        return self._judged[1]

    def _scan_judged(self, fetch: Fetch) -> exp.Select:
        """A scan of what the judge calls good. Raises DataError where some fail."""
        found = self.diagnose(fetch)
        if found.rejected:
            raise DataError("the judge has found records that fail")
        self._good = self._good or exp.select("*").from_(found.relation)
        return self._good

    def _diagnosed(self, fetch: Fetch) -> Diagnosis:
        file, data = fetched_block(fetch), self._data(fetch)
        block = Block(file.path, self._fields(fetch), record_bytes(file.length), skip=1)
        try:
            return self._judge.diagnose(fetch, data, file, block)
        finally:
            file.write(data)
            self._prepared = None

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        data = self._data(fetch) if fetch.messages is None else b""
        return self._records.raw(fetch, data, rows, are_lines=self._judge.of_lines is fetch)

    def _data(self, fetch: Fetch) -> bytes:
        """The block as the source gave it."""
        if self._prepared is None or self._prepared.fetch is not fetch:
            return fetched_block(fetch).read()
        prepared = self._prepared
        return fetched_block(fetch).read(0, prepared.length) if prepared.data is None else prepared.data

    def _form(self, fetch: Fetch, fields: Fields) -> _Form | None:
        """How the engine's reader is to read the block, which is prepared for it; None where records must be looked at
        first.

        The reader drops what is behind a quote that is not closed without a word, skips a byte order mark, takes a
        blank line as a row when there is one column, and has one kind of line end. Where that is not what the block
        holds, its records are written again as lines.
        """
        if self._prepared is not None and self._prepared.fetch is fetch:
            return self._prepared.form
        self._prepared = None
        file = fetched_block(fetch)
        if not csv_framed(fetch, self._records):
            return None
        quoted = file.holds(self._settings.quote.encode())
        data = file.read() if quoted or fields.count == 1 or file.holds(b"\r") else None
        newline = self._newline(file, data, fields)
        comment = self._records.comment(data) if data is not None else ""
        if comment is None:
            return None
        if newline is None:
            data = file.read() if data is None else data
            form = _Form("\\n", 1, comment)
            lines = self._records.as_lines(data)
            file.write(lines + self._records.stop(lines, comment))
            self._prepared = _Prepared(fetch, form, data, len(data))
        else:
            form = _Form("\\r\\n" if newline == b"\r\n" else "\\n", 0, comment)
            if data is not None and comment:
                self._prepared = _Prepared(fetch, form, None, file.length)
                file.append(self._records.stop(data, comment, newline))
        return form

    def _newline(self, file: MemoryFile, data: bytes | None, fields: Fields) -> bytes | None:
        """What ends every record; None where the records must be written again."""
        if file.read(0, min(len(_BOM), file.length)) == _BOM:
            return None
        if data is None:
            return b"\n"
        if fields.count == 1 and self._records.has_blank(data):
            return None
        returns = data.count(b"\r")
        if not returns:
            return b"\n"
        return b"\r\n" if data.count(b"\r\n") == data.count(b"\n") == returns else None

    def _fields(self, fetch: Fetch) -> Fields:
        """Where the declared columns stand in a record."""
        if not self._settings.header:
            return Fields(tuple(range(len(self._schema.names))), len(self._schema.names))
        if self._names is None or self._names[0] != fetch.header:
            self._names = fetch.header, self._match(fetch.header or b"", fetch.origin)
        return self._names[1]

    def _match(self, header: bytes, origin: str) -> Fields:
        if b"\r" in header and self._records.split(header) is None:
            raise FatalConnectorError(
                f"{origin} has a carriage return within its header: lines end with LF or CRLF",
                "E4005",
                "convert the file's line ends, as with: tr '\\r' '\\n'",
            )
        found = [field.text.strip() for field in self._splitter.split(header.decode(errors="replace")) or ()]
        result = []
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
            result.append(places[0])
        return Fields(tuple(result), len(found))


@dataclass(frozen=True, slots=True)
class _Form:
    """The line end as the engine's reader takes it, the lines to skip, and the character of comments."""

    newline: str
    skip: int
    comment: str


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A fetch whose block was written to: what it held is `data`, or its first `length` bytes."""

    fetch: Fetch
    form: _Form
    data: bytes | None
    length: int


class CsvEncoder:
    """Fields are quoted where they must be; NULL is `settings.null`, and text that reads like it is quoted.

    Values are written as in JSON, without the quotes around text; lists, structs and maps as JSON text. Where there is
    one column, a NULL that would be a blank line, which readers pass over, is an empty quoted field.
    """

    def __init__(self, settings: EncodeSettings) -> None:
        _require_marks(settings.delimiter, settings.quote, (settings.null,))
        self._settings = settings
        marks = (settings.delimiter, settings.quote)
        self._bare = settings.null == "" and not any(mark.isalnum() or mark in "+-.: " for mark in marks)

    def line(self, schema: Schema) -> exp.Expression:
        """Raises SqlError E1102 for a type that CSV cannot hold."""
        kinds = [(c.name, data_type(c.type)) for c in schema]
        fields: list[exp.Expr] = []
        null = self._settings.null or (self._settings.quote * 2 if len(kinds) == 1 else "")
        for name, kind in kinds:
            fields += [text(self._settings.delimiter), self._field(kind, column(name), text(null))]
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

    def _field(self, kind: exp.DataType, value: exp.Expr, null: exp.Expr) -> exp.Expr:
        """Never NULL."""
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


def _require_marks(delimiter: str, quote: str, nulls: Collection[str]) -> None:
    for key, mark in (("delimiter", delimiter), ("quote", quote)):
        if len(mark) != 1 or mark in "\r\n" or not mark.isascii():
            raise ConfigError(
                f"{key} = '{mark}' is not one ASCII character", "E3002", "give one character, such as , or ;"
            )
    if delimiter == quote:
        raise ConfigError("delimiter and quote are the same", "E3003", "give two different characters")
    for null in nulls:
        held = next((mark for mark in (delimiter, quote, "\r", "\n") if mark in null), None)
        if held is not None:
            what = {delimiter: "the delimiter", quote: "the quote"}.get(held, "a line end")
            raise ConfigError(
                f"nulls = {null!r} holds {what}: no unquoted field can read so",
                "E3003",
                "give a text without delimiter, quote and line ends, such as NA or \\N",
            )
