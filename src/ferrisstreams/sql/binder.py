"""Queries to plans: what a SELECT reads, filters, groups and gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from sqlglot import exp

from ferrisstreams.config.values import Property
from ferrisstreams.errors import Position, SqlError
from ferrisstreams.plan.expressions import column, columns_in, conjuncts
from ferrisstreams.plan.nodes import (
    Emit,
    Filter,
    Join,
    Named,
    Plan,
    Project,
    Scan,
    UnionAll,
    walk,
)
from ferrisstreams.plan.rewrites import VOLATILE
from ferrisstreams.plan.system_columns import system_columns
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.aggregation import Grouping, name_keys, uses_aggregate
from ferrisstreams.sql.catalog import Catalog, ColumnsUnknownError, Stream
from ferrisstreams.sql.constants import check_constants
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.header_items import misplaced
from ferrisstreams.sql.in_queries import with_semi_joins
from ferrisstreams.sql.inference import describe, type_of
from ferrisstreams.sql.inline import CONFIG_FILE, CONNECTOR
from ferrisstreams.sql.joins import From, Joiner, Table
from ferrisstreams.sql.relations import Relation, event_time_column, join_in, nullable, project, table_in
from ferrisstreams.sql.resolve import EDGE, refuse_clauses, resolve
from ferrisstreams.sql.scope import Scope, Side
from ferrisstreams.sql.select_list import LATER_BRANCH, Item, SelectList
from ferrisstreams.sql.sources import inline_source, source_properties, with_job_properties
from ferrisstreams.sql.statements import EmitWritten, Name, View, name_of
from ferrisstreams.sql.syntax import TABLE_WINDOW, TABLE_WINDOW_KEYS, TABLE_WITHIN, MessageKey, span_of
from ferrisstreams.sql.tables import check_changes, table_of
from ferrisstreams.sql.unions import united
from ferrisstreams.sql.window_binding import (
    bind_result_window,
    bind_window,
    given_window,
    window_and_group,
    with_grace,
    with_record_time,
)

_SELECT = frozenset({"expressions", "from_", "joins", "where", "group", "having", "windows", "with_"})


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


@dataclass(slots=True)
class Binder:
    """Binds the queries of one statement. `emit` is what the statement says, None when it leaves it to the default;
    `properties` are those of its WITH."""

    context: Context
    catalog: Catalog
    emit: EmitWritten | None
    properties: Mapping[str, Property]

    def query(self, node: exp.Expr, names: Names) -> Relation:
        """The relation of a query. Raises `SqlError`."""
        node = self._unwrapped(node)
        if isinstance(node, exp.SetOperation):
            return self._union(node, names)
        if not isinstance(node, exp.Select):
            raise self.context.error(node, "expected a query", "E1001", "write SELECT …")
        node = with_semi_joins(self.context, node)
        self._refuse_clauses(node, _SELECT)
        names = self._with(node, names)
        return self._select(node, self._from(node, names))

    def _unwrapped(self, node: exp.Expr) -> exp.Expr:
        while isinstance(node, exp.Subquery | exp.Paren):
            if isinstance(node, exp.Subquery):
                self._refuse_clauses(node, frozenset({"this"}))
            node = node.this
        return node

    def _refuse_clauses(self, node: exp.Expr, allowed: frozenset[str]) -> None:
        refuse_clauses(self.context, node, allowed)

    # WITH and FROM

    def _with(self, node: exp.Query, names: Names) -> Names:
        clause = node.args.get("with_")
        if clause is None:
            return names
        self._refuse_clauses(clause, frozenset({"expressions"}))
        for cte in clause.expressions:
            self._refuse_clauses(cte, frozenset({"this", "alias"}))
            name = name_of(cte.args["alias"].this)
            columns = self._column_names(cte.args["alias"])
            names = Names((NamedQuery(name, cte.this, columns, names), *names.queries))
        return names

    def _from(self, node: exp.Select, names: Names) -> From:
        clause = node.args.get("from_")
        if clause is None:
            raise self.context.error(
                node, "a query needs FROM: it reads a stream", "E1205", "add FROM name, or FROM 'file.jsonl'"
            )
        first = self._item(clause.this, names, frozenset())
        joins = node.args.get("joins") or []
        if joins:
            others = [self._item(join.this, names, frozenset({TABLE_WITHIN})) for join in joins]
            return self._joiner.joined([first, *others], joins)
        plan = first.relation.plan
        return From(first.relation, (Side.alone(first.qualifier, plan.schema, event_time_column(plan)),))

    @property
    def _joiner(self) -> Joiner:
        return Joiner(self.context, self.emit, self.properties)

    def _item(self, item: exp.Expr, names: Names, clauses: frozenset[str]) -> Table:
        """A table of FROM. `clauses` are those that it may have."""
        alias = item.args.get("alias")
        columns = self._column_names(alias) if alias is not None else ()
        qualifier = name_of(alias.this) if alias is not None and alias.this is not None else None
        if isinstance(item, exp.Subquery):
            self._refuse_clauses(item, clauses | {"this", "alias"})
            inner = item.this
            relation = (
                self._table(inner, names, frozenset())[0] if isinstance(inner, exp.Table) else self.query(inner, names)
            )
        else:
            relation, own = self._table(item, names, clauses)
            qualifier = qualifier or own
        if relation.headers:
            raise misplaced(self.context, relation.headers[0].node)
        return Table(self._renamed(relation, columns), qualifier, item)

    def _column_names(self, alias: exp.Expr) -> tuple[Name, ...]:
        parts = alias.args.get("columns") or []
        for part in parts:
            if not isinstance(part, exp.Identifier):
                raise self.context.error(part, "a column's name is expected here", "E1001", "write AS name(a, b)")
        return tuple(name_of(part) for part in parts)

    def _table(self, item: exp.Expr, names: Names, clauses: frozenset[str]) -> tuple[Relation, Name]:
        if not isinstance(item, exp.Table):
            hint = "read a stream by its name; a subquery is joined by an equality: JOIN (SELECT …) AS b ON a.k = b.k"
            raise self.context.error(item, f"{item.key.upper()} is not supported in FROM", "E1201", hint)
        if isinstance(item.this, exp.Func):
            raise self._table_function(item.this)
        if not isinstance(item.this, exp.Identifier):
            raise self.context.error(item, "expected a stream", "E1001", "read a stream by its name")
        self._refuse_clauses(item, clauses | {"this", "alias", TABLE_WINDOW, TABLE_WINDOW_KEYS})
        name = name_of(item.this)
        if item.this.meta_get("string"):
            return self._scan(self.catalog.reference(self.context, name)), name
        named = next((query for query in names.queries if query.name.matches(name.text)), None)
        if named is not None:
            return self._renamed(self.query(named.query, named.names), named.columns), name
        return self._declared(name), name

    def _declared(self, name: Name) -> Relation:
        given = source_properties(name.text, self.properties)
        if CONNECTOR in given or CONFIG_FILE in given:
            return self._scan(inline_source(self.context, self.catalog, name, given))
        found = self.catalog.find(self.context, name)
        match found:
            case View():
                return self.query(found.query, Names())
            case Stream():
                return self._scan(found)

    def _scan(self, stream: Stream) -> Relation:
        source = with_job_properties(stream.source, self.properties, stream.job is not None)
        if not len(source.schema):
            raise ColumnsUnknownError(source)
        check_changes(source)
        schema = Schema(source.schema.columns + system_columns(source.schema, source.properties))
        return Relation(table_of(Scan(source, schema)), (), (stream.job,) if stream.job is not None else ())

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
        return replace(relation, plan=project(plan, named, schema))

    # UNION ALL

    def _union(self, node: exp.SetOperation, names: Names) -> Relation:
        self._check_set_operation(node)
        names = self._with(node, names)
        parts: list[exp.Expr] = [node.expression]
        inner = node.this
        while isinstance(inner, exp.Union) and inner.args.get("with_") is None:
            self._check_set_operation(inner)
            parts.append(inner.expression)
            inner = inner.this
        parts.append(inner)
        parts.reverse()
        for part in parts[1:]:
            first = self._unwrapped(part)
            while isinstance(first, exp.SetOperation):
                first = self._unwrapped(first.this)
            first.meta[LATER_BRANCH] = True
        return united(self.context, parts, [self.query(part, names) for part in parts])

    def _check_set_operation(self, node: exp.SetOperation) -> None:
        if not isinstance(node, exp.Union) or node.args.get("distinct"):
            raise self.context.error(
                node.expression,
                f"{node.key.upper()} is not supported",
                "E1201",
                "write UNION ALL, which keeps every row"
                if isinstance(node, exp.Union)
                else "write one stream for each query",
            )
        if node.args.get("by_name"):
            raise self.context.error(
                node.expression, "UNION ALL BY NAME is not supported", "E1201", "select the columns in the same order"
            )
        self._refuse_clauses(node, frozenset({"this", "expression", "distinct", "with_"}))

    # SELECT

    def _select(self, node: exp.Select, given: From) -> Relation:
        source = given.relation
        window, group = window_and_group(self.context, node)
        later = tuple(item.alias for item in node.expressions if isinstance(item, exp.Alias))
        scope = Scope(source.plan.schema, given.sides, window, later=later, merged=given.merged)
        select_list = SelectList(self.context, scope)
        items = select_list.items(node)
        having = node.args.get("having")
        condition = resolve(self.context, scope, having.this) if having is not None else None
        where = node.args.get("where")
        conditions = () if where is None else self._where(where, source, scope)
        plan = self._filtered(given, conditions)
        shown = [item for item in items if not item.hidden]
        if not shown:
            raise self.context.error(node, "the select list has no column", "E1102", "select a column too")
        keys = self._keys(group, scope, shown)
        trees = [item.tree for item in items]
        grouped = bool(group) or window is not None or node.args.get("group") is not None
        self._check_chance_of_tables(node, plan, [*trees, *conditions])
        if grouped or condition is not None or uses_aggregate(self.context, trees):
            if condition is not None and not grouped and not uses_aggregate(self.context, [*trees, condition]):
                raise self.context.error(having, "HAVING needs GROUP BY or an aggregate", "E1102", "write WHERE")
            relation = self._aggregated(replace(source, plan=plan), scope, items, keys, condition)
        else:
            takes_back = plan.facts.changes and (join_in(plan) is not None or table_in(plan) is not None)
            if takes_back and _is_volatile([*trees, *conditions]):
                raise self.context.error(
                    node,
                    "the clock and chance are not supported over a table, or a join that takes rows back",
                    "E1201",
                    "write the call in a subquery of a stream, where it has one value for each row",
                )
            relation = self._finished(source, plan, items, select_list.output_names(items, ()))
        bound = [*trees, *conditions, *(key.expression for key in keys)]
        check_constants(self.context, [*bound, *([condition] if condition is not None else [])], scope.described)
        return replace(relation, headers=tuple(select_list.headers))

    def _filtered(self, given: From, conditions: tuple[exp.Expression, ...]) -> Plan:
        plan = given.relation.plan
        if not given.tables:
            return Filter(plan, conditions) if conditions else plan
        plan = self._joiner.narrowed(plan, conditions, given.tables)
        return self._joiner.finished(plan, given.tables)

    def _where(self, where: exp.Expr, source: Relation, scope: Scope) -> tuple[exp.Expression, ...]:
        inner = replace(scope, window=None, later=())
        tree = resolve(self.context, inner, where.this)
        if uses_aggregate(self.context, [tree]):
            raise self.context.error(where.this, "WHERE comes before the aggregates", "E1102", "write HAVING")
        self._check_condition("WHERE", where, tree, inner.schema)
        return conjuncts(tree)

    def _check_condition(self, clause: str, node: exp.Expr, tree: exp.Expression, schema: Schema) -> None:
        kind = type_of(self.context, tree, schema)
        if kind != "BOOLEAN":
            raise self.context.error(
                node.this, f"{clause} needs BOOLEAN, this is {kind}", "E1102", "compare it, as in x <> 0"
            )

    # GROUP BY

    def _keys(self, group: Sequence[exp.Expr], scope: Scope, items: Sequence[Item]) -> tuple[Named, ...]:
        trees = []
        for node in _flat(group):
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
                    "E1204",
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
        # Without the parentheses around it (an alias brings them), so that the same expression elsewhere is found.
        tree = resolve(self.context, scope, node)
        while isinstance(tree, exp.Paren):
            assert isinstance(tree.this, exp.Expression)
            tree = tree.this
        return tree

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
            self._check_results(source, items, keys)
        elif join_in(source.plan) is not None or table_in(source.plan) is not None:
            self._check_joined(source, items, keys)
        changes = source.plan.facts.changes
        if scope.window is not None and changes:
            raise self.context.error(
                scope.window.node,
                "a window over results that change is not supported",
                "E1201",
                "leave EMIT CHANGES out: results of windows are final when their windows close; of rows that can be"
                " taken back the windows' bounds can be keys: GROUP BY window_start",
            )
        given = scope.window is None and not changes
        window, bounds = given_window(self.context, source, keys) if given else (None, ())
        if scope.window is not None and source.aggregate is not None:
            window = bind_result_window(self.context, scope.window, source, scope)
        elif scope.window is not None:
            source = replace(source, plan=with_record_time(self.context, scope.window, source.plan, scope))
            window = bind_window(self.context, scope.window, source, scope)
            source = replace(source, plan=with_grace(self.context, scope.window.grace, source.plan, self.properties))
        emit = self.emit.emit if self.emit is not None else (Emit.FINAL if window is not None else Emit.CHANGES)
        of_window = [bound.expression for bound in bounds]
        kept = tuple(key for key in keys if key.expression not in of_window)
        grouping = Grouping(self.context, kept, window is not None, bounds=bounds)
        above = [replace(item, tree=grouping.above(item.tree)) for item in items]
        names = SelectList(self.context, scope).output_names(items, keys)
        condition = grouping.above(having) if having is not None else None
        plan: Plan = grouping.aggregate(source.plan, window, emit)
        if condition is not None and having is not None:
            self._check_having(having, condition, plan)
            plan = Filter(plan, conjuncts(condition))
        return self._finished(source, plan, above, names)

    def _check_results(self, source: Relation, items: Sequence[Item], keys: Sequence[Named]) -> None:
        """Whether the results of an aggregate can be aggregated. Raises `SqlError`."""
        below = source.aggregate
        assert below is not None
        if any(isinstance(node, UnionAll) for node in takewhile(lambda node: node is not below, walk(source.plan))):
            raise self.context.error(
                items[0].node,
                "an aggregate over a UNION ALL of aggregates is not supported",
                "E1201",
                "unite the rows first: SELECT … FROM (SELECT … UNION ALL SELECT …) GROUP BY …;"
                " or write the union to a stream, and aggregate that",
            )
        trees = [*(item.tree for item in items), *(key.expression for key in keys), *_trees_above(source.plan, below)]
        if _is_volatile(trees):
            raise self.context.error(
                items[0].node,
                "the clock and chance are not supported in an aggregate over the results of another",
                "E1201",
                "write the call in the innermost query, where it has one value for each row of the stream",
            )

    def _check_joined(self, source: Relation, items: Sequence[Item], keys: Sequence[Named]) -> None:
        """Whether the rows of a join can be aggregated. Raises `SqlError`."""
        if _is_volatile([*(item.tree for item in items), *(key.expression for key in keys)]):
            raise self.context.error(
                items[0].node,
                "the clock and chance are not supported in an aggregate over a join",
                "E1201",
                "write the call in a subquery of one side, where it has one value for each row",
            )

    def _check_chance_of_tables(self, at: exp.Expression, plan: Plan, trees: Iterable[exp.Expression]) -> None:
        """Whether the clock and chance can be fixed for a row before it meets tables. Raises `SqlError`."""
        lookups = [node for node in walk(plan) if isinstance(node, Join) and node.lookup]
        met = {name for join in lookups for name in join.right.schema.names}
        nodes = [node for tree in trees for node in tree.find_all(exp.Expression)]
        calls = [node for node in nodes if node.meta_get(VOLATILE) is not None]
        if any(columns_in(call) & met for call in calls):
            raise self.context.error(
                at,
                "the clock and chance are not supported in a lambda over what a table gave",
                "E1201",
                "write the call in a subquery of the stream, where it has one value for each row",
            )

    def _check_having(self, having: exp.Expression, condition: exp.Expression, plan: Plan) -> None:
        kind = type_of(self.context, condition, plan.schema)
        if kind != "BOOLEAN":
            raise self.context.error(
                having, f"HAVING needs BOOLEAN, this is {kind}", "E1102", "compare it, as in x <> 0"
            )

    def _finished(self, source: Relation, plan: Plan, items: Sequence[Item], names: Sequence[str]) -> Relation:
        """The projection of the select list, whose trees are over `plan`, on top of it."""
        kinds = [kind for _, kind in describe(self.context, [item.tree for item in items], plan.schema)]
        named = tuple(Named(name, item.tree, self._position(item)) for name, item in zip(names, items, strict=True))
        schema = Schema(
            tuple(
                Column(made.name, kind, nullable(made.expression, plan.schema), item.hidden)
                for made, item, kind in zip(named, items, kinds, strict=True)
            )
        )
        key = tuple(name for name, item in zip(names, items, strict=True) if item.key)
        return Relation(project(plan, named, schema), key, source.depends_on)

    def _position(self, item: Item) -> Position | None:
        span = span_of(item.node)
        return self.context.source.position(span) if span is not None else None


def _is_volatile(trees: Iterable[exp.Expression]) -> bool:
    return any(node.meta_get(VOLATILE) is not None for tree in trees for node in tree.walk())


def _trees_above(plan: Plan, below: Plan) -> Iterator[exp.Expression]:
    """The expressions of the nodes above one of the plan."""
    for node in walk(plan):
        if node is below:
            return
        match node:
            case Filter():
                yield from node.conjuncts
            case Project():
                yield from (named.expression for named in node.columns)


def _flat(group: Sequence[exp.Expr]) -> list[exp.Expr]:
    """GROUP BY's expressions without the parentheses of `(a, b)` and `()`."""
    found: list[exp.Expr] = []
    for node in group:
        if isinstance(node, exp.Tuple):
            found.extend(_flat(node.expressions))
        elif isinstance(node, exp.Paren):
            found.extend(_flat([node.this]))
        else:
            found.append(node)
    return found
