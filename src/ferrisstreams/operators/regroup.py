"""The aggregate over rows that can be taken back, as an operator: what each group holds is kept, with weights.

    rows ─▶ log of (keys, values, weight) ─▶ groups with a row of the tick: as they were, and as they are

Counts, exact sums and their averages are kept as sums of weights and of weighted values, one row for each group of a
tick. Any other aggregate needs the values themselves: they are kept with how often each stands, and the real aggregate
runs over those of the touched groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import VALUE, Partial, WeightedPlan, template
from ferrisstreams.operators.base import LOG, TICK_ROWS, Port, RowsOperator
from ferrisstreams.operators.log import OUTCOME, same
from ferrisstreams.operators.weights import (
    PLACE,
    PLACES,
    WEIGHT,
    Result,
    appended,
    as_changes,
    came_before,
)
from ferrisstreams.operators.windows import number
from ferrisstreams.plan.nodes import Named

_ONE_WEIGHT = exp.cast(exp.Sum(this=column(WEIGHT)), "BIGINT")


@dataclass(frozen=True, slots=True)
class Groups:
    """`keys` are those of the log (`_k0` …), each with the column of the result that it makes. `final`: results are
    given once, at the end of the input."""

    keys: tuple[Named, ...]
    plan: WeightedPlan
    result: Result
    final: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"_k{place}" for place in range(len(self.keys)))


def regroup(groups: Groups) -> RowsOperator:
    """The operator that groups rows with weights."""
    port = Port(append=_append(groups), append_apart=_append(groups), keep=_net(groups, exp.select("*").from_(LOG)))
    if groups.final:
        everything = _results(groups, exp.select("*").from_(LOG), with_one=True)
        return RowsOperator((port,), (), at_end=as_changes(_placed(everything, 1, groups), groups.result))
    touched = exp.select("*").from_(LOG)
    if groups.names:
        keys = exp.select(*map(column, groups.names)).from_(TICK_ROWS).distinct()
        on = same(groups.names, "l", "t")
        touched = (
            exp.select("l.*")
            .from_(exp.to_table(LOG).as_("l"))
            .join(keys.subquery("t"), on=on, join_type="semi", copy=False)
        )
    known = touched.copy().where(came_before(column(PLACE)))
    before = _placed(_results(groups, known, with_one=False), -1, groups)
    after = _placed(_results(groups, touched, with_one=True), 1, groups)
    changes = as_changes(exp.union(before, after, distinct=False, copy=False), groups.result)
    return RowsOperator((port,), (changes,))


def _append(groups: Groups) -> exp.Select:
    """The rows of a tick by outcome, keys and values, with their weights; or their weighted sums."""
    by: list[exp.Expr] = [column(OUTCOME), *map(column, groups.names)]
    made: list[exp.Expr] = _partials(groups.plan.partials)
    if not made:
        made.append(exp.alias_(groups.plan.value.copy(), VALUE))
        by.append(groups.plan.value.copy())
    columns = [*map(column, groups.names), *made, exp.alias_(_ONE_WEIGHT.copy(), WEIGHT)]
    rows = exp.Count(this=exp.Star())
    return appended(columns, rows, first_row=exp.Min(this=column(ROW))).group_by(*by)


def _partials(partials: Sequence[Partial]) -> list[exp.Expr]:
    return [exp.alias_(partial.expression.copy(), partial.name, quoted=True) for partial in partials]


def _net(groups: Groups, log: exp.Select) -> exp.Select:
    """The log in fewer rows. That of a single group keeps a row although nothing stands: it was given."""
    by = list(map(column, groups.names))
    select = exp.select(column(SLICE), *by)
    if groups.plan.partials:
        merges = [exp.alias_(p.merge.copy(), p.name, quoted=True) for p in groups.plan.partials]
        select = select.select(*merges)
    else:
        select = select.select(column(VALUE))
        by.append(column(VALUE))
    select = select.select(exp.alias_(_ONE_WEIGHT.copy(), WEIGHT), exp.alias_(exp.Min(this=column(PLACE)), PLACE))
    net = select.from_(log.subquery("log", copy=False)).group_by(column(SLICE), *[each.copy() for each in by])
    return net.having(_ONE_WEIGHT.copy().neq(number(0))) if groups.names else net


def _results(groups: Groups, log: exp.Select, with_one: bool) -> exp.Select:
    """The groups of a log that stand, with their results. `with_one`: a single group stands also without rows."""
    keys = [exp.alias_(key.expression.copy(), key.name, quoted=True) for key in groups.keys]
    finals = [exp.alias_(named.expression.copy(), named.name, quoted=True) for named in groups.plan.finals]
    by = list(map(column, groups.names))
    if groups.plan.partials:
        merges = [exp.alias_(p.merge.copy(), p.name, quoted=True) for p in groups.plan.partials]
        weight = exp.alias_(_ONE_WEIGHT.copy(), WEIGHT)
        merged = exp.select(*by, *merges, weight, exp.alias_(exp.Count(this=exp.Star()), "_rows_of"))
        merged = merged.from_(log.subquery("log", copy=False))
        merged = merged.group_by(*[each.copy() for each in by]) if by else merged
        stands = column(WEIGHT) > 0 if by else (column("_rows_of") > 0 if not with_one else exp.true())
        return exp.select(*keys, *finals).from_(merged.subquery("merged", copy=False)).where(stands)
    values = _values(groups, log)
    rows = exp.select(*keys, *finals).from_(values.subquery("values", copy=False))
    if by:
        return rows.group_by(*[each.copy() for each in by])
    return (
        rows
        if with_one
        else rows.having(exp.Exists(this=exp.select(number(1)).from_(log.copy().subquery("kept_rows"))))
    )


def _values(groups: Groups, log: exp.Select) -> exp.Select:
    """Each value as often as it stands, with its place."""
    by = [*map(column, groups.names), column(VALUE)]
    stands = exp.alias_(_ONE_WEIGHT.copy(), WEIGHT)
    first = exp.alias_(exp.Min(this=column(PLACE)), PLACE)
    net = exp.select(*by, stands, first).from_(log.subquery("log", copy=False)).group_by(*[each.copy() for each in by])
    net = net.having(_ONE_WEIGHT.copy() > 0)
    each = template("unnest(range(w))", w=column(WEIGHT)).as_("_each")
    value = template("struct_insert(_value, p := _n)").as_(VALUE) if groups.plan.places else column(VALUE)
    repeated = exp.select(*map(column, groups.names), column(VALUE), column(PLACE), each)
    repeated = repeated.from_(net.subquery("net", copy=False))
    return exp.select(*map(column, groups.names), value).from_(repeated.subquery("repeated", copy=False))


def _placed(rows: exp.Select, weight: int, groups: Groups) -> exp.Select:
    """Results with their weight; they have no place but their keys."""
    places = [exp.alias_(exp.cast(number(0), "BIGINT"), place) for place in PLACES]
    names = map(column, groups.result.names)
    made = exp.select(*names, *places).from_(rows.subquery("results", copy=False))
    if groups.result.changing:
        made = made.select(exp.alias_(exp.cast(number(weight), "BIGINT"), WEIGHT))
    return made
