"""Bounds of a join in time: comparisons of the event times of its sides, and WITHIN."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.sql.context import Context
from ferrisstreams.sql.durations import duration_of
from ferrisstreams.sql.syntax import Within
from ferrisstreams.sql.windows import Grace

_FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}


@dataclass(frozen=True, slots=True)
class Interval:
    """What conditions say of `right - left`, in microseconds. None: nothing on that side."""

    low_us: int | None = None
    high_us: int | None = None

    def and_(self, other: Interval) -> Interval:
        lows = [low for low in (self.low_us, other.low_us) if low is not None]
        highs = [high for high in (self.high_us, other.high_us) if high is not None]
        return Interval(max(lows, default=None), min(highs, default=None))


@dataclass(frozen=True, slots=True)
class TimeCondition:
    """A condition that bounds how far two columns of times are apart."""

    left: str
    right: str
    interval: Interval
    node: exp.Expression


def time_condition(node: exp.Expression, left: frozenset[str], right: frozenset[str]) -> TimeCondition | None:
    """What a conjunct says of how far a column of `right` is behind one of `left`; None when it says nothing of it."""
    bounds: list[TimeCondition | None]
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        low, high = node.args["low"], node.args["high"]
        bounds = [_compared(exp.GTE, node.this, low, left, right), _compared(exp.LTE, node.this, high, left, right)]
    else:
        bounds = [_compared(type(node), node.this, node.expression, left, right)] if isinstance(node, _KINDS) else []
    found = [bound for bound in bounds if bound is not None]
    if not found or len(found) < len(bounds) or len({(bound.left, bound.right) for bound in found}) > 1:
        return None
    interval = Interval()
    for bound in found:
        interval = interval.and_(bound.interval)
    return TimeCondition(found[0].left, found[0].right, interval, node)


_KINDS: tuple[type[exp.Expr], ...] = (exp.EQ, *_FLIPPED)


def _compared(
    kind: type[exp.Expr], first: exp.Expr, other: exp.Expr, left: frozenset[str], right: frozenset[str]
) -> TimeCondition | None:
    one, two = _shifted(first), _shifted(other)
    if one is None or two is None:
        return None
    if one[0] in left and two[0] in right:
        kind, one, two = _FLIPPED.get(kind, kind), two, one
    if one[0] not in right or two[0] not in left:
        return None
    by = two[1] - one[1]  # right - left, compared with it
    intervals: dict[type[exp.Expr], Interval] = {
        exp.EQ: Interval(by, by),
        exp.GTE: Interval(by, None),
        exp.GT: Interval(by + 1, None),
        exp.LTE: Interval(None, by),
        exp.LT: Interval(None, by - 1),
    }
    return TimeCondition(two[0], one[0], intervals[kind], exp.true())


def _shifted(node: exp.Expr) -> tuple[str, int] | None:
    """A column and how far it is moved, of `ts`, `ts + INTERVAL …`, `INTERVAL … + ts` and `ts - INTERVAL …`."""
    match node:
        case exp.Paren():
            return _shifted(node.this)
        case exp.Column():
            return node.name, 0
        case exp.Add() | exp.Sub():
            base, by = _shifted(node.this), _length(node.expression)
            if isinstance(node, exp.Add) and base is None:
                base, by = _shifted(node.expression), _length(node.this)
            if base is None or by is None:
                return None
            return base[0], base[1] + (by if isinstance(node, exp.Add) else -by)
    return None


def _length(node: exp.Expr) -> int | None:
    while isinstance(node, exp.Paren):
        node = node.this
    return duration_of(node) if isinstance(node, exp.Interval) else None


@dataclass(frozen=True, slots=True)
class WrittenWithin:
    """`WITHIN d`, `WITHIN (before, after)`: how far the right side may be before and behind the left."""

    before_us: int
    after_us: int
    grace: Grace | None


def read_within(context: Context, node: Within) -> WrittenWithin:
    """Raises `SqlError` for lengths that are not of fixed size."""
    lengths = [
        _fixed(context, length, "WITHIN 10 MINUTES, or WITHIN (1 MINUTE, 5 MINUTES)") for length in node.expressions
    ]
    written = node.args.get("grace")
    grace = Grace(_fixed(context, written, "GRACE PERIOD 10 SECONDS"), written) if written is not None else None
    return WrittenWithin(lengths[0], lengths[-1], grace)


def _fixed(context: Context, node: exp.Expression, usage: str) -> int:
    length = duration_of(node)
    if length is None or length < 0:
        raise context.error(node, f"{node.sql('duckdb')} is not a length of fixed size", "E1102", f"write {usage}")
    return length
