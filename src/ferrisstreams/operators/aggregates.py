"""Which aggregate merges how: the table of the three kinds.

*Decomposable* aggregates keep plain partial columns that plain aggregates merge. *Ordered* ones keep the value with its
place in stream order. Every other aggregate is *holistic*: the state keeps the arguments of every row, and the emission
runs the real aggregate; one holistic call makes all calls of its query run that way.

Moments (variance, covariance, regression) are merged pairwise by the update formula of Chan, Golub and LeVeque (1979),
because sums of squares lose digits when the mean is large beside the deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp

from ferrisstreams.operators.calls import Call, is_of_row, replace_arguments, take_apart
from ferrisstreams.plan.expressions import typed_as
from ferrisstreams.plan.nodes import Named
from ferrisstreams.schema import Schema

#: The struct of a row's place in stream order: event time, partition, row number in the partition.
PLACE = "_place"

#: The list of argument structs that a holistic query keeps.
VALUES = "_values"


@dataclass(frozen=True, slots=True)
class Partial:
    """A column of the state log: how a batch makes it and how rows of the log merge into one.

    `exact` is a merge that never raises, for those whose `merge` may: of a sum that does not fit on its way or at all.
    It gives a text, and what the result is cast to decides whether the group has a result.
    """

    name: str
    expression: exp.Expression
    merge: exp.Expression
    exact: exp.Expression | None = None


@dataclass(frozen=True, slots=True)
class AggregatePlan:
    """How the calls of one `Aggregate` run. `finals` are over the merged partials and have the declared types.

    In a holistic plan the only partial is `VALUES`, and `finals` are the real aggregates over the unnested `_value`.
    `exact_finals` are the same with sums that may leave their type on the way. `places` says that rows need their place
    in stream order.
    """

    partials: tuple[Partial, ...]
    finals: tuple[Named, ...]
    holistic: bool
    places: bool
    kinds: dict[str, str]
    exact_finals: tuple[Named, ...]

    def exactly(self) -> AggregatePlan:
        """The same over the same state, by merges that never raise."""
        partials = tuple(replace(p, merge=p.exact or p.merge) for p in self.partials)
        return replace(self, partials=partials, finals=self.exact_finals)

    @property
    def summed(self) -> tuple[str, ...]:
        """The partials that two rows of the log may hold and their merge may not."""
        return tuple(partial.name for partial in self.partials if partial.exact is not None)


def plan_aggregates(calls: Sequence[Named], schema: Schema) -> AggregatePlan:
    """The plan of all calls together. `schema` has a column of the declared type for every call."""
    taken = [(call, take_apart(call.expression)) for call in calls]
    kinds = {call.name: kind_of(parts, _type(schema, call.name)) for call, parts in taken}
    if "holistic" in kinds.values():
        return _plan_holistic(taken, schema, kinds)
    partials: list[Partial] = []
    finals: list[Named] = []
    for index, (call, parts) in enumerate(taken):
        type_ = _type(schema, call.name)
        made, final = _build(parts, f"_p{index}", type_)
        partials.extend(made)
        finals.append(Named(call.name, typed_as(final, type_)))
    places = "ordered" in kinds.values()
    return AggregatePlan(tuple(partials), tuple(finals), False, places, kinds, tuple(finals))


def kind_of(call: Call, type_: str) -> str:
    """`decomposable`, `ordered` or `holistic`; `type_` is the type of the call's result."""
    if call.ordered or (call.distinct and call.name not in _DISTINCT_FREE):
        return "holistic"
    if call.name in _ORDERED:
        return "ordered" if len(call.arguments) == _ORDERED[call.name] else "holistic"
    if call.name == "avg":
        # Times and intervals have averages but no sums.
        return "decomposable" if type_.startswith(("DOUBLE", "DECIMAL")) else "holistic"
    if call.name in _PLAIN:
        return "decomposable" if len(call.arguments) <= 1 else "holistic"
    return "decomposable" if call.name in _MOMENTS or call.name in _PAIRS else "holistic"


