"""The one reading of CSV: every field as text by the engine's `read_csv`, and what each text is as its column's type.

What the engine's reader itself would make of a number is not what we promise (it rounds a fraction into an integer),
and a reader that raises says nothing of the other records. So the reader gives texts alone, and casts and checks are
expressions over them: the plain statement raises where one fails, the judging one says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.expressions import any_of, call, data_type, number, table_function, text, type_map
from ferrisstreams.formats.reading import RAW, ReadColumn, guard
from ferrisstreams.formats.settings import DecodeSettings

T = exp.DataType.Type

#: Names that no column may have.
WHICH, SHOWN = "_which", "_value"

#: What the engine's reader takes as the longest record by default.
_RECORD_BYTES = 2 * 1024 * 1024
_TEXTS = (T.TEXT, T.VARCHAR)
_INTEGERS = (T.TINYINT, T.SMALLINT, T.INT, T.BIGINT, T.INT128, T.UTINYINT, T.USMALLINT, T.UINT, T.UBIGINT, T.UINT128)
#: The digits before the point, those behind it without zeros at the end, and the exponent.
_NUMBER = r"^[+-]?([0-9]*)\.?([0-9]*?)0*(?:[eE]([+-]?[0-9]+))?$"


@dataclass(frozen=True, slots=True)
class Fields:
    """At which place of a record each declared column stands, and how many fields a record has."""

    places: tuple[int, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Block:
    """A file of records in memory, the longest at most of `record_bytes`.

    `skip` lines come before them, and a line that begins with `comment` is not one.
    """

    path: str
    fields: Fields
    record_bytes: int
    newline: str = "\\n"
    skip: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that can be wrong with a record: the condition, the column's place, and the code."""

    condition: exp.Expr
    place: int
    code: str


