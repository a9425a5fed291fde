"""How a declared column is read from JSON: in a quick form that knows where it may be wrong, and in an exact one.

The engine's parser makes a double of every number with a fraction or an exponent, rounds it into an integer column,
and takes `true` for 1. So in the quick form numbers are read as DOUBLE (or as the text that the engine writes for
them), and for each column there is a *doubt*: a condition that holds for every value that may have been written
otherwise than it was read. A record in doubt is read again in the exact form, in which every number arrives with the
characters that it was written with (`json_marks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.errors import SqlError
from ferrisstreams.formats.expressions import both, call, data_type, either, number, text
from ferrisstreams.formats.json_marks import is_non_finite, unmarked, unmarked_number
from ferrisstreams.formats.nested import CONTAINERS, any_leaf, each_leaf, inner_types, with_leaves
from ferrisstreams.formats.reading import RAW, missing_code, require_leaf
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.formats.times import TimeFormat, date_of, time_formats, time_in_utc
from ferrisstreams.schema import Column, Schema

T = exp.DataType.Type

_TIMES = (T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ)
_TEXTS = (T.TEXT, T.VARCHAR)
_FLOATS = (T.DOUBLE, T.FLOAT)
_SIGNED_BITS = {T.TINYINT: 8, T.SMALLINT: 16, T.INT: 32, T.BIGINT: 64, T.INT128: 128}
_UNSIGNED_BITS = {T.UTINYINT: 8, T.USMALLINT: 16, T.UINT: 32, T.UBIGINT: 64, T.UINT128: 128}
_INTEGERS = (*_SIGNED_BITS, *_UNSIGNED_BITS)
_WIDE_INTEGERS = (T.BIGINT, T.INT128, T.UBIGINT, T.UINT128)
_NUMBERS = (*_INTEGERS, *_FLOATS, T.DECIMAL)

#: Whole numbers up to here are doubles, each one of its own.
_DOUBLE_WHOLE_MAX = (1 << 53) - 1
#: Up to here, a fraction that a double drops from a whole number begins with six zeros or nines.
_NEAR_WHOLE, _NEAR_WHOLE_MAX = (".000000", ".999999"), 1 << 34
#: A decimal with so many digits is found again from the double that is nearest to it.
_DOUBLE_DIGITS = 15


class Form(Enum):
    """How numbers are read. WIDE: those of 64 bits and more as text, the others as DOUBLE. SPELLED: all as text, which
    the engine writes after its parser's double. EXACT: as text that holds what was written."""

    QUICK = auto()
    WIDE = auto()
    SPELLED = auto()
    EXACT = auto()


