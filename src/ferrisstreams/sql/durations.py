"""Intervals as written in SQL: `INTERVAL '5' MINUTE`, `INTERVAL '5 minutes'`, `'5 minutes'`, and their one form."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.config.intervals import UNITS, Interval, read_amount, read_interval

#: The engine reads the number beside a unit as a DOUBLE.
_NUMBER_MAX = 2**53


def is_unit(word: str) -> bool:
    return word.lower() in UNITS


def unit_name(word: str) -> str:
    """The one name of a unit of time."""
    return UNITS[word.lower()][2]


def parse_duration(text: str) -> int | None:
    """Microseconds of `5 minutes`, `1h`, `1 hour 30 minutes`; None when it is not a length of fixed size."""
    try:
        length = read_interval(text).length_us
    except ValueError:
        return None
    return length if length is not None and length >= 0 else None


def is_length(node: exp.Expr) -> bool:
    """Whether the node is written as a length of time, right or wrong: an interval or a text."""
    node = _bare(node)
    return isinstance(node, exp.Interval) or (isinstance(node, exp.Literal) and node.is_string)


def duration_of(node: exp.Expr) -> int | None:
    """Microseconds of an interval or of a text literal; None when it is neither or has no fixed size."""
    try:
        written = written_interval(node)
    except ValueError:
        return None
    return written.length_us if written is not None else None


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren) or (isinstance(node, exp.Cast) and node.to.is_type(exp.DType.INTERVAL)):
        node = node.this
    return node


def written_interval(node: exp.Expr) -> Interval | None:
    """The interval that a node writes as a constant; None for another one. Raises ValueError for anything else."""
    node = _bare(node)
    if isinstance(node, exp.Literal) and node.is_string:
        return read_interval(node.name)
    if not isinstance(node, exp.Interval):
        return None
    amount, negative = node.this, False
    while isinstance(amount, exp.Paren | exp.Neg):
        negative ^= isinstance(amount, exp.Neg)
        amount = amount.this
    if not isinstance(amount, exp.Literal):
        return None
    unit = node.args.get("unit")
    if unit is None:
        return read_interval(amount.name)
    return read_amount(f"-{amount.name}" if negative else amount.name, unit.name)


def interval_tree(interval: Interval) -> exp.Interval:
    """The one form of an interval: a number and the largest unit of its part, or several of them as a text."""
    parts = interval.parts()
    if len(parts) == 1 and abs(parts[0][0]) < _NUMBER_MAX:
        number, unit = parts[0]
        return exp.Interval(this=exp.Literal.string(str(number)), unit=exp.var(unit))
    texts = [f"{number} {unit.lower()}{'' if abs(number) == 1 else 's'}" for number, unit in parts]
    return exp.Interval(this=exp.Literal.string(" ".join(texts)))


def canonical_interval(node: exp.Expression) -> exp.Expression:
    """The one form of a node that writes an interval or a text; one that has none stays."""
    try:
        written = written_interval(node)
    except ValueError:
        written = None
    return interval_tree(written) if written is not None else node.copy()
