"""Expressions and aggregates in two forms: as SQL, and as Python for the reference model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.model.reference import Expression, Row, RowFailedError
from tests.properties.draw import Draw

COLUMNS = {
    "ts": "TIMESTAMP",
    "k": "VARCHAR",
    "j": "BIGINT",
    "v": "BIGINT",
    "x": "DOUBLE",
    "d": "DECIMAL(10,2)",
    "t": "VARCHAR",
    "f": "BOOLEAN",
}


@dataclass(frozen=True)
class Item:
    sql: str
    function: Expression


def _of(sql: str, names: str, function: Callable[..., Any]) -> Item:
    """An expression that is NULL when one of the columns that it names is."""

    def over(row: Row) -> Any:
        values = [row[name] for name in names]
        return None if None in values else function(*values)

    return Item(sql, over)


#: What looks like a parameter, a place to be filled in, or the end of a text.
ODD_TEXTS = ("$partition", "$row_base $batch_number", "{}", "{0} %s %(x)s 100%", 'it\'s "$seen"', "a\\'$1 ? ;--")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise RowFailedError from error


def _case(row: Row) -> Any:
    return row["v"] if row["v"] is not None and row["v"] > 5 else row["j"]


INTEGERS = (
    _of("v", "v", lambda v: v),
    _of("j", "j", lambda j: j),
    _of("v + j", "vj", lambda v, j: v + j),
    _of("v * 3 - 1", "v", lambda v: v * 3 - 1),
    Item("CASE WHEN v > 5 THEN v ELSE j END", _case),
    _of("CAST(t AS BIGINT)", "t", _number),
)
FLOATS = (
    _of("x", "x", lambda x: x),
    _of("x * 2", "x", lambda x: x * 2),
    _of("v / 4", "v", lambda v: v / 4),
)
DECIMALS = (_of("d", "d", lambda d: d), _of("d + d", "d", lambda d: d + d))
TEXTS = (
    _of("k", "k", lambda k: k),
    _of("t", "t", lambda t: t),
    _of("k || t", "kt", lambda k, t: k + t),
    _of("upper(k)", "k", str.upper),
    *(_of(f"k || {_literal(text)}", "k", lambda k, text=text: k + text) for text in ODD_TEXTS),
)
FLAGS = (_of("f", "f", lambda f: f), _of("v > 3", "v", lambda v: v > 3))
ANY = INTEGERS[:3] + TEXTS[:2] + FLAGS + FLOATS[:1] + DECIMALS[:1]

CONJUNCTS = (
    _of("v > 2", "v", lambda v: v > 2),
    _of("k <> 'a'", "k", lambda k: k != "a"),
    Item("t IS NOT NULL", lambda row: row["t"] is not None),
    _of("f", "f", lambda f: f),
    _of("v % 3 = 1", "v", lambda v: math.fmod(v, 3) == 1),
    _of("j IN (0, 2)", "j", lambda j: j in (0, 2)),
    _of("CAST(t AS BIGINT) < 20", "t", lambda t: _number(t) < 20),
    _of("d >= 0.5", "d", lambda d: d >= Decimal("0.5")),
    *(_of(f"t <> {_literal(text)}", "t", lambda t, text=text: t != text) for text in ODD_TEXTS),
)
KEYS = (
    _of("k", "k", lambda k: k),
    _of("j", "j", lambda j: j),
    _of("v % 2 = 0", "v", lambda v: v % 2 == 0),
    _of("f", "f", lambda f: f),
    _of("CAST(t AS BIGINT)", "t", _number),
)


@dataclass(frozen=True)
class Choice:
    """An aggregate by its name in the model, how it is written, and what its arguments may be."""

    function: str
    sql: str
    arguments: tuple[tuple[Item, ...], ...]
    distinct: bool = False
    numeric: bool = False

    def draw_arguments(self, draw: Draw) -> tuple[Item, ...]:
        return tuple(draw.pick(items) for items in self.arguments)


AGGREGATES = (
    Choice("count_star", "count(*)", (), numeric=True),
    Choice("count", "count({})", (ANY,), distinct=True, numeric=True),
    Choice("sum", "sum({})", (INTEGERS,), distinct=True, numeric=True),
    Choice("sum", "sum({})", (FLOATS,), numeric=True),
    Choice("sum", "sum({})", (DECIMALS,), numeric=True),
    Choice("min", "min({})", (ANY,)),
    Choice("max", "max({})", (ANY,)),
    Choice("avg", "avg({})", (INTEGERS,), numeric=True),
    Choice("avg", "avg({})", (FLOATS,), numeric=True),
    Choice("avg", "avg({})", (DECIMALS,), numeric=True),
    Choice("first", "first({})", (ANY,)),
    Choice("last", "last({})", (ANY,)),
    Choice("arg_min", "arg_min({}, {})", (ANY, INTEGERS)),
    Choice("arg_max", "arg_max({}, {})", (ANY, INTEGERS)),
    Choice("median", "median({})", (INTEGERS,), numeric=True),
    Choice("mode", "mode({})", (INTEGERS + TEXTS,)),
    Choice("list", "list({})", (ANY,)),
    Choice("string_agg", "string_agg({}, ',')", (TEXTS,)),
    Choice("bool_and", "bool_and({})", (FLAGS,)),
    Choice("bool_or", "bool_or({})", (FLAGS,)),
    Choice("var_pop", "var_pop({})", (FLOATS,), numeric=True),
    Choice("stddev_samp", "stddev_samp({})", (FLOATS,), numeric=True),
)
