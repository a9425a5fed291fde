"""Judges lines of JSON, each alone: malformed, no object, a key twice, a value that does not fit its column."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, arrow_table, column
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.diagnosis import Fault, Judgement, column_fault, create_table, shortened_bytes, utf8_fault
from ferrisstreams.formats.exact_numbers import exact_texts
from ferrisstreams.formats.expressions import any_of, call, data_type, number, text
from ferrisstreams.formats.filled_structs import filled_objects, has_struct
from ferrisstreams.formats.reading import RAW, ReadColumn, select_values

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT, _FAULT, _WHICH, _SETTLED = "_text", "_fault", "_which", "_settled"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class _Tables:
    """Names of what a judgement leaves between its statements."""

    lines: str
    texts: str
    filled: str
    raws: str
    exact: str
    judged: str


class JsonJudge:
    """`plain` makes the plain reader's statement from path and length.

    A column is read by `from_json_strict`, which is the plain reader's own code for one value; it wants every key, so
    only keys that are there are asked for.
    """

    def __init__(
        self, connection: Connection, columns: tuple[ReadColumn, ...], plain: Callable[[str, int], exp.Select]
    ) -> None:
        self._connection = connection
        self._columns = columns
        self.plain = plain
        number_ = next(_numbers)
        names = ("lines", "texts", "filled", "raws", "exact", "judged")
        self._tables = _Tables(*(f"_{name}_{number_}" for name in names))

    def suspects(self, records: Sequence[bytes]) -> bool:
        # The plain reader takes the line `null` as a row of NULLs, and a message may hold several lines, or none.
        return any(not (bare := record.strip()) or bare == b"null" or b"\n" in record for record in records)

    def lines(self, records: Sequence[bytes]) -> bytes:
        # A newline first: a byte order mark is nothing special there. Newlines inside of a record that is valid stand
        # between its tokens.
        return b"\n" + b"\n".join(record.replace(b"\n", b" ") for record in records) + b"\n"

    def judge(self, records: Sequence[bytes]) -> Judgement:
        tables = self._tables
        lines = arrow_table({ROW: ("int64", range(len(records))), _TEXT: ("binary", records)})
        registered = {tables.lines: lines}
        self._connection.register(tables.lines, lines)
        try:
            faults = self._syntax_faults(records)
            self._register_filled(registered)
            self._connection.execute(create_table(tables.raws, self._raws()))
            self._register_exact(records, registered)
            self._connection.execute(create_table(tables.judged, self._judged()))
        finally:
            for name in registered:
                self._connection.unregister(name)
        faults |= self._column_faults()
        return self._judgement(faults)

    def _syntax_faults(self, records: Sequence[bytes]) -> dict[int, Fault]:
        """Makes the table of texts: `_row`, `_text` and the code of what is wrong with it as a whole."""
        read = exp.Try(this=call("decode", column(_TEXT))).as_(_TEXT)
        source = exp.select(column(ROW), read).from_(self._tables.lines).subquery("_decoded")
        content = column(_TEXT)
        code = exp.Case(
            ifs=[
                exp.If(this=content.is_(exp.null()), true=text("E2107")),
                exp.If(this=exp.not_(call("json_valid", content.copy())), true=text("E2101")),
                exp.If(this=call("json_type", content.copy()).neq(text("OBJECT")), true=text("E2102")),
            ]
        )
        texts = exp.select(column(ROW), content.copy(), code.as_(_FAULT)).from_(source)
        self._connection.execute(create_table(self._tables.texts, texts))
        wrong = (
            exp.select(column(ROW), column(_FAULT))
            .from_(self._tables.texts)
            .where(column(_FAULT).is_(exp.null()).not_())
        )
        found = [(int(str(row)), str(fault)) for row, fault in self._connection.rows(wrong)]
        return {row: _syntax_fault(fault, records[row]) for row, fault in found}

    def _register_filled(self, registered: dict[str, pa.Table]) -> None:
        """For columns with structs inside: their values with every key that the type names, as `{"column": value}`."""
        nested = [
            (place, c.name, kind) for place, c in enumerate(self._columns) if has_struct(kind := data_type(c.type))
        ]
        if not nested:
            return
        minified = exp.cast(call("json", column(_TEXT)), "VARCHAR")
        sound = exp.select(column(ROW), minified).from_(self._tables.texts).where(column(_FAULT).is_(exp.null()))
        rows = [(row, str(value)) for row, value in self._connection.rows(sound)]
        filled: dict[str, tuple[str, Sequence[object]]] = {ROW: ("int64", [row for row, _ in rows])}
        for place, name, kind in nested:
            filled[_filled(place)] = ("string", [filled_objects(value, name, kind) for _, value in rows])
        registered[self._tables.filled] = arrow_table(filled)
        self._connection.register(self._tables.filled, registered[self._tables.filled])

    def _raws(self) -> exp.Select:
        """`_row`, `_text`, the raw columns, and for each whether its value could not be read."""
        nested = {place for place, c in enumerate(self._columns) if has_struct(data_type(c.type))}
        outer: list[exp.Expr] = [column(ROW), column(_TEXT)]
        inner: list[exp.Expr] = [column(ROW, "t"), column(_TEXT, "t")]
        for place, c in enumerate(self._columns):
            content = column(_filled(place), "f") if place in nested else column(_TEXT, "t")
            shape = text(json.dumps({c.name: c.raw_type}, ensure_ascii=False))
            there = call("json_exists", column(_TEXT, "t"), text(_pointer(c.name)))
            read = exp.Try(this=call("from_json_strict", content, shape))
            inner.append(exp.Case(ifs=[exp.If(this=there, true=read)]).as_(_struct(place)))
            inner.append(there.copy().as_(_there(place)))
            outer.append(call("struct_extract", column(_struct(place)), text(c.name)).as_(c.name, quoted=True))
            unread = column(_struct(place)).is_(exp.null())
            outer.append(exp.and_(column(_there(place)), unread).as_(_unread(place)))
        source = exp.select(*inner).from_(exp.to_table(self._tables.texts).as_("t"))
        if nested:
            same = column(ROW, "t").eq(column(ROW, "f"))
            source = source.join(exp.to_table(self._tables.filled).as_("f"), on=same)
        source = source.where(column(_FAULT, "t").is_(exp.null()))
        return exp.select(*outer).from_(source.subquery("_read"))

    def _wide(self) -> list[tuple[int, ReadColumn, exp.Expr]]:
        """The columns whose raw value may have lost digits, and the condition for it."""
        return [
            (place, c, exp.func("COALESCE", exp.or_(column(_unread(place), RAW), c.inexact), exp.false()))
            for place, c in enumerate(self._columns)
            if c.inexact is not None
        ]

    def _register_exact(self, records: Sequence[bytes], registered: dict[str, pa.Table]) -> None:
        """The texts of numbers that the reader's double cannot carry."""
        wide = self._wide()
        if not wide:
            return
        lossy = exp.or_(*(condition for _, _, condition in wide))
        rows = self._connection.rows(exp.select(column(ROW, RAW)).from_(self._from_raws()).where(lossy))
        places = [int(str(row[0])) for row in rows]
        texts = [exact_texts(records[place], [c.name for _, c, _ in wide]) for place in places]
        exact: dict[str, tuple[str, Sequence[object]]] = {ROW: ("int64", places)}
        for number_, (place, _, _) in enumerate(wide):
            exact[_exact(place)] = ("string", [values[number_] for values in texts])
        registered[self._tables.exact] = arrow_table(exact)
        self._connection.register(self._tables.exact, registered[self._tables.exact])

    def _from_raws(self) -> exp.Expr:
        return exp.to_table(self._tables.raws).as_(RAW)

    def _judged(self) -> exp.Select:
        """The raws with exact numbers, and the number of the first thing that is wrong with the row."""
        wide = {place: (c, condition) for place, c, condition in self._wide()}
        selected: list[exp.Expr] = [column(ROW, RAW), column(_TEXT, RAW)]
        for place, c in enumerate(self._columns):
            value: exp.Expr = c.raw
            unread: exp.Expr = column(_unread(place), RAW)
            if place in wide:
                exact = exp.TryCast(this=column(_exact(place), "_x"), to=data_type(c.raw_type))
                lossy = wide[place][1]
                value = exp.Case(ifs=[exp.If(this=lossy, true=exact)], default=value)
                unread = exp.and_(lossy.copy(), exact.copy().is_(exp.null()))
            selected += [value.as_(c.name, quoted=True), unread.as_(_unread(place))]
        settled = any_of(condition.copy() for _, condition in wide.values()) or exp.false()
        source = exp.select(*selected, exp.alias_(settled, _SETTLED)).from_(self._from_raws())
        if wide:
            same = column(ROW, RAW).eq(column(ROW, "_x"))
            source = source.join(exp.to_table(self._tables.exact).as_("_x"), on=same, join_type="left")
        outcomes = [exp.If(this=condition, true=number(i)) for i, (condition, _, _) in enumerate(self._outcomes())]
        return exp.select(
            exp.Column(this=exp.Star(), table=exp.to_identifier(RAW)), exp.Case(ifs=outcomes).as_(_WHICH)
        ).from_(source.subquery(RAW))

    def _outcomes(self) -> list[tuple[exp.Expr, int, str]]:
        """What can be wrong with a row: the condition, the column's place and the code. The first that holds counts."""
        result: list[tuple[exp.Expr, int, str]] = []
        for place, c in enumerate(self._columns):
            result.append((column(_unread(place), RAW), place, "E2104"))
            result += [(check.condition.copy(), place, check.code) for check in c.checks]
        return result

    def _column_faults(self) -> dict[int, Fault]:
        outcomes = self._outcomes()
        content = column(_TEXT)
        values = [call("json_extract", content.copy(), text(_pointer(c.name))) for c in self._columns]
        shown = [
            exp.If(this=column(_WHICH).eq(number(i)), true=exp.cast(values[place].copy(), "VARCHAR"))
            for i, (_, place, _) in enumerate(outcomes)
        ]
        wrong = column(_WHICH).is_(exp.null()).not_()
        query = exp.select(column(ROW), column(_WHICH), exp.Case(ifs=shown), call("json_keys", content.copy()))
        faults = {}
        for row, which, value, keys in self._connection.rows(query.from_(self._tables.judged).where(wrong)):
            _, place, code = outcomes[int(str(which))]
            twice = isinstance(keys, list) and keys.count(self._columns[place].name) > 1
            faults[int(str(row))] = column_fault(
                self._columns[place].name, self._columns[place].described, "E2103" if twice else code, str(value)
            )
        return faults

    def _judgement(self, faults: dict[int, Fault]) -> Judgement:
        settled = exp.and_(column(_SETTLED), column(_WHICH).is_(exp.null()))
        rows = exp.select(column(ROW)).from_(self._tables.judged).where(settled)
        places = frozenset(int(str(row[0])) for row in self._connection.rows(rows))
        if not places:
            return Judgement(faults)
        good = exp.select("*").from_(self._tables.judged).where(settled.copy())
        values = exp.select(column(ROW, RAW), *select_values(self._columns))
        return Judgement(faults, values.from_(good.subquery(RAW)), places)


def _syntax_fault(code: str, record: bytes) -> Fault:
    match code:
        case "E2107":
            return utf8_fault(record)
        case "E2102":
            return Fault(code, f"not an object: {shortened_bytes(record)}")
    return Fault(code, f"malformed JSON: {shortened_bytes(record)}")


def _pointer(name: str) -> str:
    """The JSON pointer to a key of the record."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _struct(place: int) -> str:
    return f"_struct_{place}"


def _there(place: int) -> str:
    return f"_there_{place}"


def _unread(place: int) -> str:
    return f"_unread_{place}"


def _filled(place: int) -> str:
    return f"_filled_{place}"


def _exact(place: int) -> str:
    return f"_exact_{place}"
