"""The table as an operator: a log of rows and deletes, of which the newest of each key counts.

    rows ─▶ log ─▶ of the keys that the tick touches, the newest row before it (taken back) and after it (added)

A delete is a row of the log too, until `keep` leaves the newest rows alone. Each row has its place `_n` in the order of
arrival. A key whose newest row is what it was before changes nothing, and so does the delete of one that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE
from ferrisstreams.operators.aggregates import function, template
from ferrisstreams.operators.base import LOG, TICK_ROWS, Port, RowsOperator
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
from ferrisstreams.plan.nodes import REPEATED

#: Whether a row of the log takes away that of its key.
GONE = "_gone"

_NEWEST, _BEFORE, _CHANGE = "_newest", "_before", "_change"


@dataclass(frozen=True, slots=True)
class TableShape:
    """What a table is made of: its key, and the columns that it gives. They are kept as `_k0` … and `_c0` …"""

    key: tuple[str, ...]
    result: Result

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(f"_k{place}" for place in range(len(self.key)))

    @property
    def kept(self) -> Mapping[str, str]:
        """The names of the columns beside the key that are given, and those in the log."""
        others = [name for name in self.result.names if name not in self.key]
        return {name: f"_c{place}" for place, name in enumerate(others)}

    @property
    def names(self) -> Mapping[str, str]:
        """The names of all columns that are given, and those in the log."""
        return {**dict(zip(self.key, self.key_names, strict=True)), **self.kept}


def table(shape: TableShape) -> RowsOperator:
    """The operator."""
    append = _append(shape)
    port = Port(append=append, append_apart=append, keep=_keep(shape))
    return RowsOperator((port,), (_changes(shape),))


def _append(shape: TableShape) -> exp.Select:
    """Every row as it is; what is not kept is only counted, once for each record."""
    once = exp.Case().when(column(REPEATED), number(0)).else_(number(1))
    return appended(list(map(column, (*shape.key_names, *shape.kept.values(), GONE))), once)


def _changes(shape: TableShape) -> exp.Select:
    keys = exp.select(*map(column, shape.key_names)).from_(TICK_ROWS).distinct().subquery("touched")
    touched = exp.and_(*[column(name, "l").eq(column(name, "touched")) for name in shape.key_names])
    log = exp.to_table(LOG).as_("l")
    rows = exp.select("l.*").from_(log).join(keys, on=touched, join_type="semi", copy=False)
    before = exp.Filter(this=_newest(shape), expression=exp.Where(this=came_before(column(PLACE))))
    of_keys = exp.select(exp.alias_(_newest(shape), _NEWEST), exp.alias_(before, _BEFORE))
    of_keys = of_keys.from_(rows.subquery("rows", copy=False)).group_by(*map(column, shape.key_names))
    both = template("unnest([{'w': -1, 'r': b}, {'w': 1, 'r': n}])", b=column(_BEFORE), n=column(_NEWEST))
    each = exp.select(exp.alias_(both, _CHANGE)).from_(of_keys.subquery("keys", copy=False))
    weight, row = _field(column(_CHANGE), "w"), _field(column(_CHANGE), "r")
    places = (_field(row, PLACE), number(-1))
    made = exp.select(
        *[exp.alias_(_field(row, shape.names[name]), name, quoted=True) for name in shape.result.names],
        exp.alias_(exp.cast(weight, "BIGINT"), WEIGHT),
        *[exp.alias_(exp.cast(value, "BIGINT"), name) for name, value in zip(PLACES, places, strict=True)],
    )
    stands = exp.not_(_field(row, GONE))
    return as_changes(made.from_(each.subquery("changes", copy=False)).where(stands), shape.result)


def _keep(shape: TableShape) -> exp.Select:
    rows = exp.select(exp.alias_(exp.Min(this=column(SLICE)), SLICE), exp.alias_(_newest(shape), _NEWEST))
    rows = rows.from_(LOG).group_by(*map(column, shape.key_names))
    names = [*shape.key_names, *shape.kept.values(), GONE, PLACE]
    found = [exp.alias_(_field(column(_NEWEST), name), name) for name in names]
    stands = exp.not_(_field(column(_NEWEST), GONE))
    return exp.select(column(SLICE), *found).from_(rows.subquery("keys", copy=False)).where(stands)


def _newest(shape: TableShape) -> exp.Expression:
    """Of the rows of a key the one that came last, as a struct."""
    names = [*shape.key_names, *shape.kept.values(), GONE, PLACE]
    row = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=column(name)) for name in names
        ]
    )
    return function("arg_max", row, column(PLACE))


def _field(value: exp.Expression, name: str) -> exp.Expression:
    return function("struct_extract", value.copy(), exp.Literal.string(name))
