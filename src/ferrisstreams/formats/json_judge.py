"""Judges the lines of a block of JSON, each alone, in one statement over all of them.

The statement reads the lines tolerantly: what cannot be read is NULL. Only then is the text asked whether there was
something. A line whose columns are all there, as many as it has keys, is asked nothing more. Lines in doubt
(`json_columns`) are judged again by the same statement in the exact form. Of all lines, only those that fail become
values of Python.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.duck.engine import Connection, Rendered, column, render
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.diagnosis import create_table
from ferrisstreams.formats.expressions import (
    alias,
    any_of,
    both,
    call,
    each,
    either,
    number,
    select_from,
    table_function,
    text,
)
from ferrisstreams.formats.json_columns import Form, JsonColumn
from ferrisstreams.formats.json_marks import marked, marked_members
from ferrisstreams.formats.nested import Node, nodes
from ferrisstreams.formats.reading import RAW

T = exp.DataType.Type

#: Names that no key can have by accident: with a control character.
LINE, _READ, _FAULT = "_line\x7f", "_read\x7f", "_fault\x7f"
_MARKED, _MAPS = "_marked\x7f", "_maps\x7f"
#: Faults of a line as a whole, and the number of a line that must be read exactly. Others count the outcomes.
_MALFORMED, _NO_OBJECT, _TWICE, _DOUBTFUL = -1, -2, -3, -4
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Failed:
    """A line that fails: its ordinal, the code, and which column with what value, where it is a column's fault."""

    row: int
    code: str
    column: JsonColumn | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`good` is a relation of the good lines in order, with `_row`; `doubtful` says how many had to be read exactly."""

    good: str
    failed: Sequence[Failed]
    rows: int
    doubtful: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Something that can be wrong with a line's column."""

    condition: exp.Expr
    column: JsonColumn
    code: str


