"""Arguments of aggregate calls as columns of their own, so that they are computed in the statement of the row."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.operators.aggregates import takes_doubles
from ferrisstreams.operators.calls import replace_arguments
from ferrisstreams.plan.nodes import Named


def lifted(call: exp.Expression, columns: list[Named]) -> exp.Expression:
    """The call over columns `_a0` … that hold its arguments; those that there are not yet are added to `columns`."""
    condition = call.expression.this.unnest() if isinstance(call, exp.Filter) else None
    is_cast = takes_doubles(call)

    def lift(argument: exp.Expression) -> exp.Expression:
        while isinstance(argument, exp.Paren):
            argument = argument.this  # What a DISTINCT call is of, and ordered by, are one column.
        guarded = argument.copy()
        if is_cast and argument != condition and not isinstance(argument, exp.Column):
            # A value that is not a number fails its row, not the group.
            guarded = exp.cast(guarded, "DOUBLE")
        if condition is not None and argument != condition and not isinstance(argument, exp.Column):
            guarded = exp.Case().when(condition.copy(), guarded)
        for named in columns:
            if named.expression == guarded:
                return column(named.name)
        columns.append(Named(f"_a{len(columns)}", guarded))
        return column(columns[-1].name)

    return replace_arguments(call, lift)
