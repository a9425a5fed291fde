"""Rewrites: functions from plan to plan that keep the meaning. `canonical` applies all of `REWRITES` in order.

The result is one of

    Sink(Project(Filter?(Scan)))
    Sink(Project(Filter?(Aggregate(AssignWindow?(Filter?(Scan))))))

where everything below the aggregate, and everything in a plan without one, is over the scan's columns; or one in which
`UnionAll(Project(Filter?(Scan)), …)` stands under the sink, or for what an aggregate reads; or one in which
`Join(Project?(Filter?(…)), Project?(Filter?(…)))` stands for a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from sqlglot import exp

from ferrisstreams.plan.expressions import column, column_name, columns_in, substitute, typed_as
from ferrisstreams.plan.nodes import (
    Aggregate,
    AssignWindow,
    Filter,
    Join,
    Named,
    Plan,
    Project,
    Scan,
    Sink,
    UnionAll,
    map_inputs,
    walk,
)
from ferrisstreams.schema import Column, Schema

#: In the meta of a call of the clock or of chance: the same number is the same value, however often it is copied.
VOLATILE = "volatile"
#: In the meta of such a call: its type.
VOLATILE_TYPE = "volatile_type"


def canonical(plan: Plan) -> Plan:
    """The canonical form of a plan."""
    for rewrite in REWRITES:
        plan = rewrite(plan)
    return plan


def distribute_over_unions(plan: Plan) -> Plan:
    """Make of what stands above a union, below an aggregate or the sink, a part of each branch."""
    below = map_inputs(plan, distribute_over_unions)
    match below:
        case Project(input=UnionAll() as union) | Filter(input=UnionAll() as union):
            branches = tuple(replace(below, input=branch) for branch in union.branches)
            return UnionAll(branches, below.schema)
        case UnionAll():
            flat = (branch.branches if isinstance(branch, UnionAll) else (branch,) for branch in below.branches)
            return UnionAll(tuple(branch for branches in flat for branch in branches), below.schema)
    return below


def substitute_projections(plan: Plan) -> Plan:
    """Replace each projection below another operator by its expressions, written into what is above it."""
    match plan:
        case Project():
            below = substitute_projections(plan.input)
            if not isinstance(below, Project):
                return replace(plan, input=below)
            return replace(plan, input=below.input, columns=_rewritten(plan.columns, below))
        case Filter():
            below = substitute_projections(plan.input)
            if not isinstance(below, Project):
                return replace(plan, input=below)
            moved = tuple(substitute(conjunct, _definitions(below)) for conjunct in plan.conjuncts)
            return replace(below, input=Filter(below.input, moved))
        case Aggregate():
            return _aggregate_over_columns(plan)
        case _:
            return map_inputs(plan, substitute_projections)


def _aggregate_over_columns(plan: Aggregate) -> Aggregate:
    below = substitute_projections(plan.input)
    projection = below.input if isinstance(below, AssignWindow) else below
    if not isinstance(projection, Project):
        return replace(plan, input=below)
    under: Plan = projection.input
    if isinstance(below, AssignWindow):
        under = replace(below, input=under)
    return replace(plan, input=under, keys=_rewritten(plan.keys, projection), calls=_rewritten(plan.calls, projection))


def _rewritten(columns: tuple[Named, ...], below: Project) -> tuple[Named, ...]:
    definitions = _definitions(below)
    return tuple(replace(named, expression=substitute(named.expression, definitions)) for named in columns)


def _definitions(project: Project) -> Mapping[str, exp.Expression]:
    """What each output column stands for. A constant keeps the type that it had as a column."""
    types = {item.name: item.type for item in project.schema}
    return {named.name: _as_column(named.expression, types[named.name]) for named in project.columns}


def _as_column(expression: exp.Expression, type_: str) -> exp.Expression:
    varies = any(isinstance(node, exp.Column) or node.meta_get(VOLATILE) is not None for node in expression.walk())
    if not varies and not isinstance(expression, exp.Cast):
        return typed_as(expression.copy(), type_)
    return expression


def merge_filters(plan: Plan) -> Plan:
    """Make one filter of several on top of one another; conjuncts stay in order, repeated ones go."""
    merged = map_inputs(plan, merge_filters)
    if isinstance(merged, Filter) and isinstance(below := merged.input, Filter):
        return Filter(below.input, tuple(dict.fromkeys(below.conjuncts + merged.conjuncts)))
    return merged


def drop_trivial_projections(plan: Plan) -> Plan:
    """Remove projections that give their input's columns unchanged, except the one under the sink."""

    def dropped(node: Plan) -> Plan:
        below = drop_trivial_projections(node)
        if not isinstance(plan, Sink | UnionAll) and isinstance(below, Project) and _is_trivial(below):
            return below.input
        return below

    return map_inputs(plan, dropped)