# --- rows with weights ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WeightedPlan:
    """How calls run over rows that can be taken back. `finals` are over the merged `partials`, which are made of
    columns and the weight of rows; or, where there are none, over `VALUE`s, which `value` makes of a row, each as often
    as it stands. `places`: values have their place in the order of arrival as `p`."""

    partials: tuple[Partial, ...]
    finals: tuple[Named, ...]
    value: exp.Expression
    places: bool


def plan_weighted(calls: Sequence[Named], schema: Schema, weight: str) -> WeightedPlan:
    """The plan of all calls together, over rows whose weight (+1, -1) is in the column `weight`."""
    taken = [(call, take_apart(call.expression)) for call in calls]
    if not _all_weighted(taken, schema):
        fields, finals, _, places = _kept_values(taken, schema)
        return WeightedPlan((), finals, _packed(fields), places)
    partials: list[Partial] = []
    found: list[Named] = []
    for index, (named, call) in enumerate(taken):
        type_ = _type(schema, named.name)
        made, final = _build_weighted(call, f"_p{index}", type_, _column(weight))
        partials.extend(made)
        found.append(Named(named.name, typed_as(final, type_)))
    return WeightedPlan(tuple(partials), tuple(found), _packed({}), False)


def weighted_kinds(calls: Sequence[Named], schema: Schema) -> dict[str, str]:
    """How each call is kept over such rows: where one needs the values, all have them."""
    whole = _all_weighted([(call, take_apart(call.expression)) for call in calls], schema)
    return dict.fromkeys((call.name for call in calls), "decomposable" if whole else "holistic")


def _all_weighted(taken: Sequence[tuple[Named, Call]], schema: Schema) -> bool:
    return all(_is_weighted(call, _type(schema, named.name)) for named, call in taken)


def _is_weighted(call: Call, type_: str) -> bool:
    """Whether the call is made of counts and sums that lose nothing when a value is taken back."""
    if call.distinct or call.ordered or len(call.arguments) > 1:
        return False
    if call.name in ("count", "count_if"):
        return True
    return call.name in ("sum", "avg") and type_.startswith(_EXACT)


def _build_weighted(
    call: Call, prefix: str, type_: str, weight: exp.Expression
) -> tuple[list[Partial], exp.Expression]:
    argument = call.guarded(call.arguments[0] if call.arguments else exp.Literal.number(1))
    counted = template(
        "CASE WHEN x THEN w END" if call.name == "count_if" else "CASE WHEN x IS NOT NULL THEN w END",
        x=argument,
        w=weight,
    )
    total, count = f"{prefix}_sum", f"{prefix}_count"
    counts = Partial(
        count, exp.cast(function("sum", counted), "BIGINT"), exp.cast(function("sum", _column(count)), "BIGINT")
    )
    number_ = function("coalesce", _column(count), exp.Literal.number(0))
    if call.name in ("count", "count_if"):
        return [counts], number_
    signed = template("CASE WHEN w < 0 THEN -x ELSE x END", x=exp.paren(argument.copy()), w=weight.copy())
    sums = Partial(total, function("sum", signed), function("sum", _column(total)))
    some = exp.GT(this=number_, expression=exp.Literal.number(0))
    final = _column(total) if call.name == "sum" else _average(_column(total), _column(count), type_)
    return [sums, counts], exp.Case().when(some, final)


# --- decomposable -----------------------------------------------------------------------------------------------------

#: Aggregates of one argument whose partials merge by this aggregate.
_PLAIN = {
    "count": "sum", "count_if": "sum", "sum": "sum", "min": "min", "max": "max", "bool_and": "bool_and",
    "bool_or": "bool_or", "bit_and": "bit_and", "bit_or": "bit_or", "bit_xor": "bit_xor", "product": "product",
}  # fmt: skip

