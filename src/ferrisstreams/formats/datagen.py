"""Generated rows: each value is a function of the seed, the column and the row number, however rows are cut."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord, RowRange
from ferrisstreams.duck.engine import Engine, arrow_table, column
from ferrisstreams.errors import ConfigError, InternalError
from ferrisstreams.formats.expressions import call, data_type, number, text
from ferrisstreams.formats.reading import RAW
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.formats.typed_rows import TypedRows, typed_column
from ferrisstreams.schema import Column, Schema

T = exp.DataType.Type

_N = "_n"
_UNITS_US = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_STEP = re.compile(r"(.+)\+(\d+)(us|ms|s|m|h|d)")
#: Of a hash's 64 bits, those that a double holds.
_FRACTION_BITS = 53
_numbers = itertools.count()

_KNOWN = (
    "sequence:0, uniform:1..100, choice:A,B*3, normal:0,1, exponential:10, zipf:1.1,1000, constant:x, uuid, now, "
    "time:2024-01-01+10ms, template:user-{sequence:1}"
)
#: A part of a template: the specification in braces.
_PART = re.compile(r"\{([^{}]+)\}")
#: `A*3` in a choice: three times as likely as `B`.
_WEIGHTED = re.compile(r"(.*)\*(\d+)")
_WEIGHTS_MAX = 10_000


class DatagenDecoder:
    """Raises ConfigError E3001 for a field of no column, E3002 for a specification that is not one or does not fit."""

    def __init__(self, engine: Engine, schema: Schema, settings: DecodeSettings) -> None:
        self._connection = engine.work
        self._name = f"_range_{next(_numbers)}"
        unknown = settings.fields.keys() - set(schema.names)
        if unknown:
            name = min(unknown)
            raise ConfigError(
                f"fields.{name}: there is no column {name}", "E3001", f"columns are {', '.join(schema.names)}"
            )
        made = {c.name: _made(c, settings.fields.get(c.name), settings.seed) for c in schema}
        ordinals = call("unnest", call("range", column("start"), column("stop"))).as_(_N)
        source = exp.select(ordinals).from_(self._name).subquery("_ordinals")
        generated = exp.select(*(exp.alias_(value, name, quoted=True) for name, value in made.items())).from_(source)
        columns = [typed_column(c.name, data_type(c.type), column(c.name, RAW), None) for c in schema]
        self._rows = TypedRows(engine.work, columns, generated.subquery(RAW))
        self._scan = self._rows.scan()
        self._refuse_unfit(schema, settings)

    def scan(self, fetch: Fetch) -> exp.Select:
        self._register(fetch)
        return self._scan

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        self._register(fetch)
        return self._rows.diagnose(fetch)

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        self._register(fetch)
        return self._rows.raw(fetch, rows)

    def _register(self, fetch: Fetch) -> None:
        """The statement's text stays the same: the range is a table of one row."""
        if not isinstance(fetch.records, RowRange):
            raise InternalError("this format reads ranges of rows")
        self._register_range(fetch.records)

    def _register_range(self, rows: RowRange) -> None:
        bounds = {"start": ("int64", [rows.start]), "stop": ("int64", [rows.stop])}
        self._connection.register(self._name, arrow_table(bounds))

    def _refuse_unfit(self, schema: Schema, settings: DecodeSettings) -> None:
        """The first row tells whether the values fit the columns."""
        self._register_range(RowRange(0, 1))
        probe = Fetch("", RowRange(0, 1), "the first row", 0, 0)
        for rejected in self._rows.diagnose(probe).rejected:
            raise ConfigError(f"datagen: {rejected.message}", "E3002", f"known are {_KNOWN}")


def _made(declared: Column, spec: str | None, seed: int) -> exp.Expr:
    """The value of a column for row `_n`, not yet of its type."""
    kind = data_type(declared.type)
    given = spec if spec is not None else _default(declared, kind)
    try:
        if given.startswith("template:"):
            return _template(declared.name, given.removeprefix("template:"), seed)
        return _value(given, _Chance(declared.name, seed), whole=kind.is_type(*exp.DataType.INTEGER_TYPES))
    except ValueError as error:
        raise _unknown(declared, given) from error