def _is_trivial(project: Project) -> bool:
    names = project.input.schema.names
    given = tuple(column_name(named.expression) for named in project.columns)
    return given == names and project.schema.names == names


def project_under_sink(plan: Plan) -> Plan:
    """Put a projection of all columns under a sink that has none."""
    if not isinstance(plan, Sink) or isinstance(plan.input, Project | UnionAll):
        return plan
    below = plan.input
    columns = tuple(Named(name, column(name)) for name in below.schema.names)
    return replace(plan, input=Project(below, columns, below.schema, below.facts))


def compute_volatile(plan: Plan) -> Plan:
    """Move calls of the clock and of chance below the aggregate (or in a stateless plan) into the scan, each computed
    once a row. Above an aggregate or a join they stay, but above a lookup."""
    found: dict[object, Named] = {}
    types: dict[str, str] = {}
    lifted = _lift(plan, found, types)
    return _with_computed(lifted, tuple(found.values()), types) if found else lifted


def _lift(plan: Plan, found: dict[object, Named], types: dict[str, str]) -> Plan:
    def moved(named: tuple[Named, ...]) -> tuple[Named, ...]:
        return tuple(replace(item, expression=_lifted(item.expression, found, types)) for item in named)

    match plan:
        case Project() if not _is_above_operator(plan):
            return replace(plan, input=_lift(plan.input, found, types), columns=moved(plan.columns))
        case Filter() if not _is_above_operator(plan):
            conjuncts = tuple(_lifted(conjunct, found, types) for conjunct in plan.conjuncts)
            return Filter(_lift(plan.input, found, types), conjuncts)
        case Aggregate():
            below = _lift(plan.input, found, types)
            return replace(plan, input=below, keys=moved(plan.keys), calls=moved(plan.calls))
        case Join() if plan.lookup:
            return replace(plan, left=_lift(plan.left, found, types))
        case UnionAll() | Join():
            return map_inputs(plan, lambda node: _with_lifted(node, types))
        case _:
            return map_inputs(plan, lambda node: _lift(node, found, types))


def _with_lifted(branch: Plan, types: dict[str, str]) -> Plan:
    """A branch of a union or a side of a join, whose own calls are computed by its own scan."""
    found: dict[object, Named] = {}
    lifted = _lift(branch, found, types)
    return _with_computed(lifted, tuple(found.values()), types) if found else branch


def _lifted(expression: exp.Expression, found: dict[object, Named], types: dict[str, str]) -> exp.Expression:
    tree = expression.copy()
    for node in list(tree.find_all(exp.Expression, bfs=True)):
        mark = node.meta_get(VOLATILE)
        if mark is None or _inside_volatile(node):
            continue
        if mark not in found:
            found[mark] = Named(f"_computed{len(types)}", node.copy())
            types[found[mark].name] = str(node.meta_get(VOLATILE_TYPE))
        reference = column(found[mark].name)
        if node is tree:
            return reference
        node.replace(reference)
    return tree


def _inside_volatile(node: exp.Expr) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.meta_get(VOLATILE) is not None:
            return True
        parent = parent.parent
    return False


