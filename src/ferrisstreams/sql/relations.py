"""Relations: bound queries and tables, and what of their columns comes through unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.plan.expressions import column, column_name
from ferrisstreams.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    Aggregate,
    AssignWindow,
    Facts,
    Filter,
    Join,
    Latest,
    Named,
    Plan,
    Project,
    Scan,
    UnionAll,
    walk,
)
from ferrisstreams.plan.system_columns import RECORD_TIME, has_record_time
from ferrisstreams.schema import Schema
from ferrisstreams.sql.header_items import HeaderItem


@dataclass(frozen=True, slots=True)
class Relation:
    """A bound query or table: its plan, the message key and headers that its select list names, and the jobs that it
    reads."""

    plan: Plan
    message_key: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    headers: tuple[HeaderItem, ...] = ()

    @property
    def aggregate(self) -> Aggregate | None:
        return aggregate_in(self.plan)


def plan_message_key(relation: Relation) -> tuple[str, ...]:
    """The output columns that key the messages: PRIMARY KEY items, else the grouped columns when all are given. Of a
    join its unique key if it changes, else the left side's columns of the equalities, when all are given."""
    if relation.message_key:
        return relation.message_key
    aggregate, join = relation.aggregate, join_in(relation.plan)
    if aggregate is not None:
        return _given(relation.plan, aggregate, [key.name for key in aggregate.keys])
    if join is None:
        return ()
    if relation.plan.facts.changes:
        return relation.plan.facts.key or ()
    lefts = [column_name(pair.left) for pair in join.keys]
    return _given(relation.plan, join, [name for name in lefts if name is not None]) if all(lefts) else ()


def _given(plan: Plan, goal: Plan, columns: Sequence[str]) -> tuple[str, ...]:
    """The output columns that are these of the goal, when all are given."""
    traced = {_traced_to(plan, name, goal): name for name in reversed(plan.schema.visible.names)}
    return tuple(traced[name] for name in columns) if all(name in traced for name in columns) else ()


def window_bound(plan: Plan, name: str) -> str | None:
    """`window_start` or `window_end`, when an output column is this bound of the window of the results that it is
    read from."""
    aggregate = aggregate_in(plan)
    if aggregate is None or aggregate.window is None:
        return None
    bound = _traced_to(plan, name, aggregate)
    return bound if bound in (WINDOW_START, WINDOW_END) else None


def scans_in(plan: Plan) -> tuple[Scan, ...]:
    """In the order in which they are written."""
    return tuple(node for node in walk(plan) if isinstance(node, Scan))


def base_in(plan: Plan) -> Scan | UnionAll | Join:
    """What the rows of a plan without an aggregate come from."""
    return next(node for node in walk(plan) if isinstance(node, Scan | UnionAll | Join))


def above_joins(plan: Plan) -> Iterator[Plan]:
    """The nodes of a plan, each before its inputs, without what is below a join."""
    yield plan
    for node in plan.inputs if not isinstance(plan, Join) else ():
        yield from above_joins(node)


def aggregate_in(plan: Plan) -> Aggregate | None:
    """The aggregate that makes the rows of a plan. Those of the sides of a join do not."""
    return next((node for node in above_joins(plan) if isinstance(node, Aggregate)), None)


def join_in(plan: Plan) -> Join | None:
    """The join that makes the rows of a plan, or those that its aggregates read."""
    return next((node for node in above_joins(plan) if isinstance(node, Join)), None)


def table_in(plan: Plan) -> Latest | None:
    """The table whose rows a plan gives, one for each of them or none."""
    while isinstance(plan, Project | Filter):
        plan = plan.input
    return plan if isinstance(plan, Latest) else None


def event_time_column(plan: Plan) -> str | None:
    """The column of the plan that holds the event time; None: there is none, or it is not among the columns."""
    if plan.facts.event_time is not None:
        return plan.facts.event_time
    base = base_in(plan)
    untimed = isinstance(base, Scan) and base.source.event_time is None
    return RECORD_TIME if untimed and has_record_time(plan.schema) else None


def traced(plan: Plan, name: str) -> str | None:
    """The column of the scan, or of the union, that an output column is, unchanged; None when it is computed."""
    return _traced_to(plan, name, base_in(plan))


def _traced_to(plan: Plan, name: str | None, goal: Plan) -> str | None:
    while name is not None and plan is not goal:
        match plan:
            case Project():
                named = next((item for item in plan.columns if item.name == name), None)
                name = column_name(named.expression) if named is not None else None
                plan = plan.input
            case Aggregate() | AssignWindow() | Scan() | UnionAll() | Join():
                return None
            case _:
                plan = plan.input
    return name


def project(plan: Plan, columns: tuple[Named, ...], schema: Schema) -> Project:
    """The projection of `columns`. What a hidden one is made of is not in the output's rows."""
    shown = tuple(
        named
        for named, item in zip(columns, schema, strict=True)
        if not item.hidden or column_name(named.expression) == named.name
    )
    return Project(plan, columns, schema, _facts(plan.facts, shown))


def renamed(plan: Plan, names: Mapping[str, str]) -> Project:
    """The plan with all its columns, hidden ones too, under the names that they have in `names`."""
    columns = tuple(Named(names[name], column(name)) for name in plan.schema.names)
    schema = Schema(tuple(replace(item, name=names[item.name]) for item in plan.schema))
    facts = plan.facts
    time = names[facts.event_time] if facts.event_time is not None else None
    key = tuple(names[name] for name in facts.key) if facts.key is not None else None
    return Project(plan, columns, schema, Facts(facts.changes, time, key))


def _facts(below: Facts, columns: tuple[Named, ...]) -> Facts:
    """What holds of the output: event time and key survive when their columns are in it unchanged."""
    given: Mapping[str, str] = {
        source: item.name for item in reversed(columns) if (source := column_name(item.expression)) is not None
    }
    time = given.get(below.event_time) if below.event_time is not None else None
    key = None
    needed = _needed_key(below.key, given)
    if needed is not None and all(name in given for name in needed):
        key = tuple(given[name] for name in needed)
    return Facts(below.changes, time, key)


def _needed_key(key: tuple[str, ...] | None, given: Mapping[str, str]) -> tuple[str, ...] | None:
    """The columns of a key without which it does not identify a row: one bound of the window tells the other."""
    if key is None or WINDOW_START not in key or WINDOW_END not in key:
        return key
    spare = WINDOW_END if WINDOW_START in given else WINDOW_START
    return tuple(name for name in key if name != spare)


def nullable(tree: exp.Expression, schema: Schema) -> bool:
    found = schema.get(column_name(tree) or "")
    return found is None or found.nullable