@dataclass(frozen=True, slots=True)
class JsonColumn:
    """`missing_code` is what NULL is, where it may not be. The column as read stands under the alias `_raw`."""

    name: str
    type: str
    missing_code: str | None
    described: str
    time: TimeFormat

    @property
    def kind(self) -> exp.DataType:
        return data_type(self.type)

    @property
    def raw(self) -> exp.Column:
        return column(self.name, RAW)

    @property
    def has_parts(self) -> bool:
        return self.kind.this in CONTAINERS

    @property
    def has_numbers(self) -> bool:
        """Whether the engine's parser could make a number of a boolean."""
        return any(_number_type(leaf, self.time) is not None for leaf in self.kind.find_all(exp.DataType))

    def is_double(self, form: Form) -> bool:
        """Whether it is a number that is read as one."""
        numeric = _number_type(self.kind, self.time)
        return numeric is not None and not _is_spelled(numeric, form)

    @property
    def is_text(self) -> bool:
        return self.kind.this in _TEXTS

    @property
    def holds_json(self) -> bool:
        """Whether values with parts are kept as JSON text in it, or in its parts."""
        return self.has_parts or self.kind.this == T.JSON or self.is_text

    @property
    def always_doubtful(self) -> bool:
        """Whether hardly any value could be read in a quick form."""
        return any(
            leaf.this == T.DECIMAL and _scale(leaf) > _DOUBLE_DIGITS for leaf in self.kind.find_all(exp.DataType)
        )

    def raw_type(self, form: Form) -> str:
        """The type that the engine's reader is asked for."""
        return with_leaves(self.kind, lambda leaf: _raw_type(leaf, form, self.time)).sql("duckdb")

    def value(self, form: Form) -> exp.Expr:
        """The column's value of a record that is good."""
        if self.raw_type(form) == self.kind.sql("duckdb") and form is not Form.EXACT:
            return self.raw
        value = each_leaf(self.kind, self.raw, lambda leaf, raw: _value(leaf, raw, form, self.time))
        return self._with_early(form, value)

    def early(self, form: Form) -> exp.Expr | None:
        """What value and failure have in common, and is better computed once: they expect it beside the raw column,
        under `early_name`."""
        if form is not Form.EXACT:
            return None
        numeric = _number_type(self.kind, self.time.exactly())
        return None if numeric is None else _number(numeric, self.raw, form)

    @property
    def early_name(self) -> str:
        return f"{self.name}\x7f"

    def _with_early(self, form: Form, tree: exp.Expr) -> exp.Expr:
        early = self.early(form)
        if early is None:
            return tree
        return tree.transform(lambda node: column(self.early_name, RAW) if node == early else node)

    def missing(self) -> exp.Expr | None:
        return None if self.missing_code is None else self.raw.is_(exp.null())

    def failure(self, form: Form) -> exp.Expr | None:
        """True where the value is certainly none of the type."""
        failure = any_leaf(self.kind, self.raw, lambda leaf, raw: _failure(leaf, raw, form, self.time))
        return None if failure is None else self._with_early(form, failure)

    def beyond(self, form: Form) -> exp.Expr | None:
        """True where a number is so far beyond the bounds of its type that no doubt is left: only the judge asks."""
        return any_leaf(self.kind, self.raw, lambda leaf, raw: _beyond(leaf, raw, form))

    def doubt(self, form: Form) -> exp.Expr | None:
        """True where the form cannot tell whether the value is what was written. The exact form has no doubts."""
        return any_leaf(self.kind, self.raw, lambda leaf, raw: _doubt(leaf, raw, form, self.time))

    def near_whole(self, form: Form, content: exp.Expr) -> list[exp.Expr]:
        """True where the text may hold a fraction that is lost in a whole number: too small for a double beside it."""
        if self.large(form) is None:
            return []
        return [call("contains", content.copy(), text(fraction)) for fraction in _NEAR_WHOLE]

    def large(self, form: Form) -> exp.Expr | None:
        """True for whole numbers beside which a double drops other fractions too."""
        return any_leaf(self.kind, self.raw, lambda leaf, raw: _large(leaf, raw, form, self.time))


def json_columns(schema: Schema, settings: DecodeSettings, connection: Connection) -> tuple[JsonColumn, ...]:
    """Raises SqlError E1102 for a type that JSON cannot hold, ConfigError E3002 for an unknown time format."""
    plain, event = time_formats(settings, connection)
    return tuple(_json_column(declared, settings, event if declared.name == settings.event_time else plain)
                 for declared in schema)  # fmt: skip


def _json_column(declared: Column, settings: DecodeSettings, time: TimeFormat) -> JsonColumn:
    kind = data_type(declared.type)
    _require_known(kind, declared)
    missing = missing_code(declared, settings)
    described = time.described if kind.this in _TIMES else f"of type {declared.type}"
    return JsonColumn(declared.name, declared.type, missing, described, time)


def _require_known(kind: exp.DataType, declared: Column) -> None:
    if kind.this not in CONTAINERS:
        require_leaf(kind, declared, "json")
        return
    if kind.this == T.MAP and kind.expressions[0].this not in _TEXTS:
        why = f'column "{declared.name}" {declared.type}: JSON has text keys only'
        raise SqlError(why, "E1102", "declare MAP(VARCHAR, …)")
    for inner in inner_types(kind):
        _require_known(inner, declared)


