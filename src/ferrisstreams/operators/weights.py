"""Rows with weights into changes: what an operator whose rows can be taken back gives of a tick.

A weight says how often a row is added (above 0) or taken back (below). Equal rows of a tick cancel. What is left
becomes `-D` and `+I`; where the result has a key, an old and a new row of one key are `-U` and `+U`, the old one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import template
from ferrisstreams.operators.base import ROWS_IN, TICK_NUMBER, parameter
from ferrisstreams.operators.changes import DISAPPEARED, INSERTED, OP, REPLACED, REPLACEMENT
from ferrisstreams.operators.log import FIRST_ROW, LAST_ROW, LATE_WINDOWS, OUTCOME, ROWS, SEEN
from ferrisstreams.operators.windows import number

#: How often a row stands or is taken back (BIGINT). It is beside columns of the user, of which none may be called so.
WEIGHT = "_ferris_weight"

#: The place of a row of a log in the order of arrival.
PLACE = "_n"

_OF_KEY, _EACH = "_ferris_of_key", "_ferris_each"

#: Places of the rows of a tick begin at its number times this: no tick has so many rows.
TICK_PLACES = 1 << 32

#: The places of the rows that a result is made of, which order it.
PLACES = ("_p0", "_p1")


def appended(
    columns: Sequence[exp.Expr],
    rows: exp.Expression,
    slice_: exp.Expression | None = None,
    seen: exp.Expression | None = None,
    first_row: exp.Expression | None = None,
) -> exp.Select:
    """What a tick appends of `rows_in`: outcome, slice, `columns`, place, and the counts of `DELTA_COUNTS`. What is not
    kept is only counted; `rows` says how many rows each is, `first_row` the first of them."""
    nothing = exp.null()
    counts = {ROWS: rows, SEEN: seen or nothing, LATE_WINDOWS: number(0), FIRST_ROW: nothing, LAST_ROW: nothing}
    place = template(
        "n * places + row", n=parameter(TICK_NUMBER), places=number(TICK_PLACES), row=first_row or column(ROW)
    )
    return exp.select(
        column(OUTCOME),
        exp.alias_(exp.Case().when(column(OUTCOME).eq(0), exp.cast(slice_ or number(0), "BIGINT")), SLICE),
        *columns,
        exp.alias_(place, PLACE),
        *[exp.alias_(exp.cast(value, "BIGINT"), name) for name, value in counts.items()],
    ).from_(ROWS_IN)


def came_before(place: exp.Expression) -> exp.Expression:
    """Whether a row of a log with this place came before the tick."""
    return template("n < tick * places", n=place, tick=parameter(TICK_NUMBER), places=number(TICK_PLACES))


@dataclass(frozen=True, slots=True)
class Result:
    """The columns of a result. `changing`: its rows have weights; `with_op`: it says of each row how it changes. `key`:
    the columns that tell apart what stands at one time, where changes are reported by it."""

    names: tuple[str, ...]
    changing: bool
    with_op: bool
    key: tuple[str, ...] = ()


def weight_of(op: exp.Expression) -> exp.Expression:
    """The weight of a row that an operator gives as a change."""
    return template("CASE WHEN op IN ('-U', '-D') THEN -1 ELSE 1 END", op=op)


def as_changes(rows: exp.Query, result: Result, others: Sequence[str] = ()) -> exp.Select:
    """Rows with `PLACES`, and with weights where they change, as results with `_row`; `others` are columns beside."""
    shown = [*result.names, *others]
    if not result.changing:
        op = [exp.alias_(exp.Literal.string(INSERTED), OP)] if result.with_op else []
        made = exp.select(_ordinal(PLACES), *op, *map(column, shown))
        return made.from_(rows.subquery("made", copy=False))
    net = _netted(rows, result.names)
    if result.key:
        one = exp.Window(this=exp.Count(this=exp.Star()), partition_by=[column(name) for name in result.key])
        net = exp.select("*", exp.alias_(one, _OF_KEY)).from_(net.subquery("net", copy=False))
        return exp.select(_ordinal((*result.key, WEIGHT)), exp.alias_(_keyed_op(), OP), *map(column, shown)).from_(
            net.subquery("changed", copy=False)
        )
    each = exp.alias_(template("unnest(range(abs(w)))", w=column(WEIGHT)), _EACH)
    repeated = exp.select("*", each).from_(net.subquery("net", copy=False))
    sign = exp.alias_(_chosen(column(WEIGHT) < 0, DISAPPEARED, INSERTED), OP)
    return exp.select(_ordinal((*PLACES, WEIGHT)), sign, *map(column, shown)).from_(
        repeated.subquery("changed", copy=False)
    )


def _netted(rows: exp.Query, names: Sequence[str]) -> exp.Select:
    weight = exp.cast(exp.Sum(this=column(WEIGHT)), "BIGINT")
    places = [exp.alias_(exp.Min(this=column(place)), place) for place in PLACES]
    net = exp.select(*map(column, names), exp.alias_(weight, WEIGHT), *places).from_(rows.subquery("made", copy=False))
    return net.group_by(*map(column, names)).having(weight.copy().neq(exp.Literal.number(0)))


def _ordinal(order: Sequence[str]) -> exp.Expr:
    ordered = exp.Order(expressions=[exp.Ordered(this=column(name)) for name in order])
    number = exp.Window(this=exp.RowNumber(), order=ordered)
    return exp.alias_(exp.Sub(this=number, expression=exp.Literal.number(1)), ROW)


def _keyed_op() -> exp.Expression:
    several = column(_OF_KEY) > 1
    gone = _chosen(several.copy(), REPLACED, DISAPPEARED)
    new = _chosen(several, REPLACEMENT, INSERTED)
    return exp.Case().when(column(WEIGHT) < 0, gone).else_(new)


def _chosen(condition: exp.Expression, first: str, second: str) -> exp.Expression:
    return exp.Case().when(condition, exp.Literal.string(first)).else_(exp.Literal.string(second))
