"""The window of a query: where it is written, over which time it goes, and how long it waits for late rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from ferrisstreams.config.kinds import parse_duration_ms
from ferrisstreams.config.values import Property
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.expressions import column_name
from ferrisstreams.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    Join,
    Named,
    Plan,
    Project,
    Scan,
    UnionAll,
    Window,
    WindowKind,
    map_inputs,
)
from ferrisstreams.plan.system_columns import RECORD_TIME, has_record_time
from ferrisstreams.schema import EventTime
from ferrisstreams.sql.aggregation import uses_aggregate
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.header_items import is_header_item
from ferrisstreams.sql.relations import Relation, base_in, scans_in, traced, window_bound
from ferrisstreams.sql.resolve import refuse_clauses, resolve
from ferrisstreams.sql.scope import EVENT_TIME, Scope
from ferrisstreams.sql.syntax import TABLE_WINDOW, TABLE_WINDOW_KEYS, StreamWindow, WindowBound, span_of
from ferrisstreams.sql.windows import Grace, WrittenWindow, read_bound, read_window

LATENESS = "allowed.lateness"

_EDGE_NAMES = frozenset({"window_start", "window_end", "_window_start", "_window_end", "windowstart", "windowend"})


def window_and_group(context: Context, node: exp.Select) -> tuple[WrittenWindow | None, list[exp.Expr]]:
    """The window, wherever it is written, and the other expressions of GROUP BY. Raises `SqlError`."""
    written = _clause_windows(context, node)
    group = node.args.get("group")
    others: list[exp.Expr] = []
    if group is not None:
        refuse_clauses(context, group, frozenset({"expressions", "all"}))
        written = [*[item for item in group.expressions if isinstance(item, StreamWindow)], *written]
        others = [item for item in group.expressions if not isinstance(item, StreamWindow)]
        if group.args.get("all"):
            others = [item for item in node.expressions if not (is_header_item(item) or _aggregates(context, item))]
    _refuse_windows_of_sides(context, node)
    table = _windowed_table(node)
    if table is not None:
        _check_table_window(context, table, others)
        written = [table.args[TABLE_WINDOW], *written]
    if len(written) > 1:
        raise context.error(written[1], "a query has one window", "E1208", "write a stream for each window")
    if not written:
        return None, others
    window = read_window(context, written[0])
    if window.key is not None:
        others.append(window.key)
    return window, [item for item in others if not is_edge(item)]


def check_windows(context: Context, query: exp.Expression) -> None:
    """Whether each SELECT has the window that it says it has. Raises `SqlError`.

    One canonical spelling stands for all, so that a wrong one would become right by being written again.
    """
    for select in query.find_all(exp.Select):
        own = [node for node in select.find_all(StreamWindow, WindowBound) if node.find_ancestor(exp.Select) is select]
        if own:
            window, _ = window_and_group(context, select)
            for bound in own:
                if isinstance(bound, WindowBound):
                    read_bound(context, bound, window)


def _clause_windows(context: Context, node: exp.Select) -> list[StreamWindow]:
    clauses = node.args.get("windows") or []
    written = [item for item in clauses if isinstance(item, StreamWindow)]
    if len(written) < len(clauses):
        raise context.error(
            clauses[0], "a named window is not supported", "E1201", "aggregate in a window of time: WINDOW TUMBLING(1m)"
        )
    return written


def _aggregates(context: Context, item: exp.Expr) -> bool:
    return uses_aggregate(context, [item]) or isinstance(item, exp.Star)


def is_edge(node: exp.Expr) -> bool:
    """True for `window_start`, `window_end` and their other names."""
    return isinstance(node, exp.Column) and not node.this.quoted and node.name.lower() in _EDGE_NAMES


# Table functions


def _windowed_table(node: exp.Select) -> exp.Expr | None:
    clause = node.args.get("from_")
    item = clause.this if clause is not None else None
    return item if isinstance(item, exp.Table) and item.args.get(TABLE_WINDOW) is not None else None


def _refuse_windows_of_sides(context: Context, node: exp.Select) -> None:
    """A window of a table in brackets, or of one that is joined, would be the query's and not the table's."""
    clause, joins = node.args.get("from_"), node.args.get("joins") or []
    for item in [*([clause.this] if clause is not None else []), *(join.this for join in joins)]:
        table = item
        while isinstance(table, exp.Subquery):
            table = table.this
        window = table.args.get(TABLE_WINDOW)
        if window is not None and (joins or table is not item):
            raise context.error(
                window,
                "the window of one table of a join is not supported"
                if joins
                else "the window of a table in brackets is not supported",
                "E1201",
                "aggregate it in a subquery: (SELECT … FROM TUMBLE(…) GROUP BY window_start, window_end) AS t",
            )


def _check_table_window(context: Context, table: exp.Expr, group: Sequence[exp.Expr]) -> None:
    """A window of FROM is a window of GROUP BY when the query groups by its bounds, and by a session's keys."""
    window = table.args[TABLE_WINDOW]
    if not any(is_edge(item) for item in group):
        raise context.error(
            window,
            "the rows of a window are not grouped by it",
            "E1208",
            "add GROUP BY window_start, window_end: rows without an aggregate need no window",
        )
    keys = table.args[TABLE_WINDOW_KEYS]
    if str(window.this) != "SESSION":
        if keys:
            raise context.error(
                keys[0], f"PARTITION BY has no meaning in {window.this}", "E1102", "leave it out, and group by the key"
            )
        return
    grouped = [item for item in group if not is_edge(item)]
    if {_plain(item) for item in keys} != {_plain(item) for item in grouped}:
        listed = ", ".join(item.sql("duckdb") for item in grouped)
        raise context.error(
            window,
            "the sessions are not those of the groups",
            "E1208",
            f"write SESSION(TABLE name PARTITION BY {listed}, …)" if listed else "leave PARTITION BY out",
        )