# --- leaves -----------------------------------------------------------------------------------------------------------


def _number_type(kind: exp.DataType, time: TimeFormat) -> exp.DataType | None:
    """The type of number that a leaf is read as; None when it is not a number."""
    if kind.this in _NUMBERS:
        return kind
    if kind.this in _TIMES:
        raw = data_type(time.raw_type)
        return raw if raw.this in _NUMBERS else None
    return None


def _is_spelled(kind: exp.DataType, form: Form) -> bool:
    return form in (Form.SPELLED, Form.EXACT) or (form is Form.WIDE and kind.this in _WIDE_INTEGERS)


def _raw_type(kind: exp.DataType, form: Form, time: TimeFormat) -> exp.DataType:
    numeric = _number_type(kind, time)
    if numeric is not None:
        if _is_spelled(numeric, form):
            return data_type("VARCHAR")
        return numeric if numeric.this == T.FLOAT else data_type("DOUBLE")
    if kind.this in _TIMES:
        return data_type(time.raw_type)
    if kind.this == T.DATE:
        return data_type("TIMESTAMPTZ")
    return data_type("VARCHAR") if kind.this in (T.VARBINARY, T.BOOLEAN, T.TIME) else kind


def _value(kind: exp.DataType, raw: exp.Expr, form: Form, time: TimeFormat) -> exp.Expr:
    time = time.exactly() if form is Form.EXACT else time
    numeric = _number_type(kind, time)
    if numeric is not None:
        value = _number(numeric, raw, form)
        return value if numeric is kind else _as_time(kind, time.value(value))
    if kind.this in _TIMES:
        return _as_time(kind, time.value(raw.copy()))
    content = unmarked(raw) if form is Form.EXACT else raw.copy()
    match kind.this:
        case T.VARBINARY:
            return call("from_base64", content)
        case T.BOOLEAN:
            return exp.TryCast(this=content, to=kind.copy())
        case T.TEXT | T.VARCHAR:
            return content
        case T.JSON:
            return exp.cast(content, kind.copy()) if form is Form.EXACT else content
        case T.DATE:
            return date_of(raw.copy())
        case T.TIME:
            return time_in_utc(raw.copy())
    return raw.copy()


def _as_time(kind: exp.DataType, value: exp.Expr) -> exp.Expr:
    return exp.cast(value, "TIMESTAMPTZ", dialect="duckdb") if kind.this == T.TIMESTAMPTZ else value


def _number(kind: exp.DataType, raw: exp.Expr, form: Form) -> exp.Expr:
    if form is Form.EXACT:
        return exp.TryCast(this=unmarked_number(raw), to=kind.copy())
    if not _is_spelled(kind, form) and kind.this in _FLOATS:
        return raw.copy()
    return exp.Cast(this=raw.copy(), to=kind.copy())


def _failure(kind: exp.DataType, raw: exp.Expr, form: Form, time: TimeFormat) -> exp.Expr | None:
    time = time.exactly() if form is Form.EXACT else time
    numeric = _number_type(kind, time)
    if numeric is not None:
        return _number_failure(kind, numeric, raw, form, time)
    if kind.this in _TIMES:
        return time.failure(raw.copy())
    match kind.this:
        case T.DATE:
            return exp.not_(call("isfinite", raw.copy()))
        case T.TIME:
            return _there_but_not(raw, time_in_utc(raw.copy()).is_(exp.null()))
        case T.VARBINARY:
            content = unmarked(raw) if form is Form.EXACT else raw.copy()
            return _there_but_not(raw, exp.Try(this=call("from_base64", content)).is_(exp.null()))
        case T.BOOLEAN if form is Form.EXACT:
            as_boolean = exp.TryCast(this=unmarked(raw), to=kind.copy())
            as_number = exp.TryCast(this=unmarked(raw), to=data_type("DOUBLE"))
            is_number = exp.not_(as_number.is_(exp.null()))
            return _there_but_not(raw, either(as_boolean.is_(exp.null()), is_number))
        case T.TEXT | T.VARCHAR | T.JSON if form is Form.EXACT:
            return is_non_finite(raw)
    return None


