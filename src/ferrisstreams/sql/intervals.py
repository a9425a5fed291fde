"""Intervals in expressions: a constant in its one form, and any other as a call that cuts nothing off its number."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.schema import Schema
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.durations import interval_tree, written_interval
from ferrisstreams.sql.inference import type_of

_HINT = "write INTERVAL '5' MINUTE or INTERVAL '1 day 2 hours'"

#: Units that the engine counts with a fraction.
_WITH_FRACTION = frozenset({"SECOND", "MILLISECOND"})
_CALLS = {"MILLENNIUM": "to_millennia", "CENTURY": "to_centuries"}
_WHOLE = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_WHOLE_AND_LARGE = frozenset({"HUGEINT", "UHUGEINT", "UBIGINT"})
_NUMBERS = ("DOUBLE", "FLOAT", "DECIMAL", '"NULL"', "NULL")


def read_intervals(context: Context, schema: Schema, holder: exp.Expression) -> None:
    """Replace the intervals below a node, whose names are those of `schema`. Raises `SqlError`."""
    for node in list(holder.find_all(exp.Interval, exp.Cast)):
        if isinstance(node, exp.TryCast) or not _is_interval(node):
            continue
        try:
            written = written_interval(node)
        except ValueError as error:
            raise context.error(node, str(error), "E1102", _HINT) from error
        if written is not None:
            node.replace(interval_tree(written))
        elif isinstance(node, exp.Interval):
            node.replace(_counted(context, schema, node))


def _is_interval(node: exp.Expr) -> bool:
    """Whether it is an interval, or a text that is cast to one."""
    if isinstance(node, exp.Interval):
        return True
    text = isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string
    return text and node.args["to"].is_type(exp.DType.INTERVAL)


def _counted(context: Context, schema: Schema, node: exp.Interval) -> exp.Expression:
    """`INTERVAL (n) HOUR` as `to_hours(n)`: the engine would cut the fraction of n."""
    amount, unit = node.this.copy(), str(node.args["unit"].name)
    while isinstance(amount, exp.Paren):
        amount = amount.this
    kind = type_of(context, amount, schema)
    if kind in _WHOLE_AND_LARGE:
        amount = exp.cast(amount, "BIGINT")
    elif kind not in _WHOLE and not (unit in _WITH_FRACTION and kind.startswith(_NUMBERS)) and "NULL" not in kind:
        raise context.error(
            node,
            f"an INTERVAL has a whole number of {unit.lower()}s, this is {kind}",
            "E1102",
            f"multiply: n * INTERVAL '1' {unit}, or cast it to BIGINT",
        )
    call = exp.Anonymous(this=_CALLS.get(unit, f"to_{unit.lower()}s"), expressions=[amount])
    call.update_positions(node)
    return call