def _value(spec: str, chance: _Chance, whole: bool) -> exp.Expr:
    """What a specification makes. Raises ValueError for anything else."""
    name, _, argument = spec.partition(":")
    match name:
        case "sequence":
            return exp.Add(this=number(int(argument or "0")), expression=column(_N))
        case "uniform":
            return _uniform(chance, argument, whole)
        case "choice":
            return _choice(chance, _weighted(argument.split(",")))
        case "normal":
            mean, deviation = (float(part) for part in argument.split(","))
            return _normal(chance, mean, deviation)
        case "exponential":
            return _exponential(chance, float(argument))
        case "zipf":
            exponent, ranks = argument.split(",")
            return _zipf(chance, float(exponent), int(ranks))
        case "constant":
            return text(argument)
        case "uuid" if not argument:
            return call("md5", call("concat", text(f"{chance.column} {chance.seed} "), column(_N)))
        case "now" if not argument:
            return call("make_timestamp", call("epoch_us", call("now")))
        case "time":
            return _time(argument)
    raise ValueError(spec)


def _template(name: str, template: str, seed: int) -> exp.Expr:
    """Text with specifications in braces, each with a chance of its own; whole numbers where they can be."""
    parts: list[exp.Expr] = []
    at = 0
    for place, match in enumerate(_PART.finditer(template)):
        value = _value(match[1], _Chance(f"{name} {place}", seed), whole="." not in match[1].replace("..", ""))
        parts += [text(template[at : match.start()]), exp.cast(value, "VARCHAR")]
        at = match.end()
    if not parts or "{" in _PART.sub("", template):
        raise ValueError(template)
    return call("concat", *parts, text(template[at:]))


def _unknown(declared: Column, spec: str) -> ConfigError:
    return ConfigError(f"fields.{declared.name} = '{spec}' is not a specification", "E3002", f"known are {_KNOWN}")


def _default(declared: Column, kind: exp.DataType) -> str:
    """What a column is when no field says it."""
    if kind.is_type(T.BIGINT, T.INT, T.INT128, T.UBIGINT, T.UINT, T.UINT128):
        return "sequence:0"
    if kind.is_type(*exp.DataType.INTEGER_TYPES):
        return "uniform:0..100"
    if kind.is_type(T.DOUBLE, T.FLOAT):
        return "uniform:0.0..100.0"
    if kind.this == T.DECIMAL:
        digits = int(kind.expressions[0].name) - int(kind.expressions[1].name)
        return "uniform:0.0..1.0" if digits < 2 else "uniform:0.0..99.0"
    if kind.is_type(T.TEXT, T.VARCHAR):
        return "choice:" + ",".join(f"{declared.name}_{i}" for i in range(10))
    if kind.this == T.BOOLEAN:
        return "choice:true,false"
    if kind.is_type(T.TIMESTAMPNTZ, T.TIMESTAMP, T.TIMESTAMPTZ):
        return "time:2024-01-01+1s"
    if kind.this == T.DATE:
        return "time:2024-01-01+1d"
    if kind.this == T.UUID:
        return "uuid"
    raise ConfigError(
        f"datagen has no default for column {declared.name} of type {declared.type}",
        "E3004",
        f"set fields.{declared.name} to one of {_KNOWN}",
    )


@dataclass(frozen=True, slots=True)
class _Chance:
    """Numbers that look random: hashes of the row number, the column and the seed."""

    column: str
    seed: int

    def fraction(self, draw: int = 0) -> exp.Expr:
        """From 0 to 1, 1 not included, in steps that a double holds."""
        mixed = call("hash", column(_N), text(self.column), number(self.seed))
        for _ in range(draw + 1):  # the engine mixes several arguments too simply: columns would depend on one another
            mixed = call("hash", mixed)
        high = exp.IntDiv(this=mixed, expression=number(1 << (64 - _FRACTION_BITS)))
        return exp.Div(this=exp.cast(high, "DOUBLE"), expression=exp.cast(number(1 << _FRACTION_BITS), "DOUBLE"))