def _with_computed(plan: Plan, computed: tuple[Named, ...], types: Mapping[str, str], handed_on: bool = False) -> Plan:
    """The plan whose scans compute these columns; `handed_on`: for what is above a union, through its branches."""
    columns = tuple(Column(named.name, types[named.name]) for named in computed)
    schema = Schema(plan.schema.columns + columns)
    match plan:
        case Scan():
            return replace(plan, schema=schema, computed=plan.computed + computed)
        case UnionAll():
            branches = tuple(_with_computed(branch, computed, types, handed_on=True) for branch in plan.branches)
            return UnionAll(branches, schema)
        case Join() if plan.lookup:
            # A row of the stream meets one of the table at most: what is fixed once for it is so for the pair.
            at = len(plan.left.schema)
            schema = Schema((*plan.schema.columns[:at], *columns, *plan.schema.columns[at:]))
            return replace(plan, left=_with_computed(plan.left, computed, types, handed_on=True), schema=schema)
        case Project() if handed_on:
            below = _with_computed(plan.input, computed, types, handed_on=True)
            passed = tuple(Named(named.name, column(named.name)) for named in computed)
            return replace(plan, input=below, columns=plan.columns + passed, schema=schema)
    return map_inputs(plan, lambda node: _with_computed(node, computed, types, handed_on))


def drop_unread_system_columns(plan: Plan) -> Plan:
    """Leave the hidden columns that nothing above a join reads out of its sides: each costs its decoding."""
    return _leave_out_unread(plan, None)


def _leave_out_unread(plan: Plan, read: frozenset[str] | None) -> Plan:
    """`read` are the columns that what is above reads; None: all."""
    match plan:
        case Project():
            columns = tuple(
                named
                for named, item in zip(plan.columns, plan.schema, strict=True)
                if read is None or not item.hidden or item.name in {*read, plan.facts.event_time}
            )
            kept = {named.name for named in columns}
            below = _leave_out_unread(plan.input, _columns_of(named.expression for named in columns))
            schema = Schema(tuple(item for item in plan.schema if item.name in kept))
            return replace(plan, input=below, columns=columns, schema=schema)
        case Filter():
            return replace(plan, input=_leave_out_unread(plan.input, _and_read(read, plan.conjuncts)))
        case AssignWindow():
            return replace(plan, input=_leave_out_unread(plan.input, _and_read(read, [column(plan.window.time)])))
        case Aggregate():
            grouped = _columns_of(named.expression for named in (*plan.keys, *plan.calls))
            return replace(plan, input=_leave_out_unread(plan.input, grouped))
        case Join():
            times = [plan.bound.left_time, plan.bound.right_time] if plan.bound is not None else []
            trees = [*(tree for pair in plan.keys for tree in (pair.left, pair.right)), *plan.residual]
            needed = _and_read(read, [*trees, *map(column, times)])
            sides = [_leave_out_unread(side, needed) for side in plan.inputs]
            kept = {name for side in sides for name in side.schema.names}
            schema = Schema(tuple(item for item in plan.schema if item.name in kept))
            return replace(plan, left=sides[0], right=sides[1], schema=schema)
        case _:
            return map_inputs(plan, lambda node: _leave_out_unread(node, None))


def _columns_of(trees: Iterable[exp.Expression]) -> frozenset[str]:
    return frozenset(name for tree in trees for name in columns_in(tree))


def _and_read(read: frozenset[str] | None, trees: Iterable[exp.Expression]) -> frozenset[str] | None:
    return None if read is None else read | _columns_of(trees)


def _is_above_operator(plan: Plan) -> bool:
    return any(isinstance(node, Aggregate) or (isinstance(node, Join) and not node.lookup) for node in walk(plan))


#: In the order in which they run; each may be run alone.
REWRITES: tuple[Callable[[Plan], Plan], ...] = (
    distribute_over_unions,
    substitute_projections,
    merge_filters,
    drop_trivial_projections,
    project_under_sink,
    compute_volatile,
    drop_unread_system_columns,
)