#: Repeated values make no difference to these.
_DISTINCT_FREE = frozenset({"min", "max", "bool_and", "bool_or", "bit_and", "bit_or"})

_ORDERED = {"first": 1, "last": 1, "any_value": 1, "arg_min": 2, "arg_max": 2, "earliest_by_offset": 1,
            "latest_by_offset": 1}  # fmt: skip

#: Those that go by the place in the partition, whatever the event time, and the real aggregate over rows in that order.
_BY_OFFSET = {"earliest_by_offset": "first", "latest_by_offset": "last"}


def function(name: str, *arguments: exp.Expr) -> exp.Expression:
    """A call by DuckDB's own name, untranslated."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def field(value: exp.Expression, name: str) -> exp.Expression:
    return function("struct_extract", value, exp.Literal.string(name))


def struct(**fields: exp.Expression) -> exp.Expression:
    """A struct of named fields."""
    return exp.Struct(expressions=[exp.PropertyEQ(this=exp.to_identifier(k), expression=v) for k, v in fields.items()])


def _type(schema: Schema, name: str) -> str:
    column = schema.get(name)
    assert column is not None, name
    return column.type


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _partial(name: str, expression: exp.Expression, merge: str) -> Partial:
    return Partial(name, expression, function(merge, _column(name)))


def _build(call: Call, prefix: str, type_: str) -> tuple[list[Partial], exp.Expression]:
    if call.name in _ORDERED:
        return _build_ordered(call, prefix)
    if call.name in _MOMENTS:
        return _build_moments(call, prefix, _MOMENTS[call.name])
    if call.name in _PAIRS:
        return _build_pairs(call, prefix, _PAIRS[call.name])
    if call.name == "avg":
        return _build_average(call, prefix, type_)
    argument = call.guarded(call.arguments[0] if call.arguments else exp.Literal.number(1))
    if call.name == "count":
        partial = _partial(prefix, function(call.name, argument), "sum")
        return [partial], function("coalesce", _column(prefix), exp.Literal.number(0))
    partial = _partial(prefix, function(call.name, argument), _PLAIN[call.name])
    exact = _exact_sum(prefix) if call.name == "sum" and type_.startswith(_EXACT) else None
    return [replace(partial, exact=exact)], _column(prefix)


#: Types whose sums can leave them.
_EXACT = ("HUGEINT", "DECIMAL")


def _exact_sum(name: str) -> exp.Expression:
    return function("ferris_exact_sum", exp.cast(_column(name), "VARCHAR"))


def _build_average(call: Call, prefix: str, type_: str) -> tuple[list[Partial], exp.Expression]:
    argument = call.guarded(call.arguments[0])
    total, count = f"{prefix}_sum", f"{prefix}_count"
    # A float needs no exact sum of what it is made of.
    rough = exp.Sum(this=exp.cast(_column(total), "DOUBLE"))
    partials = [
        replace(
            _partial(total, function("sum", argument), "sum"),
            exact=_exact_sum(total) if type_.startswith(_EXACT) else rough,
        ),
        _partial(count, function("count", argument.copy()), "sum"),
    ]
    return partials, _average(_column(total), _column(count), type_)


def _average(total: exp.Expression, count: exp.Expression, type_: str) -> exp.Expression:
    """`total / count`. A macro of the engine divides decimals exactly, because DuckDB divides them as doubles."""
    if type_.startswith("DECIMAL"):
        return function(
            "ferris_decimal_average", total, exp.cast(count, "BIGINT"), exp.Literal.number(decimal_scale(type_))
        )
    return exp.Div(this=exp.cast(total, "DOUBLE"), expression=count)


def decimal_scale(type_: str) -> int:
    """The scale of `DECIMAL(p,s)`."""
    return int(type_.split(",")[1].strip(" )"))


# --- ordered ----------------------------------------------------------------------------------------------------------


def _build_ordered(call: Call, prefix: str) -> tuple[list[Partial], exp.Expression]:
    kept, place = _column(prefix), _place_for(call, _column(PLACE))
    needed = list(call.arguments) if call.name in ("arg_min", "arg_max", "any_value") else []
    guards: list[exp.Expression] = [
        exp.Not(this=exp.Is(this=argument.copy(), expression=exp.Null())) for argument in needed
    ]
    if call.condition is not None:
        guards.insert(0, call.condition.copy())

    def guarded(order: exp.Expression) -> exp.Expression:
        return exp.Case().when(exp.and_(*[guard.copy() for guard in guards]), order) if guards else order

    value = call.guarded(call.arguments[0])
    match call.name:
        case "arg_min":
            key = call.guarded(call.arguments[1])
            made = function("arg_min", struct(v=value, k=key, p=place), guarded(struct(k=key.copy(), p=place.copy())))
            merge = function("arg_min", kept, struct(k=field(kept.copy(), "k"), p=field(kept.copy(), "p")))
        case "arg_max":
            # The greatest key, and among equal keys the first place: arg_max keeps the first that it sees.
            key = call.guarded(call.arguments[1])
            made = function("arg_max", struct(v=value, k=key, p=place), _ordered(guarded(key.copy()), place.copy()))
            merge = function("arg_max", kept, _ordered(field(kept.copy(), "k"), field(kept.copy(), "p")))
        case _:
            pick = "arg_max" if call.name in ("last", "latest_by_offset") else "arg_min"
            made = function(pick, struct(v=value, p=place), guarded(place.copy()))
            merge = function(pick, kept, field(kept.copy(), "p"))
    return [Partial(prefix, made, merge)], field(kept.copy(), "v")


def _place_for(call: Call, place: exp.Expression) -> exp.Expression:
    """The place in stream order; of calls by offset, without the event time that stands first in it."""
    if call.name not in _BY_OFFSET:
        return place
    return struct(p=field(place, "p"), s=field(place.copy(), "s"))


def _ordered(argument: exp.Expression, *orders: exp.Expression) -> exp.Expression:
    return exp.Order(this=argument, expressions=[exp.Ordered(this=order) for order in orders])


# --- moments ----------------------------------------------------------------------------------------------------------


def template(text: str, **fields: exp.Expression) -> exp.Expression:
    """A constant template with its columns replaced."""
    tree = sqlglot.parse_one(text, dialect="duckdb")
    assert isinstance(tree, exp.Expression)
    return tree.transform(
        lambda node: fields[node.name].copy() if isinstance(node, exp.Column) and node.name in fields else node
    )


#: Name to the final expression over n (count), s (sum of squared deviations).
_MOMENTS = {
    "var_pop": "CASE WHEN n > 0 THEN s / n END",
    "var_samp": "CASE WHEN n > 1 THEN s / (n - 1) END",
    "stddev_pop": "CASE WHEN n > 0 THEN sqrt(s / n) END",
    "stddev_samp": "CASE WHEN n > 1 THEN sqrt(s / (n - 1)) END",
}

#: Name to the final expression over n, the means mx and my, the squared deviations sx and sy, and the co-deviation c.
#: The first SQL argument is y, the second x.
_PAIRS = {
    "covar_pop": "CASE WHEN n > 0 THEN c / n END",
    "covar_samp": "CASE WHEN n > 1 THEN c / (n - 1) END",
    "regr_count": "coalesce(n, 0)",
    "regr_avgx": "mx",
    "regr_avgy": "my",
    "regr_sxx": "sx",
    "regr_syy": "sy",
    "regr_sxy": "c",
}


def takes_doubles(tree: exp.Expression) -> bool:
    """Whether an aggregate call computes with its arguments as DOUBLE, in any order of its rows."""
    call = take_apart(tree)
    return (call.name in _MOMENTS or call.name in _PAIRS) and not call.ordered


_MERGE_MOMENTS = """list_reduce(list(p) FILTER (WHERE struct_extract(p, 'n') > 0), lambda a, b: {
    n: a.n + b.n,
    m: a.m + (b.m - a.m) * b.n / (a.n + b.n),
    s: a.s + b.s + (b.m - a.m) * (b.m - a.m) * a.n * b.n / (a.n + b.n)})"""

_MERGE_PAIRS = """list_reduce(list(p) FILTER (WHERE struct_extract(p, 'n') > 0), lambda a, b: {
    n: a.n + b.n,
    mx: a.mx + (b.mx - a.mx) * b.n / (a.n + b.n),
    my: a.my + (b.my - a.my) * b.n / (a.n + b.n),
    sx: a.sx + b.sx + (b.mx - a.mx) * (b.mx - a.mx) * a.n * b.n / (a.n + b.n),
    sy: a.sy + b.sy + (b.my - a.my) * (b.my - a.my) * a.n * b.n / (a.n + b.n),
    c: a.c + b.c + (b.mx - a.mx) * (b.my - a.my) * a.n * b.n / (a.n + b.n)})"""


def _build_moments(call: Call, prefix: str, final: str) -> tuple[list[Partial], exp.Expression]:
    argument = exp.cast(call.guarded(call.arguments[0]), "DOUBLE")
    made = template("{n: count(x), m: avg(x), s: var_pop(x) * count(x)}", x=argument)
    kept = _column(prefix)
    fields = {name: field(kept.copy(), name) for name in ("n", "m", "s")}
    return [Partial(prefix, made, template(_MERGE_MOMENTS, p=kept))], template(final, **fields)


def _build_pairs(call: Call, prefix: str, final: str) -> tuple[list[Partial], exp.Expression]:
    y, x = (exp.cast(call.guarded(argument), "DOUBLE") for argument in call.arguments)
    made = template(
        "{n: regr_count(y, x), mx: regr_avgx(y, x), my: regr_avgy(y, x),"
        " sx: regr_sxx(y, x), sy: regr_syy(y, x), c: regr_sxy(y, x)}",
        x=x,
        y=y,
    )
    kept = _column(prefix)
    fields = {name: field(kept.copy(), name) for name in ("n", "mx", "my", "sx", "sy", "c")}
    return [Partial(prefix, made, template(_MERGE_PAIRS, p=kept))], template(final, **fields)


# --- holistic ---------------------------------------------------------------------------------------------------------

#: The struct of a row's arguments, as `finals` see it after unnesting.
VALUE = "_value"

#: Aggregates whose result depends on the order of their rows: they get stream order behind the user's own.
_ORDER_SENSITIVE = frozenset({"list", "string_agg", "mode", *_ORDERED, "arg_min_null", "arg_max_null"})


def _goes_by_order(call: Call) -> bool:
    """Whether the rows' order counts: also where a histogram takes its bins from the first row."""
    if call.name in ("histogram", "histogram_exact") and len(call.arguments) == 2:
        return is_of_row(call.arguments[1]) and not call.distinct
    return call.name in _ORDER_SENSITIVE


