"""Aggregates of the reference model: what each gives for its values, as plain Python.

A function takes the rows' argument tuples in stream order. NULL is None.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

Value: TypeAlias = Any  # a value of SQL: any Python object that compares with its like
Arguments: TypeAlias = tuple[Value, ...]
Aggregate: TypeAlias = Callable[[Sequence[Arguments]], Value]


def _known(rows: Sequence[Arguments]) -> list[Value]:
    return [row[0] for row in rows if row[0] is not None]


def _or_null(function: Callable[[list[Value]], Value]) -> Aggregate:
    """Skips NULL; over no value the result is NULL."""

    def over(rows: Sequence[Arguments]) -> Value:
        values = _known(rows)
        return function(values) if values else None

    return over


def _sum(values: list[Value]) -> Value:
    return math.fsum(values) if isinstance(values[0], float) else sum(values)


def average(values: list[Value]) -> Value:
    """Of decimals: the exact sum divided by the count, rounded half up to six digits more; else a float."""
    if not isinstance(values[0], Decimal):
        return _sum(values) / len(values)
    scale = -int(values[0].as_tuple().exponent) + 6
    total = sum(values) * 10**scale
    quotient = (total / len(values)).quantize(Decimal(1), ROUND_HALF_UP)
    return quotient.scaleb(-scale)


def _extreme(rows: Sequence[Arguments], sign: int) -> Value:
    """The first argument at the least second one; ties go to the row that comes first in stream order."""
    best: Arguments | None = None
    for row in rows:
        if row[0] is None or row[1] is None:
            continue
        if best is None or (row[1] < best[1] if sign < 0 else row[1] > best[1]):
            best = row
    return None if best is None else best[0]


def _mode(values: list[Value]) -> Value:
    return max(values, key=values.count)  # the first of the most frequent


def _spread(function: Callable[[list[float]], float], least: int) -> Aggregate:
    def over(rows: Sequence[Arguments]) -> Value:
        values = [float(value) for value in _known(rows)]
        return function(values) if len(values) >= least else None

    return over


AGGREGATES: dict[str, Aggregate] = {
    "count_star": len,
    "count": lambda rows: len(_known(rows)),
    "sum": _or_null(_sum),
    "min": _or_null(min),
    "max": _or_null(max),
    "avg": _or_null(average),
    "first": lambda rows: rows[0][0] if rows else None,
    "last": lambda rows: rows[-1][0] if rows else None,
    "arg_min": lambda rows: _extreme(rows, -1),
    "arg_max": lambda rows: _extreme(rows, 1),
    "median": _or_null(lambda values: float(statistics.median(values))),
    "string_agg": _or_null(",".join),
    "list": lambda rows: [row[0] for row in rows] or None,
    "mode": _or_null(_mode),
    "bool_and": _or_null(all),
    "bool_or": _or_null(any),
    "var_pop": _spread(statistics.pvariance, 1),
    "stddev_samp": _spread(statistics.stdev, 2),
}


def distinct(rows: Sequence[Arguments]) -> list[Arguments]:
    """Each argument tuple once, at its first place."""
    kept: list[Arguments] = []
    for row in rows:
        if row not in kept:
            kept.append(row)
    return kept
