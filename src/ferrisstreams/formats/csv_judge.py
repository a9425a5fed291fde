"""Which records of a block fail, and why: in one pass of the engine's reader over the block.

The reader gives every record that has the right number of fields, and tells the others in a table of its own; what is
wrong with a value, expressions over the texts say. A record whose quotes are wrong would take its neighbours with it,
so where there is one, such records are found first and left out.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch
from ferrisstreams.duck.engine import Connection, DataError, Rendered, column, render
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.csv_reader import SHOWN, WHICH, Block, CsvReader, record_bytes
from ferrisstreams.formats.csv_records import SKIPPED, CsvRecords, line_count, lined
from ferrisstreams.formats.diagnosis import Fault, column_fault, create_table, shortened_bytes, undecoded, utf8_fault
from ferrisstreams.formats.expressions import call, table_function
from ferrisstreams.formats.messages import csv_framed
from ferrisstreams.formats.reading import ReadColumn
from ferrisstreams.memory_file import MemoryFile

#: What the engine's reader calls a record after which it is not where we are.
_LOST = "UNQUOTED VALUE"
#: The reader notes every scan in a table, which is dropped when it has so many rows.
_SCANS_KEPT = 256
_numbers = itertools.count()
#: Parameters of the statement that numbers rows.
_COUNT, _MISSING = "count", "missing"


@dataclass(frozen=True, slots=True)
class _Lines:
    """What the engine's reader gets: `content` as lines, `count` records where that is known.

    `faults` are those of the records that it does not get, by ordinal.
    """

    content: bytes
    count: int | None
    faults: Mapping[int, Fault] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class _Reading:
    """How many records are in the table, and which of its rows are wrong: the place in `outcomes`, and the text.

    `rejected` are the places of the lines that are no records.
    """

    kept: int
    wrong: Sequence[tuple[int, int, str]]
    rejected: Sequence[int]


class CsvJudge:
    def __init__(
        self, connection: Connection, columns: Sequence[ReadColumn], reader: CsvReader, records: CsvRecords
    ) -> None:
        self._connection = connection
        self._columns = columns
        self._reader = reader
        self._records = records
        serial = next(_numbers)
        self._read, self._good, self._rejects = (f"_csv_{name}_{serial}" for name in ("read", "good", "rejects"))
        self._statements: dict[Block, Rendered] = {}
        self._reported = self._questions()
        self._stale, self._scans, self._has_view = False, 0, False
        #: Whether records with wrong quotes had to be left out of the last block.
        self._leaves_out = False
        #: The fetch of the last diagnosis, if each of its records is a line.
        self.of_lines: Fetch | None = None

    def diagnose(self, fetch: Fetch, data: bytes, file: MemoryFile, block: Block) -> Diagnosis:
        """`data` is what the fetch's block holds, `file` the place of `block`: it is written to."""
        lines, reading = self._kept(fetch, data, file, block)
        left_out = sorted(lines.faults)
        missing = sorted([*_ordinals(reading.rejected, left_out), *left_out])
        if missing:
            self._number_rows(reading.kept, missing)
        faults = dict(lines.faults)
        rows = _ordinals([row for row, _, _ in reading.wrong], missing)
        for row, (_, which, shown) in zip(rows, reading.wrong, strict=True):
            faults[row] = self._column_fault(which, shown)
        if not self._has_view:
            self._connection.execute(self._good_rows())
            self._has_view = True
        are_lines = fetch.messages is None and line_count(data) == reading.kept + len(missing)
        self.of_lines = fetch if are_lines else None
        failed = sorted({*missing, *faults})
        records = self._records.raw(fetch, data, failed, are_lines)
        letters = [
            undecoded(fetch, row, faults.get(row) or self._shape_fault(record.value or b"", block.fields.count), record)
            for row, record in zip(failed, records, strict=True)
        ]
        return Diagnosis(self._good, letters)

    def _kept(self, fetch: Fetch, data: bytes, file: MemoryFile, block: Block) -> tuple[_Lines, _Reading]:
        """What the reader was given in the end, and what it made of it."""
        for lines in self._readings(fetch, data):
            if (reading := self._reading(lines, file, block)) is not None:
                self._leaves_out = bool(lines.faults)
                return lines, reading
        places, records, faults = self._sound(fetch, data, block.fields.count)
        while True:
            lines = _Lines(lined(records), len(records), faults)
            if (reading := self._reading(lines, file, block)) is not None:
                return lines, reading
            refused = self._refused(records, file, block)
            reported = {places[at]: Fault("E2101", f"not readable: {shortened_bytes(records[at])}") for at in refused}
            faults |= reported
            places = [place for place in places if place not in reported]
            records = [record for at, record in enumerate(records) if at not in refused]

    def _readings(self, fetch: Fetch, data: bytes) -> Iterator[_Lines]:
        """What may do without a look at each record: the block as it is, and with its lines of wrong quotes left out.

        First what did for the block before."""
        comment = self._records.comment(data)
        if comment is None or not csv_framed(fetch, self._records):
            return
        may_leave_out = bool(comment) and fetch.messages is None and b"\r" not in data
        if may_leave_out and self._leaves_out:
            yield self._sound_lines(data)
        content = self._records.as_lines(data)
        yield _Lines(content + self._records.stop(content, comment), self._records.count(content), comment=comment)
        if may_leave_out and not self._leaves_out:
            yield self._sound_lines(data)

    def _sound_lines(self, data: bytes) -> _Lines:
        """The lines but those in which quotes stand as they must not."""
        faults, pieces, line, done = {}, [SKIPPED], 0, 0
        for start, end in self._records.unsound(data):
            line += data.count(b"\n", done, start)
            pieces.append(data[done:start])
            faults[line] = self._shape_fault(data[start:end], 0)
            line += 1
            done = end
        pieces.append(data[done:])
        # Where a record has several lines the sum is wrong, and the records are looked at.
        return _Lines(b"".join(pieces), line_count(data) - len(faults), faults)

    def _sound(self, fetch: Fetch, data: bytes, count: int) -> tuple[list[int], list[bytes], dict[int, Fault]]:
        """The records that the reader may see, their ordinals, and the faults of the others."""
        if fetch.messages is None:
            values: Sequence[bytes] = self._records.bare(data)
            most = len(data)
        else:
            values, most = fetch.messages.values, fetch.messages.value_bytes_max
        places, records, faults = [], [], {}
        for row, value in enumerate(values):
            record = value.rstrip(b"\r\n")
            fault = self._fault(value, record, most, count)
            if fault is None:
                places.append(row)
                # With one column a blank line is a message: that column is NULL.
                records.append(record or self._records.delimiter)
            else:
                faults[row] = fault
        return places, records, faults

    def _fault(self, value: bytes, record: bytes, most: int, count: int) -> Fault | None:
        if len(value) > most:
            return Fault("E2108", f"the record has {len(value)} bytes, more than max.record.bytes = {most}")
        if not record and count > 1:
            return self._shape_fault(record, count)
        if self._records.is_suspect(record) and self._records.split(record) is None:
            return self._shape_fault(record, count)
        return None

    def _shape_fault(self, value: bytes, count: int) -> Fault:
        """What is wrong with a record that is not one of `count` fields."""
        record = value.rstrip(b"\r\n")
        try:
            record.decode()
        except UnicodeDecodeError:
            return utf8_fault(record)
        fields = self._records.split(record)
        if fields is not None:
            return Fault("E2106", f"{len(fields)} columns, where {count} are expected: {shortened_bytes(record)}")
        why = "a quote that is not closed, or closed too early"
        if self._records.split(record.replace(b"\r", b"")) is not None:
            why = "a carriage return outside of quotes (lines end with LF or CRLF)"
        return Fault("E2101", f"{why}: {shortened_bytes(record)}")

    def _reading(self, lines: _Lines, file: MemoryFile, block: Block) -> _Reading | None:
        """Makes the table of what is read; None when the reader may have lost its place."""
        file.write(lines.content)
        block = replace(block, record_bytes=record_bytes(len(lines.content)), comment=lines.comment)
        if block not in self._statements:
            created = create_table(self._read, self._reader.judged(block, self._rejects))
            self._statements[block] = render(created)
        if self._stale:
            for table in (self._rejects, f"{self._rejects}_scans"):
                self._connection.execute(f"DROP TABLE IF EXISTS {table}")
        self._stale = True
        try:
            kept = int(str(self._connection.rows(self._statements[block])[0][0]))
        except DataError:
            return None
        reported = self._connection.rows(self._reported)
        wrong = [(int(str(row)), int(str(which)), str(shown)) for row, which, shown, kind in reported if kind is None]
        rejected = sorted({int(str(line)) - 1 - block.skip for line, _, _, kind in reported if kind is not None})
        self._scans += 1
        self._stale = bool(rejected) or self._scans % _SCANS_KEPT == 0
        lost = any(kind == _LOST for *_, kind in reported)
        if lost or (lines.count is not None and kept + len(rejected) != lines.count):
            return None
        return _Reading(kept, wrong, rejected)

    def _refused(self, records: Sequence[bytes], file: MemoryFile, block: Block) -> set[int]:
        """The records that the reader loses its place at, each asked alone in the end."""
        if self._reading(_Lines(lined(records), len(records)), file, block) is not None:
            return set()
        if len(records) == 1:
            return {0}
        middle = len(records) // 2
        first = self._refused(records[:middle], file, block)
        return first | {middle + at for at in self._refused(records[middle:], file, block)}

    def _number_rows(self, kept: int, missing: Sequence[int]) -> None:
        """Give the rows of the table the ordinals that are not missing."""
        self._connection.execute(self._numbered, {_COUNT: kept + len(missing), _MISSING: list(missing)})

    @cached_property
    def _numbered(self) -> Rendered:
        count, missing = (
            exp.cast(exp.Parameter(this=exp.var(name)), kind, dialect="duckdb")
            for name, kind in ((_COUNT, "BIGINT"), (_MISSING, "BIGINT[]"))
        )
        every = table_function("range", count, alias="_all")
        left = exp.not_(column("range").isin(query=exp.select(call("unnest", missing))))
        ordinals = exp.select(column("range").as_(ROW)).from_(every).where(left)
        others = exp.Column(this=exp.Star(except_=[exp.to_identifier(ROW)]), table=exp.to_identifier("_rows"))
        read = exp.select(column(ROW, "_ordinals"), others).from_(exp.to_table(self._read).as_("_rows"))
        read.append("joins", exp.Join(this=ordinals.subquery("_ordinals"), method="POSITIONAL"))
        return render(create_table(self._read, read))

    def _column_fault(self, which: int, shown: str) -> Fault:
        outcome = self._reader.outcomes[which]
        c = self._columns[outcome.place]
        return column_fault(c.name, c.described, outcome.code, shown)

    def _questions(self) -> Rendered:
        """What is wrong with rows of the table, and which lines the reader rejected."""
        columns: list[exp.Expr] = [column(ROW), column(WHICH), column(SHOWN), exp.cast(exp.null(), "VARCHAR")]
        wrong = exp.select(*columns).from_(self._read).where(column(WHICH).is_(exp.null()).not_())
        lines = exp.select(column("line"), exp.null(), exp.null(), column("error_type")).from_(self._rejects)
        return render(exp.union(wrong, lines, distinct=False))

    def _good_rows(self) -> exp.Create:
        """A view of the rows without fault."""
        values = exp.select(column(ROW), *(column(c.name) for c in self._columns)).from_(self._read)
        return exp.Create(
            this=exp.to_table(self._good),
            kind="VIEW",
            replace=True,
            properties=exp.Properties(expressions=[exp.TemporaryProperty()]),
            expression=values.where(column(WHICH).is_(exp.null())),
        )


def _ordinals(places: Sequence[int], missing: Sequence[int]) -> list[int]:
    """The ordinals of rows at these places among all but the missing ones (ascending)."""
    before = [row - index for index, row in enumerate(missing)]
    return [place + bisect_right(before, place) for place in places]