def _plan_holistic(taken: Sequence[tuple[Named, Call]], schema: Schema, kinds: dict[str, str]) -> AggregatePlan:
    fields, finals, exact, places = _kept_values(taken, schema)
    if places:
        fields["p"] = _column(PLACE)
    values = Partial(VALUES, function("list", _packed(fields)), function("flatten", function("list", _column(VALUES))))
    return AggregatePlan((values,), finals, True, places, kinds, exact)


def _kept_values(
    taken: Sequence[tuple[Named, Call]], schema: Schema
) -> tuple[dict[str, exp.Expression], tuple[Named, ...], tuple[Named, ...], bool]:
    """What the calls need of a row, the calls over that, with exact sums too, and whether the rows' order counts."""
    fields: dict[str, exp.Expression] = {}
    finals, exact = [], []
    for named, call in taken:
        type_ = _type(schema, named.name)
        finals.append(Named(named.name, typed_as(_holistic(call, fields, type_), type_)))
        exact.append(Named(named.name, typed_as(_holistic(call, fields, type_, exact=True), type_)))
    places = any(_goes_by_order(call) or call.ordered for _, call in taken)
    return fields, tuple(finals), tuple(exact), places


def _packed(fields: dict[str, exp.Expression]) -> exp.Expression:
    return struct(**fields) if fields else struct(one=exp.Literal.number(1))