def _number_failure(
    kind: exp.DataType, numeric: exp.DataType, raw: exp.Expr, form: Form, time: TimeFormat
) -> exp.Expr | None:
    value = _number(numeric, raw, form)
    if form is not Form.EXACT:
        # What is doubted is not asked here; a time's bounds are.
        return None if numeric is kind else time.failure(exp.TryCast(this=raw.copy(), to=numeric.copy()))
    conditions: list[exp.Expr] = [value.copy().is_(exp.null())]
    if numeric.this in _INTEGERS:
        conditions.append(exp.not_(call("ferris_is_whole", unmarked_number(raw))))
    if numeric.this in _FLOATS:
        conditions.append(exp.not_(call("isfinite", value.copy())))
    if numeric is not kind:
        conditions.append(time.failure(value.copy()))
    return _there_but_not(raw, either(*conditions))


def _doubt(kind: exp.DataType, raw: exp.Expr, form: Form, time: TimeFormat) -> exp.Expr | None:
    if form is Form.EXACT:
        return None
    numeric = _number_type(kind, time)
    if numeric is not None:
        spelled = _is_spelled(numeric, form)
        doubt = _spelled_doubt(numeric, raw) if spelled else _double_doubt(numeric, raw.copy())
        as_double = exp.TryCast(this=raw.copy(), to=data_type("DOUBLE")) if spelled else raw
        of_time = None if numeric is kind else time.doubt(as_double)
        return doubt if of_time is None else _there_but_not(raw, either(doubt, of_time))
    match kind.this:
        case T.BOOLEAN:
            return exp.not_(raw.copy().isin(text("true"), text("false")))
        case T.TEXT | T.VARCHAR:
            odd = either(_may_be_number(raw), both(_has_parts(raw), _may_hold_number(raw)))
            # A case, because the engine would try the parts of a conjunction in other orders.
            return exp.Case(ifs=[exp.If(this=_begins_like_number_or_parts(raw), true=odd)], default=exp.false())
        case T.JSON:
            return _may_hold_number(raw)
    return None


def _double_doubt(kind: exp.DataType, raw: exp.Expr) -> exp.Expr:
    """Over a double: whether it is not certain to be the number that was written, or not one of the type."""
    if kind.this in _FLOATS:
        return exp.not_(call("isfinite", raw))
    if kind.this == T.DECIMAL:
        return exp.not_(_is_decimal(kind, raw))
    low, high = _bounds(kind)
    whole = raw.copy().eq(call("trunc", raw.copy()))
    return exp.not_(both(whole, exp.Between(this=raw.copy(), low=number(low), high=number(high))))


def _large(kind: exp.DataType, raw: exp.Expr, form: Form, time: TimeFormat) -> exp.Expr | None:
    numeric = _number_type(kind, time)
    if numeric is None or numeric.this not in _INTEGERS or _is_spelled(numeric, form):
        return None
    return exp.GT(this=call("abs", raw.copy()), expression=number(_NEAR_WHOLE_MAX))


def _beyond(kind: exp.DataType, raw: exp.Expr, form: Form) -> exp.Expr | None:
    if kind.this not in _INTEGERS or kind.this in _WIDE_INTEGERS or _is_spelled(kind, form):
        return None
    # The numbers next to the bounds are doubles too: what reads as more was written as more.
    low, high = _bounds(kind)
    return _there_but_not(
        raw,
        either(
            exp.LT(this=raw.copy(), expression=number(low - 1)), exp.GT(this=raw.copy(), expression=number(high + 1))
        ),
    )