def _plain(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Column) else node.sql("duckdb").lower()


# Time


def with_record_time(context: Context, written: WrittenWindow, plan: Plan, scope: Scope) -> Plan:
    """The plan whose scan, where it declares no event time, has that of its records: when the window names it, or
    names no time. Raises `SqlError`."""
    scan = base = base_in(plan)
    while isinstance(scan, Join) and scan.lookup:
        scan = base_in(scan.left)
    if not isinstance(scan, Scan) or scan.source.event_time is not None or not has_record_time(scan.schema):
        return plan
    timed = _with_event_time(plan, EventTime(RECORD_TIME))
    if written.time is not None and not _is_event_time(written.time, scope):
        name = column_name(resolve(context, _bare(scope), written.time))
        goal = RECORD_TIME if isinstance(base, Scan) else base_in(timed).facts.event_time
        if name is None or traced(plan, name) != goal:
            return plan
    return timed


def _with_event_time(plan: Plan, time: EventTime) -> Plan:
    """The plan over a scan, or over lookups of its rows, with this event time of the scan."""
    match plan:
        case Scan():
            return replace(plan, source=replace(plan.source, event_time=time))
        case Join():
            return replace(plan, left=_with_event_time(plan.left, time))
        case Project():
            below = _with_event_time(plan.input, time)
            found = below.facts.event_time
            same = (item.name for item in plan.columns if found is not None and column_name(item.expression) == found)
            return replace(plan, input=below, facts=replace(plan.facts, event_time=next(same, None)))
    return map_inputs(plan, lambda node: _with_event_time(node, time))


def bind_window(context: Context, written: WrittenWindow, source: Relation, scope: Scope) -> Window:
    """The window over the event time of its source. Raises `SqlError`."""
    base = base_in(source.plan)
    match base:
        case Scan():
            time, owner = _time_of_source(context, written, base), base.source.name
        case Join():
            time, owner = _time_of_join(context, written, base), "the join"
        case UnionAll():
            time, owner = _time_of_union(context, written, source), "the UNION ALL"
    for scan in scans_in(source.plan):
        for reserved in (WINDOW_START, WINDOW_END):
            if scan.source.schema.get(reserved) is not None:
                raise context.error(
                    written.node,
                    f"{scan.source.name} has a column {reserved}, as the window has",
                    "E1103",
                    "declare the column under another name",
                )
    if written.time is not None and not _is_event_time(written.time, scope):
        tree = resolve(context, _bare(scope), written.time)
        name = column_name(tree)
        if name is None or (name if isinstance(base, UnionAll) else traced(source.plan, name)) != time:
            raise context.error(
                written.time,
                f"the window's time is not {time}, the event time of {owner}",
                "E1208",
                f"write {time}, or leave the column out",
            )
    return written.timed_by(time)


def _time_of_source(context: Context, written: WrittenWindow, scan: Scan) -> str:
    if scan.source.event_time is not None:
        return scan.source.event_time.column
    raise context.error(
        written.node,
        f"the window needs an event time, and {scan.source.name} has none",
        "E1205",
        "declare it: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, or WITH ('event.time.field' = 'ts')"
        + (f"; or write {RECORD_TIME}, the time of the record" if has_record_time(scan.schema) else ""),
    )


