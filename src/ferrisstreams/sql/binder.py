"""Queries to plans: what a SELECT reads, filters, groups and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from ferrisstreams.errors import Position, SqlError
from ferrisstreams.plan.expressions import column, column_name, conjuncts
from ferrisstreams.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    Aggregate,
    AssignWindow,
    Emit,
    Facts,
    Filter,
    Named,
    Plan,
    Project,
    Scan,
    Window,
)
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.aggregation import Grouping, name_keys, uses_aggregate
from ferrisstreams.sql.catalog import Catalog, Stream
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.inference import column_names, describe, type_of
from ferrisstreams.sql.refusals import refused_clause
from ferrisstreams.sql.resolve import EDGE, Scope, resolve
from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.statements import EmitWritten, Name, View, name_of
from ferrisstreams.sql.syntax import MessageKey, StreamWindow, span_of
from ferrisstreams.sql.windows import WrittenWindow, read_window

_SELECT = frozenset({"expressions", "from_", "where", "group", "having", "windows", "with_"})
_EDGE_NAMES = frozenset({"window_start", "window_end", "_window_start", "_window_end", "windowstart", "windowend"})


@dataclass(frozen=True, slots=True)
class Relation:
    """A bound query or table: its plan, the message key that its select list names, and the jobs that it reads."""

    plan: Plan
    message_key: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()

    @property
    def aggregate(self) -> Aggregate | None:
        return _aggregate_in(self.plan)


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query of WITH, and the names that it may use: those before it."""

    name: Name
    query: exp.Expression
    columns: tuple[Name, ...]
    names: Names