class JsonJudge:
    def __init__(self, connection: Connection, columns: tuple[JsonColumn, ...]) -> None:
        self._connection = connection
        self._columns = columns
        self._structs = [(c, node) for c in columns for node in nodes(c.name, c.kind) if node.kind.this == T.STRUCT]
        count = next(_numbers)
        self._judged, self._exact, self._good = (f"_json_{part}_{count}" for part in ("judged", "exact", "good"))
        self._statements: dict[tuple[str, int, Form], Rendered] = {}
        self._over_doubtful: Rendered | None = None
        self._outcomes_of: dict[Form, list[_Outcome]] = {}
        self._failed_of: dict[tuple[str, Form, bool], Rendered] = {}
        self._shown = 0

    def judge(self, path: str, object_bytes: int, form: Form) -> Verdict:
        """Judge the lines of the file. The relation of the good ones holds until the next call."""
        key = path, object_bytes, form
        if key not in self._statements:
            lines = json_lines(path, object_bytes)
            self._statements[key] = render(create_table(self._judged, self._statement(lines, form)), copy=False)
        rows = integer(self._connection.rows(self._statements[key])[0][0])
        failed, doubtful = self._failed(self._judged, form)
        if doubtful:
            if self._over_doubtful is None:
                again = exp.select(column(ROW), column(LINE)).from_(self._judged)
                again = again.where(column(_FAULT).eq(number(_DOUBTFUL)))
                statement = self._statement(again, Form.EXACT)
                self._over_doubtful = render(create_table(self._exact, statement))
            self._connection.execute(self._over_doubtful)
            failed = sorted([*failed, *self._failed(self._exact, Form.EXACT)[0]], key=lambda one: one.row)
        self._show_good(2 if doubtful else 1)
        return Verdict(self._good, failed, rows, doubtful)

    def _show_good(self, tables: int) -> None:
        """Make the relation of the good lines; it stays while the tables are replaced by others of the same shape."""
        if self._shown != tables:
            self._connection.execute(self._good_view([self._judged, self._exact][:tables]))
            self._shown = tables

    def _good_view(self, tables: Sequence[str]) -> exp.Create:
        names = [column(ROW), *(column(c.name) for c in self._columns)]
        fine = column(_FAULT).is_(exp.null())
        first, *others = (exp.select(*(n.copy() for n in names)).from_(t).where(fine.copy()) for t in tables)
        query: exp.Query = first
        for other in others:
            query = exp.select("*").from_(exp.union(query, other, distinct=False).subquery("both")).order_by(ROW)
        temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
        view = exp.to_table(self._good)
        return exp.Create(this=view, kind="VIEW", replace=True, expression=query, properties=temporary)

    def _failed(self, table: str, form: Form) -> tuple[list[Failed], int]:
        """The lines of a table that fail, and how many are in doubt."""
        found = self._connection.rows(self._failed_query(table, form, exact=False))
        if any(is_inexact for *_, is_inexact in found):
            found = self._connection.rows(self._failed_query(table, form, exact=True))
        (doubtful,) = (integer(row) for row, which, *_ in found if which == _DOUBTFUL)
        outcomes = self._outcomes(form)
        return [
            self._failure(outcomes, integer(row), integer(which), value, keys)
            for row, which, value, keys, _ in found
            if which != _DOUBTFUL
        ], doubtful

    def _failed_query(self, table: str, form: Form, exact: bool) -> Rendered:
        """Ordinal, fault, the value that is shown, the keys where one is duplicated, and whether the value may be shown
        in another way than it was written: only `exact`, which costs several times as much to plan, forbids it. Behind
        them a row with the number of lines in doubt."""
        key = table, form, exact
        if key in self._failed_of:
            return self._failed_of[key]
        line, fault = column(LINE), column(_FAULT)
        places = [
            exp.If(this=fault.copy().eq(number(i)), true=text(_pointer(outcome.column.name)))
            for i, outcome in enumerate(self._outcomes(form))
        ]
        place = exp.Case(ifs=places)
        found = call("json_extract" if exact else "system.main.json_extract", line.copy(), place)
        shown = exp.cast(found, "VARCHAR")
        kind = call("json_type", line.copy(), place.copy())
        is_inexact = exp.false() if exact else kind.isin(*map(text, ("DOUBLE", "OBJECT", "ARRAY")))
        keys = exp.If(this=fault.copy().eq(number(_TWICE)), true=call("json_keys", line.copy()))
        in_doubt = fault.copy().eq(number(_DOUBTFUL))
        wrong = both(fault.copy().is_(exp.null()).not_(), exp.not_(in_doubt.copy()))
        query = (
            exp.select(column(ROW), fault.copy(), shown, exp.Case(ifs=[keys]), is_inexact)
            .from_(table)
            .where(wrong, copy=False)
        )
        counted = exp.select(exp.Count(this=exp.Star()), number(_DOUBTFUL), exp.null(), exp.null(), exp.false())
        query, counted = query.where(wrong, copy=False), counted.from_(table).where(in_doubt, copy=False)
        self._failed_of[key] = render(exp.union(query, counted, distinct=False, copy=False), copy=False)
        return self._failed_of[key]

    def _failure(self, outcomes: Sequence[_Outcome], row: int, fault: int, value: object, keys: object) -> Failed:
        match fault:
            case -1:
                return Failed(row, "E2101")
            case -2:
                return Failed(row, "E2102")
            case -3:
                assert isinstance(keys, list)
                twice = next(c for c in self._columns if keys.count(c.name) > 1)
                return Failed(row, "E2103", twice)
        outcome = outcomes[fault]
        return Failed(row, outcome.code, outcome.column, str(value))

    # --- the statement ----------------------------------------------------------------------------------------------

    def _statement(self, lines: exp.Select, form: Form) -> exp.Select:
        """`_row`, the columns of a good line, its fault, and of a line with a fault the text."""
        fine = column(_FAULT).is_(exp.null())
        values = [alias(exp.Case(ifs=[exp.If(this=fine.copy(), true=c.value(form))]), c.name) for c in self._columns]
        line = alias(exp.Case(ifs=[exp.If(this=exp.not_(fine), true=column(LINE))]), LINE)
        judged = select_from(self._raws(lines, form), RAW, exp.Star(), alias(self._fault(form), _FAULT))
        return select_from(judged, RAW, column(ROW), column(_FAULT), line, *values)

    def _raws(self, lines: exp.Select, form: Form) -> exp.Select:
        """The raw columns beside the line; for columns with structs also their objects as maps."""
        content: exp.Expr = column(LINE)
        if form is Form.EXACT:
            only_members = not any(c.holds_json for c in self._columns)
            tried = marked_members(content) if only_members else marked(content)
            lines = select_from(lines.copy(), "plain", exp.Star(), alias(tried, _MARKED))
            content = column(_MARKED)
            if only_members:
                valid = exp.If(this=call("json_valid", content.copy()), true=content.copy())
                content = exp.Case(ifs=[valid], default=marked(column(LINE)))
        shape = {c.name: c.raw_type(form) for c in self._columns}
        read = [alias(call("from_json", content, _shape(shape)), _READ)]
        for place, (c, node) in enumerate(self._structs):
            as_map = call("from_json", column(LINE), _shape({c.name: node.as_map.sql("duckdb")}))
            read.append(alias(as_map, _map_name(place)))
        inner = select_from(lines.copy(), "lines", column(ROW), column(LINE), *read)
        raws = [alias(_field(column(_READ), c.name), c.name) for c in self._columns]
        maps = [
            alias(_field(column(_map_name(place)), c.name), _map_name(place))
            for place, (c, _) in enumerate(self._structs)
        ]
        read_raws = select_from(inner, "parsed", column(ROW), column(LINE), *raws, *maps)
        early = [(c, value) for c in self._columns if (value := c.early(form)) is not None]
        if not early:
            return read_raws
        values = [alias(value, c.early_name) for c, value in early]
        return select_from(read_raws, RAW, exp.Star(), *values)

    def _fault(self, form: Form) -> exp.Expr:
        line = column(LINE, RAW)
        is_object = call("json_type", line.copy()).eq(text("OBJECT"))
        nothing_read = both(*(c.raw.is_(exp.null()) for c in self._columns))
        cases: list[tuple[exp.Expr, int]] = [
            (line.copy().is_(exp.null()), _MALFORMED),
            (both(nothing_read, exp.not_(is_object)), _NO_OBJECT),
            (self._twice(), _TWICE),
        ]
        cases += [(outcome.condition.copy(), i) for i, outcome in enumerate(self._outcomes(form))]
        if (doubt := self._doubt(form)) is not None:
            cases.append((doubt, _DOUBTFUL))
        return exp.Case(ifs=[exp.If(this=condition, true=number(value)) for condition, value in cases])

    def _twice(self) -> exp.Expr:
        """Whether a declared key is duplicated. A line with as many keys as columns that are there has none twice."""
        keys = call("json_keys", column(LINE, RAW))
        total: exp.Expr = number(0)
        for c in self._columns:
            total = exp.Add(this=total, expression=exp.cast(exp.not_(c.raw.is_(exp.null())), "INTEGER"))
        others = call("len", keys.copy()).neq(exp.paren(total))
        repeated = call("len", call("list_distinct", keys.copy())).neq(call("len", keys.copy()))
        names = [text(c.name) for c in self._columns]
        declared = each("list_filter", keys.copy(), lambda x: x.copy().isin(*(name.copy() for name in names)))
        mine = call("len", call("list_distinct", declared)).neq(call("len", declared.copy()))
        return both(others, repeated, mine)

    def _outcomes(self, form: Form) -> list[_Outcome]:
        """What can be wrong with a line's columns, in their order."""
        if form not in self._outcomes_of:
            self._outcomes_of[form] = self._possible(form)
        return self._outcomes_of[form]

    def _possible(self, form: Form) -> list[_Outcome]:
        result = []
        for c in self._columns:
            result.append(_Outcome(self._unread(c), c, "E2104"))
            if c.missing_code is not None and (missing := c.missing()) is not None:
                result.append(_Outcome(missing, c, c.missing_code))
            for failure in (c.failure(form), c.beyond(form)):
                if failure is not None:
                    result.append(_Outcome(failure, c, "E2104"))
            if c.is_double(form):
                result.append(_Outcome(_is_boolean(c), c, "E2104"))
        return result

    def _unread(self, c: JsonColumn) -> exp.Expr:
        """Whether there is a value that the tolerant reader made NULL, or took for an object that it is not."""
        if not c.has_parts:
            kind = call("json_type", column(LINE, RAW), text(_pointer(c.name)))
            there = exp.func("COALESCE", kind.neq(text("NULL")), exp.false())
            return both(c.raw.is_(exp.null()), there)
        conditions = [_differs(node, node.values(c.raw)) for node in nodes(c.name, c.kind)]
        for place, (owner, node) in enumerate(self._structs):
            if owner is c:
                conditions.append(_differs(node, node.values(column(_map_name(place), RAW))))
        return any_of(conditions) or exp.false()

    def _doubt(self, form: Form) -> exp.Expr | None:
        line = column(LINE, RAW)
        doubts: list[exp.Expr] = []
        for c in self._columns:
            doubt = c.doubt(form)
            if doubt is None:
                continue
            if c.is_text:
                quoted = call("json_type", line.copy(), text(_pointer(c.name))).eq(text("VARCHAR"))
                doubt = both(doubt, exp.not_(quoted))
            doubts.append(doubt)
        signs = [sign for c in self._columns for sign in c.near_whole(form, line)]
        doubts += list(dict.fromkeys(signs))
        if (large := any_of(found for c in self._columns if (found := c.large(form)) is not None)) is not None:
            doubts.append(both(call("contains", line.copy(), text(".")), large))
        if form is not Form.EXACT and any(c.has_parts and c.has_numbers for c in self._columns):
            doubts.append(_has_boolean(line))
        return any_of(doubts)