def _time_of_join(context: Context, written: WrittenWindow, join: Join) -> str:
    if join.facts.event_time is not None:
        return join.facts.event_time
    untimed = join.lookup and not isinstance(join.left, Join)
    raise context.error(
        written.node,
        "the window needs an event time, and the "
        + ("stream of the join has none" if untimed else "rows of a join of two streams have none"),
        "E1205",
        "declare it: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, or WITH ('event.time.field' = 'ts')"
        if untimed
        else "join them in a bound of time: AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' HOUR, and take the window"
        " over the event time of the left side; or aggregate each stream in the window first, and join the results ON"
        " a.window_end = b.window_end",
    )


def _time_of_union(context: Context, written: WrittenWindow, source: Relation) -> str:
    time = source.plan.facts.event_time
    if time is not None:
        return time
    without = [scan.source.name for scan in scans_in(source.plan) if scan.source.event_time is None]
    raise context.error(
        written.node,
        f"the window needs an event time, and {without[0]} has none"
        if without
        else "the window needs an event time, and the queries of the UNION ALL do not have theirs in one column",
        "E1205",
        "declare it: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, or WITH ('event.time.field' = 'ts')"
        if without
        else "select the event time of each stream, unchanged, at the same place of each query",
    )


def bind_result_window(context: Context, written: WrittenWindow, source: Relation, scope: Scope) -> Window:
    """The window over a bound of the windows whose results the query reads. Raises `SqlError`."""
    below = source.aggregate
    assert below is not None
    if written.grace is not None:
        raise context.error(
            written.grace.node,
            "results of windows are never late",
            "E1208",
            "write GRACE PERIOD at the window over the stream",
        )
    if below.window is None:
        raise context.error(
            written.node,
            "the window needs an event time, and results of groups without a window have none",
            "E1205",
            "give the query below a window",
        )
    wanted = "window_end" if below.window.kind is WindowKind.SESSION else "window_start or window_end"
    name = None
    if written.time is not None:
        name = column_name(resolve(context, _bare(scope), written.time))
    bound = window_bound(source.plan, name) if name is not None else None
    if bound is None or (bound == WINDOW_START and below.window.kind is WindowKind.SESSION):
        raise context.error(
            written.time if written.time is not None else written.node,
            "the window's time is not a bound of the windows below"
            if bound is None
            else "sessions are given in the order of their ends",
            "E1208",
            f"write the column that is {wanted} of the query below",
        )
    return written.timed_by(bound)


def given_window(context: Context, source: Relation, keys: Sequence[Named]) -> tuple[Window | None, tuple[Named, ...]]:
    """The window that a query stays in because it groups by its bounds, and these of its keys under their own names;
    None: it groups by none. Raises `SqlError`."""
    below = source.aggregate
    bounds = tuple(
        Named(bound, key.expression)
        for key in keys
        if (name := column_name(key.expression)) is not None and (bound := window_bound(source.plan, name)) is not None
    )
    if below is None or below.window is None or not bounds:
        return None, ()
    window = below.window
    if window.kind in (WindowKind.SESSION, WindowKind.CUMULATE):
        raise context.error(
            bounds[0].expression,
            f"grouping results by the bounds of a {window.kind.value} window is not supported",
            "E1201",
            "aggregate them in a window of their own: GROUP BY TUMBLE(window_end, INTERVAL '1' HOUR)",
        )
    return Window(WindowKind.GIVEN, WINDOW_START, window.size_us, window.slide_us, window.origin_us), bounds


def _bare(scope: Scope) -> Scope:
    """The input's columns alone: a window's time is not part of the select list."""
    return Scope(scope.schema, scope.sides, merged=scope.merged)


def _is_event_time(node: exp.Expression, scope: Scope) -> bool:
    """`_event_time`, in any case, names the event time whatever its column is called."""
    return isinstance(node, exp.Column) and node.name.lower() == EVENT_TIME and scope.schema.get(node.name) is None


def with_grace(context: Context, grace: Grace | None, plan: Plan, properties: Mapping[str, Property]) -> Plan:
    """The plan whose scans wait as long as GRACE PERIOD says. Raises `SqlError` where a property of a scan or of the
    job (`properties`) says otherwise."""
    if grace is None:
        return plan
    if not isinstance(plan, Scan):
        return map_inputs(plan, lambda node: with_grace(context, grace, node, properties))
    source = plan.source
    given = source.properties.get(LATENESS) or properties.get(LATENESS)
    if given is not None and not _same(given, grace):
        raise SqlError(
            f"GRACE PERIOD and {LATENESS} give different lengths", "E3003", "keep one of them", given.position
        )
    position = context.source.position(span_of(grace.node) or context.statement)
    waiting = {**source.properties, LATENESS: Property(f"{grace.length_us / 1000}ms", position)}
    return replace(plan, source=replace(source, properties=waiting))


def _same(given: Property, grace: Grace) -> bool:
    try:
        return parse_duration_ms(given.value) * 1000 == grace.length_us
    except ValueError:
        return True  # no length at all: the settings say so