def _is_decimal(kind: exp.DataType, raw: exp.Expr) -> exp.Expr:
    """Whether the double is the nearest one to a decimal of at most 15 digits at the type's scale.

    A number that reads as that double is that decimal, or is so near to it that it is rounded to it.
    """
    precision, scale = _precision(kind), _scale(kind)
    digits = min(precision, _DOUBLE_DIGITS)
    narrow = data_type(f"DECIMAL({digits}, {min(scale, digits)})")
    limit = exp.cast(text(f"1e{digits - scale}"), "DOUBLE")
    back = exp.cast(exp.TryCast(this=raw.copy(), to=narrow), "DOUBLE")
    return both(
        exp.LT(this=call("abs", raw.copy()), expression=limit), exp.NullSafeEQ(this=back, expression=raw.copy())
    )


def _spelled_doubt(kind: exp.DataType, raw: exp.Expr) -> exp.Expr:
    """Over the text that the engine writes for a number, or that was quoted."""
    if kind.this in _INTEGERS:
        # No point, no exponent, and none of the forms that only the engine takes for a number (0x1F, 1_000).
        back = exp.cast(exp.TryCast(this=raw.copy(), to=kind.copy()), "VARCHAR")
        return _there_but_not(raw, exp.NullSafeNEQ(this=back, expression=raw.copy()))
    as_double = exp.TryCast(this=raw.copy(), to=data_type("DOUBLE"))
    doubt = either(as_double.is_(exp.null()), _double_doubt(kind, as_double))
    return _there_but_not(raw, doubt)


def _begins_like_number_or_parts(raw: exp.Expr) -> exp.Expr:
    """Whether the first character is one of a number, of `NaN` or `Infinity`, or of a value with parts.

    Comparisons, which cost next to nothing: of a list of more than four the engine makes a join.
    """
    ranges: list[exp.Expr] = [exp.LT(this=raw.copy(), expression=text(":"))]
    for sign in "IN[in{":
        after = exp.LT(this=raw.copy(), expression=text(chr(ord(sign) + 1)))
        ranges.append(both(exp.GTE(this=raw.copy(), expression=text(sign)), after))
    return either(*ranges)


def _may_be_number(raw: exp.Expr) -> exp.Expr:
    """Whether a text may be what the engine writes for a number with a fraction or an exponent, or no number at all."""
    digits_first = exp.LT(this=raw.copy(), expression=text(":"))
    marked = either(call("contains", raw.copy(), text(".")), call("contains", raw.copy(), text("e")))
    reads = exp.not_(exp.TryCast(this=raw.copy(), to=data_type("DOUBLE")).is_(exp.null()))
    short = exp.LT(this=call("strlen", raw.copy()), expression=number(len("-Infinity") + 1))
    none = both(short, call("regexp_full_match", raw.copy(), text("-?(nan|inf|infinity)"), text("i")))
    return either(both(digits_first, marked, reads), none)


def _has_parts(raw: exp.Expr) -> exp.Expr:
    return either(call("starts_with", raw.copy(), text("{")), call("starts_with", raw.copy(), text("[")))


def _may_hold_number(raw: exp.Expr) -> exp.Expr:
    """Whether a JSON text may hold a number with a fraction or an exponent, or one that is not a number."""
    fractions = [call("contains", raw.copy(), text(mark)) for mark in (".", *(f"{digit}e" for digit in range(10)))]
    none = [call("contains", exp.func("LOWER", raw.copy()), text(name)) for name in ("nan", "inf")]
    return either(*fractions, *none)


def _there_but_not(raw: exp.Expr, condition: exp.Expr) -> exp.Expr:
    return both(exp.not_(raw.copy().is_(exp.null())), condition)


def _bounds(kind: exp.DataType) -> tuple[int, int]:
    """The least and the greatest whole number of a type that a double tells apart from all others."""
    if kind.this in _UNSIGNED_BITS:
        return 0, min((1 << _UNSIGNED_BITS[kind.this]) - 1, _DOUBLE_WHOLE_MAX)
    half = 1 << (_SIGNED_BITS[kind.this] - 1)
    return max(-half, -_DOUBLE_WHOLE_MAX), min(half - 1, _DOUBLE_WHOLE_MAX)


def _precision(kind: exp.DataType) -> int:
    return int(kind.expressions[0].name)


def _scale(kind: exp.DataType) -> int:
    return int(kind.expressions[1].name)