def _holistic(call: Call, fields: dict[str, exp.Expression], type_: str, exact: bool = False) -> exp.Expression:
    """The call over the fields of `_value`; what it needs from a row is added to `fields`.

    `exact`: by sums of any size.
    """
    condition = _keep(call.condition, fields) if call.condition is not None else None
    summed = call.name == "sum" and type_.startswith(_EXACT)
    if summed or (call.name == "avg" and type_.startswith("DECIMAL")):
        total, count = (_filtered(_call(name, call, fields, []), condition) for name in ("sum", "count"))
        if exact:
            argument = _call_over(call.arguments[0], call, fields)
            given = argument if condition is None else exp.Case().when(condition.copy(), argument)
            total = function(
                "ferris_exact_sum_distinct" if call.distinct else "ferris_exact_sum", exp.cast(given, "VARCHAR")
            )
        return total if summed else _average(total, count, type_)
    if _goes_by_order(call) or (call.ordered and not isinstance(call.tree, exp.WithinGroup)):
        return _filtered(_call(call.name, call, fields, _orders(call, fields)), condition)
    return _filtered(replace_arguments(call.tree, lambda argument: _call_over(argument, call, fields)), condition)


def _call(name: str, call: Call, fields: dict[str, exp.Expression], orders: Sequence[exp.Expression]) -> exp.Expression:
    """`name(DISTINCT arguments ORDER BY orders)`, by DuckDB's own name."""
    arguments = [_call_over(argument, call, fields) for argument in call.arguments]
    if call.distinct:
        arguments[0] = exp.Distinct(expressions=[arguments[0]])
    if orders:
        arguments[-1] = exp.Order(this=arguments[-1], expressions=list(orders))
    return function(_BY_OFFSET.get(name, name), *arguments)