@lru_cache(maxsize=8)
def json_lines(path: str, object_bytes: int) -> exp.Select:
    """The lines of the file with their ordinals; one that is not JSON is NULL. The same tree each time."""
    reader = table_function(
        "read_ndjson_objects",
        text(path),
        alias="lines",
        ignore_errors=exp.true(),
        compression=text("none"),
        maximum_object_size=number(object_bytes),
    )
    ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
    return exp.select(exp.alias_(ordinal, ROW), column("json").as_(LINE, quoted=True)).from_(reader)


def _has_boolean(line: exp.Expr) -> exp.Expr:
    """Whether the line may hold a boolean, which the engine's parser takes for a number."""
    return either(call("contains", line.copy(), text("true")), call("contains", line.copy(), text("false")))


def _is_boolean(c: JsonColumn) -> exp.Expr:
    """Whether a number was a boolean."""
    line = column(LINE, RAW)
    none_or_one = c.raw.isin(number(0), number(1))
    kind = call("json_type", line.copy(), text(_pointer(c.name))).eq(text("BOOLEAN"))
    return both(none_or_one, _has_boolean(line), kind)


def _differs(node: Node, values: exp.Expr) -> exp.Expr:
    """Whether the text has more at this place than was read, or for a struct values that are no objects."""
    found = call("json_type", column(LINE, RAW), text(node.path))
    kinds = found if node.many else call("list_value", found)
    there = each("list_filter", kinds, lambda x: x.copy().neq(text("NULL")))
    read = each("list_filter", values, lambda x: exp.not_(x.copy().is_(exp.null())))
    differs = call("len", there).neq(call("len", read))
    if node.kind.this != T.STRUCT:
        return differs
    others = each("list_filter", kinds.copy(), lambda x: exp.not_(x.copy().isin(text("NULL"), text("OBJECT"))))
    return either(differs, exp.GT(this=call("len", others), expression=number(0)))


def _shape(types: dict[str, str]) -> exp.Expr:
    return text(json.dumps(types, ensure_ascii=False))


def _field(value: exp.Expr, name: str) -> exp.Expr:
    return call("struct_extract", value, text(name))


def _map_name(place: int) -> str:
    return f"{_MAPS}{place}"


def _pointer(name: str) -> str:
    """The JSON pointer to a key of the record."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
