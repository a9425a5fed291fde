"""The join as an operator: a log for each side, and the pairs that the rows of a tick make with the other side's log.

    rows of a side ─▶ its log ─┬─▶ pairs with the rows that the other side has
                               ├─▶ pads: rows of this side that must be given and have no partner
                               └─▶ pads of the other side's rows that have got their first partner, or lost their last

Rows come to one side at a time. So what a tick changes is `rows × other side`, as it stands: the pairs of rows that
came to both sides in one epoch are made by whichever came later. Each row of a log has its place `_n` in the order of
arrival, which is greater than that of all ticks before; of sides whose rows can be taken back a weight (+1, -1).

A join bounded in time, whose rows are never taken back, gives its pads only when the watermark has passed a row's last
possible partner (`due`), and forgets rows that can meet none any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE
from ferrisstreams.operators.aggregates import template
from ferrisstreams.operators.base import HIGH, LOG, LOW, TICK_ROWS, Port, RowsOperator, parameter
from ferrisstreams.operators.log import TIME
from ferrisstreams.operators.weights import PLACE, WEIGHT, Result, appended, as_changes, came_before
from ferrisstreams.operators.windows import floor_to, number
from ferrisstreams.plan.expressions import columns_in, substitute, typed_as
from ferrisstreams.plan.nodes import JoinKind, TimeBound

#: Event time of a row of a join that is bounded in time (microseconds), and when its pad leaves.
AT, DUE = "_at", "_ferris_due"

_D, _O, _X, _F = "d", "o", "x", "f"
_BEFORE, _AFTER = "_before", "_after"


@dataclass(frozen=True, slots=True)
class JoinSide:
    """Of a side the columns of the result that are kept, with their types, how many keys it has, and whether its rows
    can be taken back. They are kept as `_l0` … (`letter` l or r) and `_k0` …"""

    letter: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    keys: int
    changing: bool

    @property
    def kept(self) -> Mapping[str, str]:
        """The names in the result, and those in the log."""
        return {name: f"_{self.letter}{place}" for place, name in enumerate(self.names)}

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(f"_k{place}" for place in range(self.keys))

    def weight(self, table: str) -> exp.Expression:
        return column(WEIGHT, table) if self.changing else number(1)


@dataclass(frozen=True, slots=True)
class JoinShape:
    """What a join is made of. `residual` is over the names of the result. `result` are the columns that it gives, and
    how: `bound.low_us <= right - left <= bound.high_us`. `waits`: pads leave at the watermark."""

    sides: tuple[JoinSide, JoinSide]
    kind: JoinKind
    residual: tuple[exp.Expression, ...]
    bound: TimeBound | None
    waits: bool
    result: Result

    def keeps(self, side: int) -> bool:
        if self.kind is JoinKind.ANTI:
            return side == 0
        return self.kind.keeps_right if side else self.kind.keeps_left

    @property
    def only_keys(self) -> bool:
        """Whether equal keys are all that partners need."""
        return not self.residual and self.bound is None


def join(shape: JoinShape, tries: bool = False) -> RowsOperator:
    """The operator. `tries`: rows for which a condition raises do not meet; without, it raises."""
    sides = (_Side(shape, 0, tries), _Side(shape, 1, tries))
    due = None
    if shape.waits and shape.kind not in (JoinKind.INNER, JoinKind.SEMI):
        pads = [side.due() for side in sides if shape.keeps(side.number)]
        union = pads[0] if len(pads) == 1 else exp.union(*pads, distinct=False, copy=False)
        due = as_changes(union, shape.result, (DUE,))
    return RowsOperator(tuple(side.port() for side in sides), tuple(side.changes() for side in sides), due)


@dataclass(frozen=True, slots=True)
class _Side:
    """The statements of one side; the rows of a tick are `d`, those of the other side `o`."""

    shape: JoinShape
    number: int
    tries: bool

    @property
    def own(self) -> JoinSide:
        return self.shape.sides[self.number]

    @property
    def other(self) -> JoinSide:
        return self.shape.sides[1 - self.number]

    # --- the log ----------------------------------------------------------------------------------------------------

    def port(self) -> Port:
        append = self._append()
        return Port(
            append=append,
            append_apart=append,
            keep=self._netted(exp.select("*").from_(LOG), self.own),
            merges=self.own.changing,
            open_from=self._open_from() if self.shape.bound is not None else None,
        )

    def _append(self) -> exp.Select:
        """Every row as it is; what is not kept is only counted."""
        kept = [*self.own.kept.values(), *self.own.key_names]
        own: list[exp.Expr] = [column(name) for name in kept]
        if self.shape.bound is not None:
            own.append(exp.alias_(column(TIME), AT))
        if self.own.changing:
            own.append(column(WEIGHT))
        if self.shape.bound is None:
            return appended(own, number(1))
        return appended(own, number(1), floor_to(column(TIME), slice_us(self.shape), 0), column(TIME))

    def _netted(self, log: exp.Query, side: JoinSide) -> exp.Select:
        """The rows that stand, each with how often, and where it came first."""
        names = [SLICE, *side.kept.values(), *side.key_names, *([AT] if self.shape.bound is not None else [])]
        weight = exp.cast(exp.Sum(this=column(WEIGHT)), "BIGINT")
        return (
            exp.select(*map(column, names), exp.alias_(weight, WEIGHT), exp.alias_(exp.Min(this=column(PLACE)), PLACE))
            .from_(log.subquery("log", copy=False))
            .group_by(*map(column, names))
            .having(weight.copy().neq(number(0)))
        )

    def _open_from(self) -> Callable[[int], int]:
        reach, unit = horizon_us(self.shape, self.number), slice_us(self.shape)
        return lambda closed_us: closed_us - reach - unit + 1

    # --- what a tick changes ----------------------------------------------------------------------------------------

    def changes(self) -> exp.Select | None:
        if self.shape.kind.gives_left:
            anti = self.shape.kind is JoinKind.ANTI
            if anti and self.shape.waits:
                return None
            return as_changes(self._flips(anti) if self.number else self._pads(anti), self.shape.result)
        parts = [self._pairs()]
        if not self.shape.waits:
            if self.shape.keeps(self.number):
                parts.append(self._pads())
            if self.shape.keeps(1 - self.number):
                parts.append(self._flips())
        union = parts[0] if len(parts) == 1 else exp.union(*parts, distinct=False, copy=False)
        return as_changes(union, self.shape.result)

    def _pairs(self) -> exp.Select:
        weight = None
        if self.shape.result.changing:
            weight = exp.Mul(this=self.own.weight(_D), expression=self.other.weight(_O))
        columns = self._columns({self.number: _D, 1 - self.number: _O}, weight, column(PLACE, _D), column(PLACE, _O))
        return exp.select(*columns).from_(self._ticked()).join(self._others(), on=self._meets(_D, _O), copy=False)

    def _pads(self, without: bool = True) -> exp.Select:
        """The rows of the tick without a partner, or those with one."""
        columns = self._columns({self.number: _D}, self.own.weight(_D), column(PLACE, _D), number(-1))
        none = exp.select(number(1)).from_(self._others()).where(self._meets(_D, _O))
        found = exp.Exists(this=none)
        return exp.select(*columns).from_(self._ticked()).where(exp.not_(found) if without else found)

    def _flips(self, without: bool = True) -> exp.Select:
        """The other side's rows that come or go because they have got their first partner or lost their last one."""
        mine = self._touched(exp.select("*").from_(self._relation(LOG, self.number))).subquery(_X)
        of: list[exp.Expression]
        if self.shape.only_keys:
            of = [column(name, _X) for name in self.own.key_names]
            partners = exp.select(*of).from_(mine)
            on = exp.and_(*[column(name, _O).eq(column(name, _F)) for name in self.own.key_names])
        else:
            of = [column(PLACE, _O)]
            partners = exp.select(*of).from_(self._others()).join(mine, on=self._meets(_X, _O), copy=False)
            on = column(PLACE, _O).eq(column(PLACE, _F))
        counted = partners.select(*self._partners()).group_by(*[each.copy() for each in of]).subquery(_F)
        signs = "CASE WHEN after > 0 THEN -w ELSE w END" if without else "CASE WHEN after > 0 THEN w ELSE -w END"
        sign = template(signs, after=column(_AFTER, _F), w=self.other.weight(_O))
        columns = self._columns({1 - self.number: _O}, sign, column(PLACE, _O), number(-1))
        flipped = template("(before > 0) <> (after > 0)", before=column(_BEFORE, _F), after=column(_AFTER, _F))
        return exp.select(*columns).from_(self._others()).join(counted, on=on, copy=False).where(flipped)

    def _partners(self) -> list[exp.Expr]:
        """How many of this side's rows there are, before the tick and after."""
        weight = exp.cast(exp.Sum(this=self.own.weight(_X)), "BIGINT")
        known = came_before(column(PLACE, _X))
        before = exp.Filter(this=exp.Sum(this=self.own.weight(_X)), expression=exp.Where(this=known))
        return [exp.alias_(weight, _AFTER), exp.alias_(exp.func("coalesce", before, number(0)), _BEFORE)]

    def due(self) -> exp.Select:
        """The rows of this side that have had their last chance of a partner, and had none."""
        bound = self.shape.bound
        assert bound is not None
        wait = max(-bound.low_us, 0) if self.number else max(bound.high_us, 0)
        last = exp.Add(this=column(AT, _D), expression=number(wait))
        columns = self._columns({self.number: _D}, self.own.weight(_D), column(PLACE, _D), number(-1))
        none = exp.select(number(1)).from_(self._relation(LOG, 1 - self.number).as_(_O)).where(self._meets(_D, _O))
        own = self._relation(LOG, self.number).as_(_D)
        inside = template("t >= low AND t < high", t=exp.paren(last), low=parameter(LOW), high=parameter(HIGH))
        return (
            exp.select(*columns, exp.alias_(last.copy(), DUE)).from_(own).where(inside, exp.not_(exp.Exists(this=none)))
        )

    # --- parts ------------------------------------------------------------------------------------------------------

    def _columns(
        self, tables: Mapping[int, str], weight: exp.Expression | None, first: exp.Expression, second: exp.Expression
    ) -> list[exp.Expr]:
        """The result's columns of the sides in these tables, NULL for others, and the places of what they are of."""
        values: dict[str, exp.Expression] = {}
        for number_, side in enumerate(self.shape.sides):
            for (name, kept), type_ in zip(side.kept.items(), side.types, strict=True):
                values[name] = column(kept, tables[number_]) if number_ in tables else typed_as(exp.null(), type_)
        made: list[exp.Expr] = [exp.alias_(values[name], name, quoted=True) for name in self.shape.result.names]
        if self.shape.result.changing:
            assert weight is not None
            made.append(exp.alias_(exp.cast(weight, "BIGINT"), WEIGHT))
        left_first = (first, second) if self.number == 0 else (second, first)
        return [*made, *(exp.alias_(exp.cast(place, "BIGINT"), f"_p{at}") for at, place in enumerate(left_first))]

    def _meets(self, own: str, other: str) -> exp.Condition:
        """The condition of the join between a row of this side and one of the other."""
        parts: list[exp.Expression] = [column(n, own).eq(column(n, other)) for n in self.own.key_names]
        tables = {self.number: own, 1 - self.number: other}
        bound = self.shape.bound
        if bound is not None:
            apart = exp.paren(exp.Sub(this=column(AT, tables[1]), expression=column(AT, tables[0])))
            parts.append(exp.Between(this=apart, low=number(bound.low_us), high=number(bound.high_us)))
        known = {
            name: column(kept, tables[at])
            for at, side in enumerate(self.shape.sides)
            for name, kept in side.kept.items()
        }
        for conjunct in self.shape.residual:
            tree = substitute(conjunct, {name: known[name] for name in columns_in(conjunct)})
            parts.append(
                template("coalesce(TRY(CAST(c AS BOOLEAN)), false)", c=tree) if self.tries else exp.paren(tree)
            )
        return exp.and_(*parts, copy=False)

    def _ticked(self) -> exp.Expr:
        return exp.to_table(_numbered(TICK_ROWS, self.number)).as_(_D)

    def _relation(self, name: str, side: int) -> exp.Table:
        return exp.to_table(_numbered(name, side))

    def _others(self) -> exp.Expr:
        """The other side's rows as they stand; of one that changes those of the touched keys, netted."""
        if not self.other.changing:
            return self._relation(LOG, 1 - self.number).as_(_O)
        rows = self._touched(exp.select("*").from_(self._relation(LOG, 1 - self.number)))
        return self._netted(rows, self.other).subquery(_O)

    def _touched(self, rows: exp.Select) -> exp.Select:
        """Those with a key of the tick."""
        names = self.own.key_names
        keys = exp.select(*map(column, names)).from_(self._relation(TICK_ROWS, self.number)).distinct()
        on = exp.and_(*[column(name, "l").eq(column(name, "t")) for name in names])
        return exp.select("l.*").from_(rows.subquery("l")).join(keys.subquery("t"), on=on, join_type="semi", copy=False)


def _numbered(relation: str, side: int) -> str:
    return f"{relation}{side}" if side else relation


def slice_us(shape: JoinShape) -> int:
    """How much event time a slice of the logs of a join bounded in time holds."""
    assert shape.bound is not None
    return max(1_000_000, shape.bound.high_us - shape.bound.low_us)


def horizon_us(shape: JoinShape, side: int) -> int:
    """How far a row of a side must be behind the watermark to matter no more: its last partner has come, its pad has
    left, and so have the pads of all rows that it may have met."""
    bound = shape.bound
    assert bound is not None
    low, high = bound.low_us, bound.high_us
    found = [-low if side else high]
    if shape.kind.keeps_left or shape.kind.gives_left:
        found.append(-low + max(high, 0) if side else max(high, 0))
    if shape.kind.keeps_right:
        found.append(max(-low, 0) if side else high + max(-low, 0))
    return max(found)
