"""Judges CSV records, each alone: quotes, number of fields, values that do not fit their column."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, arrow_table, column
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.csv_fields import FieldSplitter
from ferrisstreams.formats.diagnosis import Fault, Judgement, column_fault, create_table, shortened_bytes, utf8_fault
from ferrisstreams.formats.expressions import data_type, number
from ferrisstreams.formats.reading import RAW, ReadColumn

_WHICH = "_which"
_numbers = itertools.count()


class CsvJudge:
    """`names` are the columns of the file that is judged now. `plain` makes the plain reader's statement."""

    def __init__(
        self,
        connection: Connection,
        columns: tuple[ReadColumn, ...],
        splitter: FieldSplitter,
        plain: Callable[[str, int], exp.Select],
        nulls: Collection[str],
    ) -> None:
        self._connection = connection
        self._columns = columns
        self._splitter = splitter
        self._nulls = frozenset(nulls)
        self.plain = plain
        self.names: tuple[str, ...] = tuple(c.name for c in columns)
        number_ = next(_numbers)
        self._texts, self._judged = f"_fields_{number_}", f"_judged_csv_{number_}"

    def suspects(self, records: Sequence[bytes]) -> bool:
        # A message may hold several records, or none.
        return any(b"\n" in record or b"\r" in record or not record.strip() for record in records)

    def lines(self, records: Sequence[bytes]) -> bytes:
        # A line to skip first: a byte order mark is nothing special behind it.
        return b"-\n" + b"".join(record + b"\n" for record in records)

    def judge(self, records: Sequence[bytes]) -> Judgement:
        faults: dict[int, Fault] = {}
        rows: list[int] = []
        texts: dict[str, list[str | None]] = {c.name: [] for c in self._columns}
        for place, record in enumerate(records):
            fields = self._fields(record)
            if isinstance(fields, Fault):
                faults[place] = fields
                continue
            rows.append(place)
            for name, value in zip(self.names, fields, strict=True):
                if name in texts:
                    texts[name].append(value)
        return Judgement(faults | self._column_faults(rows, texts))

    def _fields(self, record: bytes) -> list[str | None] | Fault:
        try:
            content = record.decode()
        except UnicodeDecodeError:
            return utf8_fault(record)
        fields = self._splitter.split(content)
        if fields is None:
            return Fault("E2101", f"a quote that is not closed, or closed too early: {shortened_bytes(record)}")
        if len(fields) == len(self.names) + 1 and fields[-1].text == "" and not fields[-1].quoted:
            fields.pop()  # the engine's reader lets a delimiter at the end pass
        if len(fields) != len(self.names):
            expected = f"{len(fields)} columns, where {len(self.names)} are expected"
            return Fault("E2106", f"{expected}: {shortened_bytes(record)}")
        return [None if not field.quoted and field.text in self._nulls else field.text for field in fields]

    def _column_faults(self, rows: Sequence[int], texts: dict[str, list[str | None]]) -> dict[int, Fault]:
        if not rows:
            return {}
        table = {_text(place): ("string", texts[c.name]) for place, c in enumerate(self._columns)}
        self._connection.register(self._texts, arrow_table({ROW: ("int64", rows), **table}))
        try:
            self._connection.execute(create_table(self._judged, self._read()))
        finally:
            self._connection.unregister(self._texts)
        outcomes: list[tuple[exp.Expr, int, str]] = []
        for place, c in enumerate(self._columns):
            unread = exp.and_(column(_text(place), RAW).is_(exp.null()).not_(), c.raw.is_(exp.null()))
            outcomes.append((unread, place, "E2104"))
            outcomes += [(check.condition.copy(), place, check.code) for check in c.checks]
        which = exp.Case(ifs=[exp.If(this=condition, true=number(i)) for i, (condition, _, _) in enumerate(outcomes)])
        shown = [column(_text(place), RAW) for place in range(len(self._columns))]
        judged = exp.select(column(ROW, RAW), which.as_(_WHICH), *shown).from_(exp.to_table(self._judged).as_(RAW))
        wrong = exp.select("*").from_(judged.subquery("_w")).where(column(_WHICH).is_(exp.null()).not_())
        faults = {}
        for row, found, *values in self._connection.rows(wrong):
            _, place, code = outcomes[int(str(found))]
            c = self._columns[place]
            faults[int(str(row))] = column_fault(c.name, c.described, code, str(values[place]))
        return faults

    def _read(self) -> exp.Select:
        """The texts, and what they are as the columns' raw types; NULL where they are none."""
        selected: list[exp.Expr] = [column(ROW)]
        for place, c in enumerate(self._columns):
            tried = exp.TryCast(this=column(_text(place)), to=data_type(c.raw_type))
            selected += [column(_text(place)), exp.alias_(tried, c.name, quoted=True)]
        return exp.select(*selected).from_(self._texts)


def _text(place: int) -> str:
    return f"_text_{place}"
