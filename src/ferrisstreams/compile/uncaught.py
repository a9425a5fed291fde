"""Rows whose expression raises what TRY does not catch, such as an unknown time zone, found by halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.compile.payload import Parameters
from ferrisstreams.compile.rows import FAILED, LATE, RowShape, failing, judged, try_expression
from ferrisstreams.duck.engine import Connection, DataError, column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.log import OUTCOME
from ferrisstreams.plan.nodes import Named

_UNCAUGHT, _TRIED = "_uncaught", "_tried"


def failing_by_halves(work: Connection, shape: RowShape, batch: str, parameters: Parameters) -> exp.Query | None:
    """What `failing` gives, where it raises itself; None when no row by itself does."""
    found = _find(work, shape, batch, parameters)
    if not found:
        return None
    work.materialize(_UNCAUGHT, _table(found))
    known = exp.alias_(column(ROW).isin(query=exp.select(ROW).from_(_UNCAUGHT)), FAILED)
    work.materialize(_TRIED, exp.select("*", known).from_(batch))
    others = failing(shape, judged(shape, exp.select("*").from_(_TRIED), marked=True)).subquery("others")
    return exp.union(exp.select("*").from_(_UNCAUGHT), exp.select("*").from_(others), distinct=False)


def keep_uncomputed(
    work: Connection, computed: Sequence[Named], batch: str, table: str, parameters: Parameters
) -> bool:
    """Keep, as a table, `_row` and `_which` of the rows in which one of these raises by itself; False when none does.

    Not by TRY, which the engine refuses around what is of chance.
    """
    rows = [integer(row[0]) for row in work.rows(exp.select(ROW).from_(batch).order_by(ROW), parameters)]
    found = [
        (row, which)
        for which, named in enumerate(computed)
        for row in _halved(rows, partial(_evaluates, work, batch, named.expression))
    ]
    if found:
        work.materialize(table, _table(found))
    return bool(found)


def _find(work: Connection, shape: RowShape, batch: str, parameters: Parameters) -> list[tuple[int, int]]:
    """`_row` and `_which` of the rows. Late ones are not among them: they are judged no further."""
    unmarked = exp.select("*", exp.alias_(exp.false(), FAILED)).from_(batch)
    lateness = judged(replace(shape, conjuncts=()), unmarked, marked=True).subquery("judged")
    timely = exp.select(ROW).from_(lateness).where(column(OUTCOME).neq(LATE)).order_by(ROW)
    rows = [integer(row[0]) for row in work.rows(timely, parameters)]
    found: dict[int, int] = {}
    for which, expression in enumerate([*shape.conjuncts, *(named.expression for named in shape.columns)]):
        if not isinstance(expression, exp.Column):
            for row in _halved(rows, partial(_evaluates, work, batch, try_expression(expression))):
                found.setdefault(row, which)
    return sorted(found.items())


def _halved(rows: Sequence[int], sound: Callable[[Sequence[int]], bool]) -> Iterator[int]:
    """Those of the rows that are not sound by themselves."""
    pending = [rows] if rows else []
    while pending:
        part = pending.pop()
        if sound(part):
            continue
        middle = len(part) // 2
        if middle:
            pending += [part[:middle], part[middle:]]
        else:
            yield part[0]


def _evaluates(work: Connection, batch: str, expression: exp.Expression, rows: Sequence[int]) -> bool:
    inside = column(ROW).between(rows[0], rows[-1])
    try:
        work.rows(exp.select(exp.Count(this=expression.copy())).from_(batch).where(inside))
    except DataError:
        return False
    return True


def _table(pairs: Sequence[tuple[int, int]]) -> exp.Select:
    values = exp.values([(str(row), str(which)) for row, which in pairs], "uncaught", [ROW, "_which"])
    return exp.select(*[exp.alias_(exp.cast(column(name), "BIGINT"), name) for name in (ROW, "_which")]).from_(values)