@dataclass(frozen=True, slots=True)
class Names:
    """Queries of WITH that are in scope, innermost first."""

    queries: tuple[NamedQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the select list: its expression over the input, and its output name when the author gave one."""

    tree: exp.Expression
    name: str | None
    key: bool
    node: exp.Expr


@dataclass(slots=True)
class Binder:
    """Binds the queries of one statement. `emit` is what the statement says, None when it leaves it to the default."""

    context: Context
    catalog: Catalog
    emit: EmitWritten | None
    views: list[str] = field(default_factory=list)

    def query(self, node: exp.Expr, names: Names) -> Relation:
        """The relation of a query. Raises `SqlError`."""
        node = self._unwrapped(node)
        if isinstance(node, exp.SetOperation):
            raise self.context.error(
                node, f"{node.key.upper()} is not supported", "E1201", "write one stream for each query"
            )
        if not isinstance(node, exp.Select):
            raise self.context.error(node, "this is no query", "E1001", "write SELECT …")
        self._refuse_clauses(node, _SELECT)
        names = self._with(node, names)
        source, qualifier = self._from(node, names)
        return self._select(node, source, qualifier)

    def _unwrapped(self, node: exp.Expr) -> exp.Expr:
        while isinstance(node, exp.Subquery | exp.Paren):
            if isinstance(node, exp.Subquery):
                self._refuse_clauses(node, frozenset({"this"}))
            node = node.this
        return node

    def _refuse_clauses(self, node: exp.Expr, allowed: frozenset[str]) -> None:
        refused = refused_clause(node, allowed)
        if refused is not None:
            what, hint, at = refused
            raise self.context.error(at, f"{what} is not supported", "E1201", hint)

    # WITH and FROM

    def _with(self, node: exp.Select, names: Names) -> Names:
        clause = node.args.get("with_")
        if clause is None:
            return names
        self._refuse_clauses(clause, frozenset({"expressions"}))
        for cte in clause.expressions:
            self._refuse_clauses(cte, frozenset({"this", "alias"}))
            name = name_of(cte.args["alias"].this)
            columns = tuple(name_of(part) for part in cte.args["alias"].args.get("columns") or [])
            names = Names((NamedQuery(name, cte.this, columns, names), *names.queries))
        return names

    def _from(self, node: exp.Select, names: Names) -> tuple[Relation, Name | None]:
        clause = node.args.get("from_")
        if clause is None:
            raise self.context.error(
                node, "a query needs FROM: it reads a stream", "E1201", "add FROM name, or FROM 'file.jsonl'"
            )
        item = clause.this
        alias = item.args.get("alias")
        columns = tuple(name_of(part) for part in (alias.args.get("columns") or [])) if alias is not None else ()
        qualifier = name_of(alias.this) if alias is not None and alias.this is not None else None
        if isinstance(item, exp.Subquery):
            self._refuse_clauses(item, frozenset({"this", "alias"}))
            inner = item.this
            relation = self._table(inner, names)[0] if isinstance(inner, exp.Table) else self.query(inner, names)
        else:
            relation, own = self._table(item, names)
            qualifier = qualifier or own
        return self._renamed(relation, columns), qualifier

    def _table(self, item: exp.Expr, names: Names) -> tuple[Relation, Name]:
        if not isinstance(item, exp.Table):
            raise self.context.error(
                item, f"{item.key.upper()} is not supported in FROM", "E1201", "read a stream by its name"
            )
        if isinstance(item.this, exp.Func):
            raise self._table_function(item.this)
        if not isinstance(item.this, exp.Identifier):
            raise self.context.error(item, "this is no stream", "E1001", "read a stream by its name")
        self._refuse_clauses(item, frozenset({"this", "alias"}))
        name = name_of(item.this)
        if item.this.meta_get("string"):
            return Relation(_scan(self.catalog.reference(self.context, name))), name
        named = next((query for query in names.queries if query.name.matches(name.text)), None)
        if named is not None:
            return self._renamed(self.query(named.query, named.names), named.columns), name
        return self._declared(name), name

    def _declared(self, name: Name) -> Relation:
        found = self.catalog.find(self.context, name)
        match found:
            case View():
                return self.query(found.query, Names())
            case Stream():
                return Relation(_scan(found), (), (found.job,) if found.job is not None else ())

    def _table_function(self, call: exp.Func) -> SqlError:
        name = (call.name if isinstance(call, exp.Anonymous) else call.sql_name()).lower()
        if name in ("range", "generate_series"):
            return self.context.error(
                call,
                f"the table function {name} is not supported",
                "E1201",
                "declare a stream WITH (connector = 'datagen')",
            )
        return self.context.error(
            call,
            f"the table function {name} is not callable",
            "E1202",
            "declare a stream: CREATE STREAM … WITH (connector = 'file')",
        )

    def _renamed(self, relation: Relation, columns: Sequence[Name]) -> Relation:
        """`AS t(a, b)`: new names for the first columns."""
        if not columns:
            return relation
        plan = relation.plan
        if len(columns) > len(plan.schema):
            raise self.context.error(
                columns[-1].span, "there are more names than columns", "E1102", "give as many as there are"
            )
        given = [name.text for name in columns]
        old = plan.schema.names
        new = [*given, *old[len(given) :]]
        if len({name.lower() for name in new}) < len(new):
            raise self.context.error(columns[0].span, "two columns get the same name", "E1103", "name each column once")
        named = tuple(Named(after, column(before)) for before, after in zip(old, new, strict=True))
        schema = Schema(tuple(replace(item, name=name) for item, name in zip(plan.schema, new, strict=True)))
        return replace(relation, plan=_project(plan, named, schema))

    # SELECT

    def _select(self, node: exp.Select, source: Relation, qualifier: Name | None) -> Relation:
        window, group = self._window_and_group(node)
        scope = Scope(source.plan.schema, qualifier, window)
        items = self._items(node, scope)
        having = node.args.get("having")
        condition = resolve(self.context, scope, having.this) if having is not None else None
        where = node.args.get("where")
        plan = source.plan if where is None else self._where(where, source, scope)
        keys = self._keys(group, scope, items)
        trees = [item.tree for item in items]
        grouped = bool(group) or window is not None or node.args.get("group") is not None
        if grouped or condition is not None or uses_aggregate(self.context, trees):
            if condition is not None and not grouped and not uses_aggregate(self.context, [*trees, condition]):
                raise self.context.error(having, "HAVING needs GROUP BY or an aggregate", "E1102", "write WHERE")
            return self._aggregated(replace(source, plan=plan), scope, items, keys, condition)
        return self._finished(source, plan, items, self._output_names(items, scope, ()))

    def _items(self, node: exp.Select, scope: Scope) -> list[Item]:
        items: list[Item] = []
        for projection in node.expressions:
            for item in self._item(projection, scope):
                items.append(item)
                if item.name is not None and scope.find(Name(item.name, False, Span(0, 0))) is None:
                    scope.aliases.setdefault(item.name, item.tree)
        return items

    def _item(self, projection: exp.Expr, scope: Scope) -> list[Item]:
        key = isinstance(projection, MessageKey)
        node = projection.this if isinstance(projection, MessageKey) else projection
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            if key:
                raise self.context.error(
                    projection, "PRIMARY KEY stands after one column", "E1102", "name the key columns"
                )
            return self._star(node, scope)
        name = None
        if isinstance(node, exp.Alias):
            name, node = node.alias, node.this
        tree = resolve(self.context, scope, node)
        return [Item(tree, name or _own_name(node, tree), key, projection)]

    def _star(self, node: exp.Expr, scope: Scope) -> list[Item]:
        star = node.this if isinstance(node, exp.Column) else node
        table = node.args.get("table") if isinstance(node, exp.Column) else None
        if table is not None and (scope.qualifier is None or not name_of(table).matches(scope.qualifier.text)):
            known = [scope.qualifier.text] if scope.qualifier is not None else []
            raise self.context.error(table, f"there is no table {table.name}", "E1101", did_you_mean(table.name, known))
        excluded = self._star_names(star.args.get("except_") or [], scope)
        replaced = {
            self._star_names([item.args["alias"]], scope)[0]: resolve(self.context, scope, item.this)
            for item in star.args.get("replace") or []
        }
        self._refuse_clauses(star, frozenset({"except_", "replace"}))
        if scope.window is not None:
            raise self.context.error(
                node, "* stands beside GROUP BY", "E1102", "name the grouped columns and the aggregates"
            )
        return [
            Item(replaced.get(name, column(name)), name, False, node)
            for name in scope.schema.names
            if name not in excluded
        ]

    def _star_names(self, nodes: Sequence[exp.Expr], scope: Scope) -> list[str]:
        found = []
        for node in nodes:
            identifier = node.this if isinstance(node, exp.Column) else node
            name = name_of(identifier)
            match = scope.find(name)
            if match is None:
                hint = did_you_mean(name.text, list(scope.schema.names))
                raise self.context.error(name.span, f"there is no column {name.text}", "E1101", hint)
            found.append(match.name)
        return found

    def _where(self, where: exp.Expr, source: Relation, scope: Scope) -> Plan:
        inner = Scope(scope.schema, scope.qualifier, None, scope.aliases)
        tree = resolve(self.context, inner, where.this)
        if uses_aggregate(self.context, [tree]):
            raise self.context.error(where.this, "WHERE comes before the aggregates", "E1102", "write HAVING")
        self._check_condition("WHERE", where, tree, inner.schema)
        if source.plan.facts.changes:
            raise self.context.error(
                where,
                "WHERE over an aggregate with EMIT CHANGES is not supported: a row that no longer passes would have to be taken back",
                "E1201",
                "use EMIT FINAL, or filter where the output is read",
            )
        return Filter(source.plan, conjuncts(tree))

    def _check_condition(self, clause: str, node: exp.Expr, tree: exp.Expression, schema: Schema) -> None:
        kind = type_of(self.context, tree, schema)
        if kind != "BOOLEAN":
            raise self.context.error(
                node.this, f"{clause} needs BOOLEAN, this is {kind}", "E1102", "compare it, as in x <> 0"
            )

    # GROUP BY

    def _window_and_group(self, node: exp.Select) -> tuple[WrittenWindow | None, list[exp.Expr]]:
        """The window, wherever it is written, and the other expressions of GROUP BY."""
        clauses = node.args.get("windows") or []
        written = [item for item in clauses if isinstance(item, StreamWindow)]
        if len(written) < len(clauses):
            raise self.context.error(
                clauses[0],
                "a named window is not supported",
                "E1201",
                "aggregate in a window of time: WINDOW TUMBLING(1m)",
            )
        group = node.args.get("group")
        others: list[exp.Expr] = []
        if group is not None:
            self._refuse_clauses(group, frozenset({"expressions", "all"}))
            written = [*[item for item in group.expressions if isinstance(item, StreamWindow)], *written]
            others = [item for item in group.expressions if not isinstance(item, StreamWindow)]
            if group.args.get("all"):
                others = [item for item in node.expressions if not self._is_aggregate_item(item)]
        if len(written) > 1:
            raise self.context.error(written[1], "a query has one window", "E1201", "write a stream for each window")
        if not written:
            return None, others
        window = read_window(self.context, written[0])
        if window.key is not None:
            others.append(window.key)
        return window, [item for item in others if not _is_edge_name(item)]

    def _is_aggregate_item(self, item: exp.Expr) -> bool:
        return uses_aggregate(self.context, [item]) or isinstance(item, exp.Star)

    def _keys(self, group: Sequence[exp.Expr], scope: Scope, items: Sequence[Item]) -> tuple[Named, ...]:
        trees = []
        for node in group:
            inner = node.this if isinstance(node, MessageKey) else node
            inner = inner.this if isinstance(inner, exp.Alias) else inner
            tree = self._key(inner, scope, items)
            if uses_aggregate(self.context, [tree]):
                raise self.context.error(
                    node, "GROUP BY holds an aggregate", "E1102", "group by what it is computed from"
                )
            if any(part.meta_get(EDGE) for part in tree.walk()):
                raise self.context.error(
                    node,
                    "an expression of the window's bounds in GROUP BY is not supported",
                    "E1201",
                    "leave it out: the window is in GROUP BY",
                )
            trees.append(tree)
        return name_keys(trees)

    def _key(self, node: exp.Expr, scope: Scope, items: Sequence[Item]) -> exp.Expression:
        if isinstance(node, exp.Literal) and not node.is_string:
            place = int(node.name) if node.name.isdigit() else 0
            if not 1 <= place <= len(items):
                raise self.context.error(
                    node, f"there is no select item {node.name}", "E1102", f"positions go from 1 to {len(items)}"
                )
            return items[place - 1].tree.copy()
        return resolve(self.context, scope, node)

    # The three ways to finish

    def _aggregated(
        self,
        source: Relation,
        scope: Scope,
        items: Sequence[Item],
        keys: tuple[Named, ...],
        having: exp.Expression | None,
    ) -> Relation:
        if source.aggregate is not None:
            raise self.context.error(
                items[0].node,
                "an aggregate over an aggregate is not supported: its input would change",
                "E1201",
                "write the inner one as a stream of its own (CREATE STREAM … AS SELECT …) and read that",
            )
        window = self._bound_window(scope.window, source, scope) if scope.window is not None else None
        emit = self.emit.emit if self.emit is not None else (Emit.FINAL if window is not None else Emit.CHANGES)
        grouping = Grouping(self.context, keys, window is not None)
        above = [replace(item, tree=grouping.above(item.tree)) for item in items]
        names = self._output_names(items, scope, keys)
        condition = grouping.above(having) if having is not None else None
        plan: Plan = grouping.aggregate(source.plan, window, emit)
        if condition is not None and having is not None:
            self._check_having(having, condition, plan)
            plan = Filter(plan, conjuncts(condition))
        return self._finished(source, plan, above, names)

    def _check_having(self, having: exp.Expression, condition: exp.Expression, plan: Plan) -> None:
        kind = type_of(self.context, condition, plan.schema)
        if kind != "BOOLEAN":
            raise self.context.error(
                having, f"HAVING needs BOOLEAN, this is {kind}", "E1102", "compare it, as in x <> 0"
            )
        if plan.facts.changes:
            raise self.context.error(
                having,
                "HAVING with EMIT CHANGES is not supported: a row that no longer passes would have to be taken back",
                "E1201",
                "use EMIT FINAL, or filter where the output is read",
            )

    def _bound_window(self, written: WrittenWindow, source: Relation, scope: Scope) -> Window:
        scan = _scan_in(source.plan)
        time = scan.source.event_time
        if time is None:
            raise self.context.error(
                written.node,
                f"the window needs an event time, and {scan.source.name} has none",
                "E1201",
                "declare it: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND in CREATE STREAM, or 'event.time.field' in its WITH",
            )
        for reserved in (WINDOW_START, WINDOW_END):
            if scan.source.schema.get(reserved) is not None:
                raise self.context.error(
                    written.node,
                    f"{scan.source.name} has a column {reserved}, as the window has",
                    "E1103",
                    "declare the column under another name",
                )
        if written.time is not None:
            tree = resolve(self.context, Scope(scope.schema, scope.qualifier), written.time)
            name = column_name(tree)
            if name is None or _traced(source.plan, name) != time.column:
                raise self.context.error(
                    written.time,
                    f"a window's time is the event time {time.column} of {scan.source.name}, not {written.time.sql('duckdb')}",
                    "E1201",
                    f"write {time.column}, or leave the column out",
                )
        return written.over(time.column)

    def _finished(self, source: Relation, plan: Plan, items: Sequence[Item], names: Sequence[str]) -> Relation:
        """The projection of the select list, whose trees are over `plan`, on top of it."""
        kinds = [kind for _, kind in describe(self.context, [item.tree for item in items], plan.schema)]
        named = tuple(Named(name, item.tree, self._position(item)) for name, item in zip(names, items, strict=True))
        schema = Schema(
            tuple(
                Column(item.name, kind, _nullable(item.expression, plan.schema))
                for item, kind in zip(named, kinds, strict=True)
            )
        )
        key = tuple(name for name, item in zip(names, items, strict=True) if item.key)
        return Relation(_project(plan, named, schema), key, source.depends_on)

    def _position(self, item: Item) -> Position | None:
        span = span_of(item.node)
        return self.context.source.position(span) if span is not None else None

    def _output_names(self, items: Sequence[Item], scope: Scope, keys: Sequence[Named]) -> list[str]:
        unnamed = [item.tree for item in items if item.name is None]
        made = iter(column_names(self.context, unnamed, scope.described, [key.expression for key in keys]))
        names: list[str] = []
        for item in items:
            name = item.name if item.name is not None else next(made)
            if any(other.lower() == name.lower() for other in names):
                raise self.context.error(
                    item.node, f"two columns are named {name}", "E1103", "give one of them an alias: … AS name"
                )
            names.append(name)
        return names


def plan_message_key(relation: Relation) -> tuple[str, ...]:
    """The output columns that key the messages: PRIMARY KEY items, else the grouped columns when all are in the output."""
    if relation.message_key:
        return relation.message_key
    aggregate = relation.aggregate
    if aggregate is None:
        return ()
    traced = {_traced_to(relation.plan, name, aggregate): name for name in reversed(relation.plan.schema.names)}
    keys = [key.name for key in aggregate.keys]
    return tuple(traced[key] for key in keys) if all(key in traced for key in keys) else ()


def _scan(stream: Stream) -> Scan:
    return Scan(stream.source, stream.source.schema)


def _scan_in(plan: Plan) -> Scan:
    while not isinstance(plan, Scan):
        plan = plan.input
    return plan


def _aggregate_in(plan: Plan) -> Aggregate | None:
    while not isinstance(plan, Scan):
        if isinstance(plan, Aggregate):
            return plan
        plan = plan.input
    return None


def _traced(plan: Plan, name: str) -> str | None:
    """The scan's column that an output column is, unchanged; None when it is computed."""
    return _traced_to(plan, name, _scan_in(plan))


def _traced_to(plan: Plan, name: str | None, goal: Plan) -> str | None:
    while name is not None and plan is not goal:
        match plan:
            case Project():
                named = next((item for item in plan.columns if item.name == name), None)
                name = column_name(named.expression) if named is not None else None
                plan = plan.input
            case Aggregate() | AssignWindow() | Scan():
                return None
            case _:
                plan = plan.input
    return name


def _project(plan: Plan, columns: tuple[Named, ...], schema: Schema) -> Project:
    return Project(plan, columns, schema, _facts(plan.facts, columns))


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


def _own_name(node: exp.Expr, tree: exp.Expression) -> str | None:
    """The output name of an item without an alias, when it is a column or a field of one."""
    if isinstance(tree, exp.Column):
        return str(tree.name)
    if isinstance(node, exp.Column | exp.Dot):
        return node.name if isinstance(node, exp.Column) else node.expression.name
    return None


def _is_edge_name(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and not node.table and not node.this.quoted and node.name.lower() in _EDGE_NAMES


def _nullable(tree: exp.Expression, schema: Schema) -> bool:
    found = schema.get(column_name(tree) or "")
    return found is None or found.nullable