def _uniform(chance: _Chance, argument: str, whole: bool) -> exp.Expr:
    low, _, high = argument.partition("..")
    if whole:
        span = int(high) - int(low) + 1
        if span < 1:
            raise ValueError(argument)
        steps = call("floor", exp.Mul(this=chance.fraction(), expression=number(span)))
        return exp.Add(this=number(int(low)), expression=exp.cast(steps, "HUGEINT"))
    width = float(high) - float(low)
    if not 0 <= width < float("inf"):
        raise ValueError(argument)
    return exp.Add(this=_double(float(low)), expression=exp.Mul(this=chance.fraction(), expression=_double(width)))


def _weighted(values: Sequence[str]) -> list[str]:
    """`A*3` is there three times."""
    found: list[str] = []
    for value in values:
        match = _WEIGHTED.fullmatch(value)
        found += [match[1]] * int(match[2]) if match is not None else [value]
        if not 0 < len(found) <= _WEIGHTS_MAX:
            raise ValueError(value)
    return found


def _exponential(chance: _Chance, mean: float) -> exp.Expr:
    """Waiting times: many short ones, few long ones."""
    if not 0 < mean < float("inf"):
        raise ValueError(mean)
    rest = exp.Sub(this=number(1), expression=chance.fraction())
    return exp.Mul(this=_double(-mean), expression=call("ln", rest))


def _zipf(chance: _Chance, exponent: float, ranks: int) -> exp.Expr:
    """Ranks from 1: rank r about r^-exponent as often as the first. The inverse of the continuous distribution."""
    if not 0 < exponent <= 100 or ranks < 1:
        raise ValueError(exponent)
    if abs(exponent - 1) < 1e-9:
        value: exp.Expr = call("pow", _double(float(ranks + 1)), chance.fraction())
    else:
        span = float(ranks + 1) ** (1 - exponent) - 1
        inner = exp.Add(this=number(1), expression=exp.Mul(this=chance.fraction(), expression=_double(span)))
        value = call("pow", inner, _double(1 / (1 - exponent)))
    return call("least", exp.cast(call("floor", value), "BIGINT"), number(ranks))


def _choice(chance: _Chance, values: Sequence[str]) -> exp.Expr:
    place = call("floor", exp.Mul(this=chance.fraction(), expression=number(len(values))))
    index = exp.Add(this=exp.cast(place, "BIGINT"), expression=number(1))
    return call("list_extract", exp.Array(expressions=[text(value) for value in values]), index)


def _normal(chance: _Chance, mean: float, deviation: float) -> exp.Expr:
    """By Box and Muller. One minus a fraction is never zero, which has no logarithm."""
    size = call("ln", exp.Sub(this=number(1), expression=chance.fraction(0)))
    radius = call("sqrt", exp.Mul(this=number(-2), expression=size))
    turn = exp.Mul(this=_double(2 * math.pi), expression=chance.fraction(1))
    wave = exp.Mul(this=radius, expression=call("cos", turn))
    return exp.Add(this=_double(mean), expression=exp.Mul(this=_double(deviation), expression=wave))


def _time(argument: str) -> exp.Expr:
    match = _STEP.fullmatch(argument)
    if match is None:
        raise ValueError(argument)
    start = datetime.fromisoformat(match[1])
    start = start.replace(tzinfo=UTC) if start.tzinfo is None else start
    start_us = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    steps = exp.Mul(this=column(_N), expression=number(int(match[2]) * _UNITS_US[match[3]]))
    return call("make_timestamp", exp.Add(this=number(start_us), expression=steps))


def _double(value: float) -> exp.Expr:
    return exp.cast(text(repr(value)), "DOUBLE")
