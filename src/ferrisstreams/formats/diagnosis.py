"""Which records of a block fail: in pieces, and for a piece that fails by judging its records.

The plain reader has the last word on every record that is kept: a kept record has passed it. The judge says which of
a piece's records it would refuse and why, looking at each alone; it is made of the same checks (`reading`). So the cost
is one pass of the plain reader, and one of the judge over the pieces that hold a bad record.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, Rejected
from ferrisstreams.connectors.framing import Framing
from ferrisstreams.duck.engine import Connection, DataError, arrow_table, column
from ferrisstreams.errors import InternalError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.reading import raw_records
from ferrisstreams.memory_file import MemoryFile

#: Records of one piece: two of the engine's vectors, so that one bad record costs the judge 4096 and not the block.
_PIECE_RECORDS = 4096
_TEXT_LENGTH_MAX = 80
_COUNTED, _PLACE = "_counted", "_place"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Fault:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """`faults` by place in the piece. `settled_rows` are places of good rows that the plain reader must not see; the
    SELECT `settled` gives them, with their places as `_row`."""

    faults: Mapping[int, Fault]
    settled: exp.Select | None = None
    settled_rows: frozenset[int] = frozenset()


class Judge(Protocol):
    def suspects(self, records: Sequence[bytes]) -> bool:
        """True when the plain reader alone may not be asked about these records."""

    def judge(self, records: Sequence[bytes]) -> Judgement:
        """What is wrong with the records, each looked at alone. Places count from 0."""

    def lines(self, records: Sequence[bytes]) -> bytes:
        """A block of these records that the plain reader sees as they are."""

    def plain(self, path: str, length: int) -> exp.Select:
        """The plain reader over such a block."""


class Diagnoser:
    """Diagnoses the fetches of one source; its relation holds the last one's good rows, in order."""

    def __init__(self, connection: Connection, framing: Framing, judge: Judge) -> None:
        self._connection = connection
        self._framing = framing
        self._judge = judge
        number = next(_numbers)
        self._relation = f"_good_{number}"
        self._staging = f"_staged_{number}"
        self._places = f"_places_{number}"

    def run(self, fetch: Fetch, block: MemoryFile) -> Diagnosis:
        """The block is overwritten meanwhile, and holds the same bytes again afterwards."""
        data = block.read()
        records, faults = self._records(fetch, data)
        self._connection.execute(f"DROP TABLE IF EXISTS {self._staging}")
        try:
            self._create_staging(block)
            left = [place for place in range(len(records)) if place not in faults]
            for first in range(0, len(left), _PIECE_RECORDS):
                faults |= self._piece(block, records, left[first : first + _PIECE_RECORDS])
        finally:
            block.write(data)
        ordered = exp.select("*").from_(self._staging).order_by(column(ROW))
        self._connection.execute(create_table(self._relation, ordered))
        failed = sorted(faults)
        rejected = [
            Rejected(
                value=record.value,
                code=faults[place].code,
                message=faults[place].message,
                stage="decode",
                partition=fetch.partition,
                offset=record.offset,
                position=record.position,
                row=place,
                key=record.key,
                headers=record.headers,
                timestamp_ms=record.timestamp_ms,
            )
            for place, record in zip(failed, raw_records(fetch, self._framing, failed), strict=True)
        ]
        return Diagnosis(self._relation, rejected)

    def _records(self, fetch: Fetch, data: bytes) -> tuple[list[bytes], dict[int, Fault]]:
        """All records without a newline at their end, and the faults of those that hold nothing to look at."""
        if fetch.messages is None:
            return [data[start:end].rstrip(b"\r\n") for start, end in self._framing.spans(data)], {}
        most = fetch.messages.value_bytes_max
        faults: dict[int, Fault] = {}
        for place, value in enumerate(fetch.messages.values):
            if value is None:
                faults[place] = Fault("E2111", "the record has no value; a stream has no deletions (a table has)")
            elif len(value) > most:
                faults[place] = Fault(
                    "E2108", f"the record has {len(value)} bytes, more than max.record.bytes = {most}"
                )
        return [(value or b"").rstrip(b"\r\n") for value in fetch.messages.values], faults

    def _piece(self, block: MemoryFile, records: Sequence[bytes], places: Sequence[int]) -> dict[int, Fault]:
        piece = [records[place] for place in places]
        if not self._judge.suspects(piece) and self._insert(block, records, places) is None:
            return {}
        judgement = self._judge.judge(piece)
        if judgement.settled is not None:
            settled = sorted(judgement.settled_rows)
            self._insert_rows(judgement.settled, settled, [places[place] for place in settled])
        good = [
            places[place]
            for place in range(len(piece))
            if place not in judgement.faults and place not in judgement.settled_rows
        ]
        faults = {places[place]: fault for place, fault in judgement.faults.items()}
        return faults | self._insert_or_halve(block, records, good)

    def _insert_or_halve(self, block: MemoryFile, records: Sequence[bytes], places: Sequence[int]) -> dict[int, Fault]:
        """Keep what the plain reader takes; what it refuses against the judge's opinion is a fault all the same."""
        error = self._insert(block, records, places)
        if error is None:
            return {}
        if len(places) == 1:
            return {places[0]: Fault("E2101", f"not readable: {shortened(str(error).splitlines()[0])}")}
        middle = len(places) // 2
        first = self._insert_or_halve(block, records, places[:middle])
        return first | self._insert_or_halve(block, records, places[middle:])

    def _insert(self, block: MemoryFile, records: Sequence[bytes], places: Sequence[int]) -> DataError | None:
        """All of these records into the relation, or none and the plain reader's error."""
        if not places:
            return None
        block.write(self._judge.lines([records[place] for place in places]))
        try:
            self._insert_rows(self._judge.plain(block.path, block.length), range(len(places)), places)
        except DataError as error:
            return error
        return None

    def _insert_rows(self, rows: exp.Select, counted: Sequence[int], places: Sequence[int]) -> None:
        """Append `rows`, whose `_row` is one of `counted`, with the place that belongs to it: all or none."""
        numbered = arrow_table({_COUNTED: ("int64", counted), _PLACE: ("int64", places)})
        self._connection.register(self._places, numbered)
        try:
            self._connection.execute(exp.insert(self._at_places(rows), self._staging))
            if len(places) != self._count_staged():
                self._connection.execute(exp.delete(self._staging).where(self._is_placed()))
                raise DataError("the reader does not see as many records as there are")
        finally:
            self._connection.unregister(self._places)

    def _at_places(self, rows: exp.Select) -> exp.Select:
        """The rows with their places instead of their count."""
        values = [column(name, "found") for name in rows.named_selects if name != ROW]
        matched = column(_COUNTED, "places").eq(column(ROW, "found"))
        found = exp.select(column(_PLACE, "places").as_(ROW), *values).from_(rows.subquery("found"))
        return found.join(exp.to_table(self._places).as_("places"), on=matched)

    def _is_placed(self) -> exp.Expr:
        return exp.In(this=column(ROW), query=exp.select(column(_PLACE)).from_(self._places).subquery())

    def _count_staged(self) -> int:
        """How many of the places that are registered now have their row."""
        count = exp.select(exp.Count(this=exp.Star())).from_(self._staging).where(self._is_placed())
        return int(str(self._connection.rows(count)[0][0]))

    def _create_staging(self, block: MemoryFile) -> None:
        block.write(self._judge.lines([]))
        self._connection.execute(create_table(self._staging, self._judge.plain(block.path, block.length)))


def shortened(value: str) -> str:
    """At most 80 printable characters of a text, for messages."""
    if not value.isprintable():
        value = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value[:_TEXT_LENGTH_MAX])
    return value if len(value) <= _TEXT_LENGTH_MAX else value[: _TEXT_LENGTH_MAX - 1] + "…"


def shortened_bytes(value: bytes) -> str:
    return shortened(value[: 4 * _TEXT_LENGTH_MAX].decode(errors="backslashreplace"))


def column_fault(name: str, described: str, code: str, value: str) -> Fault:
    """The fault of a column's value, which is given as text; `described` says what it should be."""
    match code:
        case "E2103":
            return Fault(code, f'key "{name}" stands twice')
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