def _orders(call: Call, fields: dict[str, exp.Expression]) -> list[exp.Expression]:
    """The user's ORDER BY, and stream order behind it; a DISTINCT call can only be ordered by its own argument."""
    own = call.tree.find(exp.Order)
    orders: list[exp.Expression] = []
    for ordered in own.expressions if own is not None else []:
        kept = ordered.copy()
        kept.set("this", _call_over(ordered.this, call, fields))
        orders.append(kept)
    if call.distinct:
        argument = _call_over(call.arguments[0], call, fields)
        # The engine refuses to order by a constant, which is one value.
        return orders or ([exp.Ordered(this=argument)] if argument.find(exp.Column) else [])
    if call.name == "mode" and not orders and call.arguments[0].find(exp.Column) is None:
        return []  # With ORDER BY the engine takes a constant for the fraction of a percentile.
    return [*orders, exp.Ordered(this=_place_for(call, field(_column(VALUE), "p")))]


def _call_over(argument: exp.Expression, call: Call, fields: dict[str, exp.Expression]) -> exp.Expression:
    """A field in place of an argument that is of a row; constants stay."""
    return _keep(call.guarded(argument), fields) if is_of_row(argument) else argument.copy()


def _filtered(tree: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
    if condition is None:
        return tree
    return exp.Filter(this=tree, expression=exp.Where(this=condition.copy()))


def _keep(expression: exp.Expression, fields: dict[str, exp.Expression]) -> exp.Expression:
    """A reference to the field that holds this expression, made when there is none yet."""
    for name, kept in fields.items():
        if kept == expression:
            return field(_column(VALUE), name)
    name = f"a{len(fields)}"
    fields[name] = expression.copy()
    return field(_column(VALUE), name)
