"""JSON lines: one object a line, read by the engine's own reader from the memory file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord, Rejected
from ferrisstreams.connectors.framing import LineFraming
from ferrisstreams.duck.engine import DataError, Engine, Rendered, column, render
from ferrisstreams.errors import InternalError
from ferrisstreams.formats.diagnosis import Fault, column_fault, shortened_bytes, undecoded, utf8_fault
from ferrisstreams.formats.expressions import any_of, call, number, table_function, text, type_map
from ferrisstreams.formats.json_columns import Form, JsonColumn, json_columns
from ferrisstreams.formats.json_judge import LINE, Failed, JsonJudge, Verdict, json_lines
from ferrisstreams.formats.json_keys import KeyWatch
from ferrisstreams.formats.messages import json_block
from ferrisstreams.formats.reading import RAW, fetched_block, guard, select_rows
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Schema

T = exp.DataType.Type

#: What the engine's reader takes as the longest line by default.
_OBJECT_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
#: Where more than one record in so many is in doubt, the next form has fewer doubts.
_DOUBTFUL_ONE_IN = 10
#: Batches that are judged at once, at most, before the plain scan is tried again.
_PATIENCE_MAX = 64


class JsonLinesDecoder:
    """What the engine's `read_json` says of a line, less what it lets pass: see `json_columns` for numbers, and lines
    that are no objects. The plain scan raises where a line fails or is in doubt, and the judge then says which.

    A byte order mark is the source's to skip; before any other record than a file's first it is malformed text.
    """

    def __init__(self, engine: Engine, schema: Schema, settings: DecodeSettings) -> None:
        self._columns = json_columns(schema, settings, engine.work)
        self._judge = JsonJudge(engine.work, self._columns)
        self._connection = engine.work
        self._scans: dict[tuple[str, int, Form, frozenset[str]], exp.Select] = {}
        self._form = _first_form(self._columns)
        #: Whether the judge is asked at once: the last batch had records that fail, or in doubt.
        self._expects_faults = False
        #: For how many batches more it is, and how many that will be after the next alarm without a reason.
        self._judged_first, self._patience = 0, 1
        self._judged: tuple[Fetch, Verdict] | None = None
        #: Whether the batch was the first in which some column is NULL.
        self._learned = False
        self._asked: tuple[list[str], Rendered] | None = None
        self._keys = KeyWatch(engine.work, schema)
        self._good: tuple[str, exp.Select] | None = None

    def scan(self, fetch: Fetch) -> exp.Select:
        block = fetched_block(fetch)
        if fetch.messages is not None:
            json_block(fetch.messages, block)
        self._keys.look(_lines(block), LINE, fetch.origin, block)
        if self._form is Form.EXACT or self._expects_faults or self._judged_first or _begins_with_mark(block):
            return self._scan_judged(fetch, block)
        key = block.path, _object_bytes(block.length), self._form, self._keys.never_null
        if key not in self._scans:
            self._scans[key] = self._scan(*key)
        return self._scans[key]

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        if self._judged is not None and self._judged[0] is fetch:
            verdict = self._judged[1]
        else:
            form = self._form
            verdict = self._verdict(fetch, fetched_block(fetch))
            if not verdict.failed and not self._learned and self._form is form:
                # A scan that raises is an attempt that failed: valid records of an odd kind must not go on doing so.
                self._judged_first, self._patience = self._patience, min(2 * self._patience, _PATIENCE_MAX)
        return Diagnosis(verdict.good, self._rejected(fetch, verdict.failed))

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        return list(_records(fetch, rows))

    def _scan_judged(self, fetch: Fetch, block: MemoryFile) -> exp.Select:
        """A scan of what the judge calls good. Raises DataError where some fail."""
        verdict = self._verdict(fetch, block)
        if verdict.failed:
            raise DataError("the judge has found records that fail")
        if self._good is None or self._good[0] != verdict.good:
            self._good = verdict.good, exp.select("*").from_(verdict.good)
        return self._good[1]

    def _verdict(self, fetch: Fetch, block: MemoryFile) -> Verdict:
        if fetch.messages is not None:
            json_block(fetch.messages, block)
        if _begins_with_mark(block):
            verdict = self._judge_behind_blank_line(block)
        else:
            verdict = self._judge.judge(block.path, _object_bytes(block.length), self._judged_form)
        self._learned = self._let_be_null(fetch, block, verdict)
        if not self._learned:
            self._choose_form(block, verdict)
        self._judged_first = max(self._judged_first - 1, 0)
        self._expects_faults = bool(verdict.failed or verdict.doubtful)
        self._judged = fetch, verdict
        return verdict

    def _let_be_null(self, fetch: Fetch, block: MemoryFile, verdict: Verdict) -> bool:
        """Whether columns are NULL that were not before. Raises FatalConnectorError E4009 where their keys are only
        spelled in other capitals."""
        names = sorted(self._keys.never_null)
        if not names:
            return False
        if self._asked is None or self._asked[0] != names:
            asked = [exp.func("bool_or", column(name).is_(exp.null())) for name in names]
            self._asked = names, render(exp.select(*asked).from_(verdict.good))
        (row,) = self._connection.rows(self._asked[1])
        nulls = [name for name, is_null in zip(names, row, strict=True) if is_null]
        if nulls:
            self._keys.let_be_null(nulls, _lines(block), LINE, fetch.origin)
        return bool(nulls)

    def _judge_behind_blank_line(self, block: MemoryFile) -> Verdict:
        """There a byte order mark is nothing special."""
        data = block.read()
        block.write(b"\n" + data)
        try:
            return self._judge.judge(block.path, _object_bytes(block.length), self._judged_form)
        finally:
            block.write(data)

    @property
    def _judged_form(self) -> Form:
        """Large whole numbers are in doubt in the quick form, and need not be read exactly for that."""
        return Form.WIDE if self._form is Form.QUICK else self._form

    def _choose_form(self, block: MemoryFile, verdict: Verdict) -> None:
        """The form for the batches to come: one that has fewer doubts, or takes no boolean for a number."""
        if self._form in (Form.SPELLED, Form.EXACT):
            return
        if verdict.doubtful * _DOUBTFUL_ONE_IN > verdict.rows:
            self._form = Form.SPELLED
        elif not verdict.failed and not verdict.doubtful:
            data = block.read()
            if b"true" in data or b"false" in data:
                self._form = Form.SPELLED
            elif any(c.large(self._form) is not None for c in self._columns):
                self._form = Form.WIDE

    def _scan(self, path: str, object_bytes: int, form: Form, never_null: frozenset[str]) -> exp.Select:
        alarms = [condition for c in self._columns for condition in _alarms(c, form)]
        alarms += [c.raw.is_(exp.null()) for c in self._columns if c.name in never_null and c.missing_code is None]
        alarms += self._text_alarm(path, form)
        watched = guard(alarms, [c.raw for c in self._columns])
        values = [(c.name, c.value(form)) for c in self._columns]
        rows = select_rows(values).from_(_reader(self._columns, path, object_bytes, form), copy=False)
        return rows.where(watched, copy=False)

    def _text_alarm(self, path: str, form: Form) -> list[exp.Expr]:
        """What the reader passes over and only the text of the block tells: booleans where numbers are declared,
        fractions lost in whole numbers, and the line `null`, a row of NULLs to the reader. It costs a tenth of what the
        reader does."""
        content = exp.column("content")
        signs = list(dict.fromkeys(sign for c in self._columns for sign in c.near_whole(form, content)))
        if form is not Form.SPELLED and any(c.has_numbers for c in self._columns):
            signs += [call("contains", content.copy(), text(word)) for word in ("true", "false")]
        if all(c.missing_code is None for c in self._columns):
            signs.append(call("starts_with", call("ltrim", call("left", content.copy(), number(99))), text("null")))
            begins = ("\nnull", "\n ", "\n\t", "\n\v", "\n\f", "\n\rnull")
            signs += [call("contains", content.copy(), text(begin)) for begin in begins]
        large = any_of(condition for c in self._columns if (condition := c.large(form)) is not None)
        point = call("contains", content.copy(), text("."))
        cases = [(any_of(signs), exp.true()), (None if large is None else point, large)]
        known = [(condition, alarm) for condition, alarm in cases if condition is not None]
        if not known:
            return []
        which = exp.Case(ifs=[exp.If(this=condition, true=number(i)) for i, (condition, _) in enumerate(known)])
        found = exp.select(which).from_(table_function("read_text", text(path), alias="block")).subquery()
        return [exp.Case(this=found, ifs=[exp.If(this=number(i), true=alarm) for i, (_, alarm) in enumerate(known)])]

    def _rejected(self, fetch: Fetch, failed: Sequence[Failed]) -> list[Rejected]:
        # One by one: where every record fails, this is what takes memory.
        records = _records(fetch, [one.row for one in failed])
        return [
            undecoded(fetch, one.row, _fault(fetch, one, record.value or b""), record)
            for one, record in zip(failed, records, strict=True)
        ]


def _records(fetch: Fetch, rows: Sequence[int]) -> Iterator[RawRecord]:
    """The original records of these ordinals (ascending)."""
    if fetch.messages is not None:
        yield from map(fetch.messages.record, rows)
        return
    data = fetched_block(fetch).read()
    for start, end in LineFraming().chosen(data, rows):
        at = fetch.offset + start
        yield RawRecord(data[start:end].removesuffix(b"\n"), at, f"{fetch.origin} byte {at}")


def _first_form(columns: Sequence[JsonColumn]) -> Form:
    if any(c.always_doubtful for c in columns):
        return Form.EXACT
    return Form.SPELLED if any(c.kind.this == T.BOOLEAN for c in columns) else Form.QUICK


def _begins_with_mark(block: MemoryFile) -> bool:
    return block.read(0, min(len(_BOM), block.length)) == _BOM


def _alarms(c: JsonColumn, form: Form) -> list[exp.Expr]:
    """What the judge must be asked about: values that are none, and values in doubt."""
    return [alarm for alarm in (c.missing(), c.failure(form), c.doubt(form)) if alarm is not None]


def _fault(fetch: Fetch, failed: Failed, value: bytes) -> Fault:
    if fetch.messages is not None and len(value) > (most := fetch.messages.value_bytes_max):
        return Fault("E2108", f"the record has {len(value)} bytes, more than max.record.bytes = {most}")
    if failed.column is not None:
        return column_fault(failed.column.name, failed.column.described, failed.code, failed.value)
    match failed.code:
        case "E2102":
            return Fault(failed.code, f"not an object: {shortened_bytes(value)}")
        case "E2101":
            try:
                value.decode()
            except UnicodeDecodeError:
                return utf8_fault(value)
            return Fault(failed.code, f"malformed JSON: {shortened_bytes(value)}")
    raise InternalError(f"{failed.code} is not a fault of a line")


def _reader(columns: Sequence[JsonColumn], path: str, object_bytes: int, form: Form) -> exp.Table:
    return table_function(
        "read_json",
        text(path),
        alias=RAW,
        format=text("newline_delimited"),
        records=text("true"),
        compression=text("none"),
        maximum_object_size=number(object_bytes),
        columns=type_map((c.name, c.raw_type(form)) for c in columns),
    )


def _lines(block: MemoryFile) -> exp.Select:
    return json_lines(block.path, _object_bytes(block.length))


def _object_bytes(length: int) -> int:
    """A power of two, so that the statement's text seldom changes."""
    return max(_OBJECT_BYTES, 1 << length.bit_length()) if length > _OBJECT_BYTES else _OBJECT_BYTES
