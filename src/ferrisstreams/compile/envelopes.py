"""Changes as Debezium writes them: the old and the new value of a row in one message."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.compile.message_rows import MessageLines
from ferrisstreams.compile.payload import LINE
from ferrisstreams.compile.rows import FILTERED
from ferrisstreams.duck.engine import column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.changes import OP, REPLACED, REPLACEMENT
from ferrisstreams.operators.log import OUTCOME


class Envelopes(MessageLines):
    """Values that are objects of `before`, `after` and `op` (`c` a new row, `u` one with another value).

    The rows have the column `_op`, and an old value stands right before its new one: it becomes a part of that.
    """

    def _lines(self, rows: exp.Select) -> exp.Select:
        lines = super()._lines(rows)
        old = column(OP).eq(exp.Literal.string(REPLACED))
        next_to = exp.Add(this=_lagged(ROW), expression=exp.Literal.number(1)).eq(column(ROW))
        replaces = exp.and_(
            column(OP).eq(exp.Literal.string(REPLACEMENT)), _lagged(OP).eq(exp.Literal.string(REPLACED)), next_to
        )
        before = function("coalesce", exp.Case().when(replaces, _lagged(LINE)), exp.Literal.string("null"))
        op = exp.Case().when(column(OP).eq(exp.Literal.string(REPLACEMENT)), exp.Literal.string("u"))
        parts = ('{"before":', before, ',"after":', column(LINE), ',"op":"', op.else_(exp.Literal.string("c")), '"}')
        text = function("concat", *(exp.Literal.string(part) if isinstance(part, str) else part for part in parts))
        made = exp.Case().when(exp.and_(exp.not_(column(LINE).is_(exp.null())), exp.not_(old.copy())), text)
        outcome = exp.Case().when(old, exp.Literal.number(FILTERED)).else_(column(OUTCOME))
        replaced = [exp.alias_(made, LINE), exp.alias_(outcome, OUTCOME)]
        return exp.select(exp.Star(replace=replaced)).from_(lines.subquery("lines", copy=False))


def _lagged(name: str) -> exp.Expression:
    """The value of the row before."""
    order = exp.Order(expressions=[exp.Ordered(this=column(ROW))])
    return exp.Window(this=function("lag", column(name)), order=order)