class CsvReader:
    def __init__(self, columns: Sequence[ReadColumn], settings: DecodeSettings) -> None:
        self._columns = columns
        self._settings = settings
        self.outcomes = tuple(self._outcomes())

    def plain(self, block: Block) -> exp.Select:
        """`_row` and the values; it raises where a record fails."""
        failed = any_of(outcome.condition.copy() for outcome in self.outcomes)
        mentioned = [self._text(place) for place in range(len(self._columns))]
        watched = guard([failed] if failed is not None else [], mentioned)
        values = [exp.alias_(c.value.copy(), c.name, quoted=True) for c in self._columns]
        return exp.select(column(ROW, RAW), *values).from_(self._raws(block)).where(watched)

    def judged(self, block: Block, rejects: str) -> exp.Select:
        """`_row`, the values, `_which` (what is wrong, as the place in `outcomes`) and `_value` (the text that is).

        Records with another number of fields are left out, and reported in the table `rejects`.
        """
        cases = [exp.If(this=o.condition.copy(), true=number(i)) for i, o in enumerate(self.outcomes)]
        which = exp.Case(ifs=cases) if cases else exp.cast(exp.null(), "INTEGER")
        star = exp.Column(this=exp.Star(), table=exp.to_identifier(RAW))
        raws = exp.select(star, which.as_(WHICH)).from_(self._raws(block, rejects)).subquery(RAW)
        texts = [
            exp.If(this=column(WHICH).eq(number(i)), true=self._text(o.place)) for i, o in enumerate(self.outcomes)
        ]
        shown = exp.Case(ifs=texts) if texts else exp.cast(exp.null(), "VARCHAR")
        # A value is made of a raw one that passed its checks alone: making it of another may raise.
        sound = column(WHICH).is_(exp.null())
        values = [
            exp.alias_(
                c.value.copy()
                if isinstance(c.value, exp.Column)
                else exp.Case(ifs=[exp.If(this=sound.copy(), true=c.value.copy())]),
                c.name,
                quoted=True,
            )
            for c in self._columns
        ]
        selected = [column(ROW, RAW), *values, column(WHICH), shown.as_(SHOWN)]
        return exp.select(*selected).from_(raws)

    def _text(self, place: int) -> exp.Column:
        return column(f"_k{place}", RAW)

    def _raws(self, block: Block, rejects: str | None = None) -> exp.Subquery:
        """`_row`, the declared columns' texts, and what these are as the columns' raw types; NULL where nothing."""
        ordinal = exp.Sub(this=exp.Window(this=exp.RowNumber()), expression=number(1))
        selected: list[exp.Expr] = [exp.alias_(ordinal, ROW)]
        for place, c in enumerate(self._columns):
            field = column(_field(block.fields.places[place]))
            kind = data_type(c.raw_type)
            tried = field.copy() if kind.this in _TEXTS else exp.TryCast(this=field.copy(), to=kind)
            selected += [field.as_(f"_k{place}"), exp.alias_(tried, c.name, quoted=True)]
        return exp.select(*selected).from_(self._table(block, rejects)).subquery(RAW)

    def _table(self, block: Block, rejects: str | None) -> exp.Table:
        quote, nulls = self._settings.quote, dict.fromkeys(("", *self._settings.nulls))
        tolerant: dict[str, exp.Expr] = {}
        if rejects is not None:
            tolerant = {
                "ignore_errors": exp.true(),
                "store_rejects": exp.true(),
                "rejects_table": text(rejects),
                "rejects_scan": text(f"{rejects}_scans"),
                "rejects_limit": number(0),
            }
        return table_function(
            "read_csv",
            text(block.path),
            alias="_fields",
            auto_detect=exp.false(),
            header=exp.false(),
            skip=number(block.skip),
            comment=text(block.comment),
            parallel=exp.false(),
            compression=text("none"),
            delim=text(self._settings.delimiter),
            quote=text(quote),
            escape=text(quote),
            new_line=text(block.newline),
            nullstr=exp.Array(expressions=[text(value) for value in nulls]),
            allow_quoted_nulls=exp.true() if block.fields.count == 1 and len(nulls) == 1 else exp.false(),
            max_line_size=number(block.record_bytes),
            columns=type_map((_field(place), "VARCHAR") for place in range(block.fields.count)),
            **tolerant,
        )

    def _outcomes(self) -> list[Outcome]:
        """The first that holds counts."""
        result = []
        for place, c in enumerate(self._columns):
            if data_type(c.raw_type).this not in _TEXTS:
                result.append(Outcome(self._unread(place, c), place, "E2104"))
            result += [Outcome(check.condition.copy(), place, check.code) for check in c.checks]
        return result

    def _unread(self, place: int, c: ReadColumn) -> exp.Expr:
        """True where the text is not a value of the raw type."""
        kind, value = data_type(c.raw_type).this, self._text(place)
        unread: exp.Expr = c.raw.is_(exp.null())
        if kind in _INTEGERS:
            # The comparison finds all that may be wrong at the cost of one cast; few texts of integers differ.
            written = exp.cast(c.raw, "VARCHAR")
            differs = exp.NullSafeNEQ(this=value, expression=written)
            wrong = exp.or_(unread, exp.not_(_is_whole(value)))
            return exp.Case(ifs=[exp.If(this=differs, true=wrong)], default=exp.false())
        if kind == T.BOOLEAN:
            unread = exp.or_(unread, value.copy().isin(text("0"), text("1")))
        return exp.and_(value.is_(exp.null()).not_(), unread)


def _is_whole(value: exp.Expr) -> exp.Expr:
    """Whether a number as text has no fraction, whatever its exponent: the engine's cast rounds one away."""
    plain = call("replace", call("trim", value.copy()), text("_"), text(""))

    def part(group: int) -> exp.Expr:
        return call("regexp_extract", plain.copy(), text(_NUMBER), number(group))

    exponent = exp.func("COALESCE", exp.TryCast(this=part(3), to=data_type("HUGEINT")), number(0))
    digits = call("rtrim", part(1), text("0"))
    zeros = exp.Sub(this=call("length", part(1)), expression=call("length", digits.copy()))
    enough = exp.or_(
        exp.GTE(this=exponent.copy(), expression=exp.Neg(this=exp.paren(zeros))),
        digits.eq(text("")),
    )
    fraction = call("length", part(2))
    return exp.Case(
        ifs=[
            exp.If(
                this=exp.GT(this=fraction, expression=number(0)),
                true=exp.GTE(this=exponent, expression=fraction.copy()),
            )
        ],
        default=enough,
    )


def record_bytes(length: int) -> int:
    """The longest record of a block of so many bytes: a power of two, so that the statement's text seldom changes."""
    return 1 << length.bit_length() if length > _RECORD_BYTES else _RECORD_BYTES


def _field(place: int) -> str:
    return f"f{place}"
