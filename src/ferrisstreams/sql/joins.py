"""Joins: the tables of FROM as one relation, the names of its columns, and its conditions taken apart.

FROM is read from left to right: each join is one of all that stands to its left with one more table. Equalities of the
two sides become keys, comparisons of their event times a bound, what is about one side goes below an inner join, and
the rest is the join's own. WHERE gives inner joins keys and bounds as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from sqlglot import exp

from ferrisstreams.config.values import Property
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.expressions import as_written, column, column_name, columns_in, conjuncts, typed_as
from ferrisstreams.plan.nodes import WINDOW_END, Emit, Filter, Join, JoinKind, KeyPair, Plan, Scan, TimeBound
from ferrisstreams.plan.rewrites import VOLATILE
from ferrisstreams.plan.system_columns import RECORD_TIME, has_record_time
from ferrisstreams.schema import EventTime
from ferrisstreams.sql.aggregation import uses_aggregate
from ferrisstreams.sql.common_types import common_type
from ferrisstreams.sql.constants import check_constants
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.inference import type_of
from ferrisstreams.sql.lookups import as_lookup, joined_schema, keys_by_column, stream_first
from ferrisstreams.sql.relations import Relation, event_time_column, renamed, scans_in, table_in, window_bound
from ferrisstreams.sql.resolve import ambiguous, refuse_clauses, resolve
from ferrisstreams.sql.scope import Merged, Scope, Side
from ferrisstreams.sql.statements import EmitWritten, Name, name_of
from ferrisstreams.sql.syntax import TABLE_WITHIN, span_of
from ferrisstreams.sql.time_bounds import Interval, TimeCondition, read_within, time_condition
from ferrisstreams.sql.window_binding import with_grace

_KINDS = {"": JoinKind.INNER, "LEFT": JoinKind.LEFT, "RIGHT": JoinKind.RIGHT, "FULL": JoinKind.FULL}
_FILTERS = {"SEMI": JoinKind.SEMI, "ANTI": JoinKind.ANTI}

_DECLARE = "declare it: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, or WITH ('event.time.field' = 'ts')"

#: What stands before JOIN and is not supported -> what to do.
_REFUSED = {
    "NATURAL": "name the columns: JOIN b USING (k)",
    "ASOF": "join in a bound of time: ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1' HOUR AND a.ts",
    "POSITIONAL": "rows of a stream have no numbers: join them ON a.k = b.k",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of FROM: what it gives, its name here, and where it stands."""

    relation: Relation
    qualifier: Name | None
    node: exp.Expr

    @property
    def text(self) -> str:
        return self.qualifier.text if self.qualifier is not None else "the subquery"


@dataclass(frozen=True, slots=True)
class From:
    """What a query reads: a relation, what its columns are called, and the tables that it is joined of, if any."""

    relation: Relation
    sides: tuple[Side, ...]
    merged: tuple[Merged, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Joiner:
    """Joins the tables of one query. `emit` is what the statement says, `properties` those of its WITH."""

    context: Context
    emit: EmitWritten | None
    properties: Mapping[str, Property]

    def joined(self, tables: Sequence[Table], nodes: Sequence[exp.Join]) -> From:
        """The tables as one relation, whose joins may get their keys from WHERE. Raises `SqlError`."""
        self._check_names(tables)
        kinds = [self._kind(node, nodes[at - 1] if at else None) for at, node in enumerate(nodes)]
        timed = [_with_record_time(table) if _is_timed(tables, at) else table for at, table in enumerate(tables)]
        names = _distinct_names(timed)
        plans: list[Plan] = [renamed(table.relation.plan, own) for table, own in zip(timed, names, strict=True)]
        sides = tuple(
            Side(table.qualifier, plan.schema, own, own.get(event_time_column(plan) or ""))
            for table, own in zip(timed, names, strict=True)
            for plan in [table.relation.plan]
        )
        plan = plans[0]
        merged: tuple[Merged, ...] = ()
        # What a SEMI or ANTI JOIN reads is known in its own condition alone.
        hidden = [kind.gives_left for kind in kinds]
        for number, (node, kind) in enumerate(zip(nodes, kinds, strict=True), start=1):
            seen = (*_shown(sides[:number], hidden), sides[number])
            join = self._join(plan, plans[number], kind, timed[: number + 1])
            if node.args.get("using"):
                join, merged = self._using(join, node.args["using"], seen, merged)
            elif node.args.get("on") is not None:
                both = joined_schema(join.left, join.right, JoinKind.INNER)
                join = self._on(join, node.args["on"], Scope(both, seen, merged=merged), timed[: number + 1])
            plan = as_lookup(join) or join
        depends_on = dict.fromkeys(name for table in tables for name in table.relation.depends_on)
        return From(Relation(plan, (), tuple(depends_on)), _shown(sides, hidden), merged, tuple(timed))

    # What is written

    def _check_names(self, tables: Sequence[Table]) -> None:
        for at, table in enumerate(tables):
            name = table.qualifier
            if name is not None and any(
                other.qualifier is not None and name.matches(other.qualifier.text) for other in tables[:at]
            ):
                raise self.context.error(
                    name.span, f"two tables are called {name.text}", "E1103", "give one of them an alias: … AS name"
                )

    def _kind(self, node: exp.Join, before: exp.Join | None) -> JoinKind:
        written = [str(word) for word in (node.args.get("method"), node.kind) if word]
        refused = next((word for word in written if word in _REFUSED), None)
        if refused is not None:
            raise self._error(node.this, f"{refused} JOIN is not supported", "E1201", _REFUSED[refused])
        refuse_clauses(self.context, node, frozenset({"this", "side", "kind", "on", "using"}))
        kind = _FILTERS.get(node.kind, _KINDS[node.side])
        if node.kind in _FILTERS and node.side:
            raise self._error(
                node.this, f"{node.side} {node.kind} JOIN is not supported", "E1201", f"write {node.kind} JOIN"
            )
        if (not kind.gives_left and node.kind not in ("", "INNER", "OUTER", "CROSS")) or (
            node.kind == "OUTER" and not node.side
        ):
            raise self._error(
                node.this,
                f"{node.kind} JOIN is not supported",
                "E1201",
                "write JOIN, LEFT JOIN, RIGHT JOIN or FULL JOIN",
            )
        if kind is not JoinKind.INNER and not _has_condition(node):
            raise self._error(node.this, f"a {kind.name} JOIN needs its condition", "E1001", "add ON a.k = b.k")
        if (
            kind.keeps_right
            and before is not None
            and not before.kind
            and not before.side
            and not _has_condition(before)
        ):
            raise self._error(
                node.this,
                f"a {kind.name} JOIN behind a comma is not supported",
                "E1201",
                "write JOIN … ON instead of the comma",
            )
        return kind

    def _join(self, left: Plan, right: Plan, kind: JoinKind, tables: Sequence[Table]) -> Join:
        """The join of two plans without its condition, but with the bound of WITHIN."""
        node = tables[-1].node
        written = node.args.get(TABLE_WITHIN)
        bound = None
        if written is not None:
            within = read_within(self.context, written)
            texts = _texts(tables)
            times = self._time_within(left, texts[0], written), self._time_within(right, texts[1], written)
            left = with_grace(self.context, within.grace, left, self.properties)
            right = with_grace(self.context, within.grace, right, self.properties)
            bound = TimeBound(*times, -within.before_us, within.after_us)
        emit = self.emit.emit if self.emit is not None else Emit.FINAL
        position = self.context.source.position(span_of(node) or self.context.statement)
        return Join(left, right, kind, (), (), joined_schema(left, right, kind), bound, False, emit, position)

    def _time_within(self, plan: Plan, text: str, written: exp.Expression) -> str:
        if table_in(plan) is not None:
            raise self._error(
                written,
                f"WITHIN bounds the time between two streams, and {text} is a table",
                "E1204",
                "leave WITHIN out: a row of the stream meets the table's row of that moment",
            )
        if plan.facts.event_time is None:
            raise self._untimed(written, plan, text)
        return plan.facts.event_time

    def _untimed(self, at: exp.Expression, plan: Plan, text: str) -> SqlError:
        """The error for a side of a join bounded in time that has no event time."""
        if isinstance(plan, Join) or (isinstance(plan, Filter) and isinstance(plan.input, Join)):
            hint = "bound the join before it in time, too: its result has the event time of its left side"
        elif any(scan.source.event_time is not None for scan in scans_in(plan)):
            hint = "select the event time of its stream, unchanged; the results of an aggregate have none"
        else:
            hint = _DECLARE
        return self._error(
            at, f"a join bounded in time needs the event time of both sides, and {text} has none", "E1205", hint
        )

    def _using(
        self, join: Join, identifiers: Sequence[exp.Expression], seen: tuple[Side, ...], merged: tuple[Merged, ...]
    ) -> tuple[Join, tuple[Merged, ...]]:
        left = Scope(join.left.schema, seen[:-1], merged=merged)
        right = Scope(join.right.schema, seen[-1:])
        pairs = []
        for identifier in identifiers:
            name = name_of(identifier)
            found = [self._column_of_using(scope, name) for scope in (left, right)]
            old = left.merged_column(name)
            value = old.tree if old is not None else column(found[0])
            pairs.append(self._pair(join, value, column(found[1]), identifier))
            covered = (old.columns if old is not None else frozenset({found[0]})) | {found[1]}
            new = Merged(left.own_name(found[0]), _merged(join.kind, value, column(found[1])), covered)
            merged = (*(each for each in merged if each is not old), new)
        return replace(join, keys=tuple(pairs)), merged

    def _column_of_using(self, scope: Scope, name: Name) -> str:
        found = scope.find(name)
        if not found:
            owner = " and ".join(side.text for side in scope.sides)
            raise self.context.error(
                name.span, f"{owner} has no column {name.text}", "E1101", did_you_mean(name.text, scope.known)
            )
        if len(found) > 1:
            raise ambiguous(self.context, scope, name)
        return found[0]

    def _on(self, join: Join, node: exp.Expression, scope: Scope, tables: Sequence[Table]) -> Join:
        tree = resolve(self.context, scope, node)
        if uses_aggregate(self.context, [tree]):
            raise self._error(
                node, "ON holds an aggregate", "E1102", "aggregate in a subquery: JOIN (SELECT … GROUP BY k) AS t ON …"
            )
        kind = type_of(self.context, tree, scope.schema)
        if kind != "BOOLEAN":
            raise self._error(node, f"ON needs BOOLEAN, this is {kind}", "E1102", "compare it, as in a.k = b.k")
        if _is_volatile(tree):
            raise self._error(
                node,
                "the clock and chance are not supported in ON",
                "E1201",
                "write the call in a subquery of one side, where it has one value for each row",
            )
        check_constants(self.context, [tree], scope.schema)
        join, rest = self._taken(join, conjuncts(tree), tables)
        if join.kind is JoinKind.INNER:
            join, rest = self._lowered(join, rest)
        return replace(join, residual=join.residual + rest)

    # Conditions taken apart

    def narrowed(self, plan: Plan, conditions: tuple[exp.Expression, ...], tables: Sequence[Table]) -> Plan:
        """The joined tables without the rows that WHERE rejects: as far below as their joins let it. Inner joins get
        keys and bounds. Raises `SqlError`."""
        if not conditions:
            return plan
        if isinstance(plan, Filter) and isinstance(plan.input, Join):
            return self.narrowed(plan.input, plan.conjuncts + conditions, tables)
        if not isinstance(plan, Join):
            return Filter(plan, conditions)
        join, rest = self._lowered(plan, conditions, tables)
        if join.kind is JoinKind.INNER:
            join, rest = self._taken(join, rest, tables)
        return Filter(join, rest) if rest else join

    def _lowered(
        self, join: Join, conditions: tuple[exp.Expression, ...], tables: Sequence[Table] = ()
    ) -> tuple[Join, tuple[exp.Expression, ...]]:
        """The join with the conditions below it that are about one side, where it makes up no rows of that side."""
        left: list[exp.Expression] = []
        right: list[exp.Expression] = []
        rest: list[exp.Expression] = []
        to_left = not join.kind.keeps_right and _can_filter(join.left)
        to_right = not join.kind.keeps_left and _can_filter(join.right)
        for condition in conditions:
            names = columns_in(condition)
            if not names or _is_volatile(condition):
                rest.append(condition)
            elif to_left and names <= set(join.left.schema.names):
                left.append(condition)
            elif to_right and names <= set(join.right.schema.names):
                right.append(condition)
            else:
                rest.append(condition)
        below = self.narrowed(join.left, tuple(left), tables[:-1])
        return replace(join, left=below, right=self.narrowed(join.right, tuple(right), ())), tuple(rest)

    def _taken(
        self, join: Join, conditions: tuple[exp.Expression, ...], tables: Sequence[Table]
    ) -> tuple[Join, tuple[exp.Expression, ...]]:
        """The join with the keys and the bound in time that are among the conditions, and the others."""
        keys: list[KeyPair] = []
        rest: list[exp.Expression] = []
        timed: list[TimeCondition] = []
        for condition in conditions:
            pair = None if _is_volatile(condition) else self._equality(join, condition)
            time = None if join.bound is not None else time_condition(condition, *_times(join))
            if pair is not None:
                keys.append(pair)
            elif time is None:
                rest.append(condition)
            if time is not None:
                timed.append(time)
        bound = self._bound(join, timed, tables)
        if bound is None:
            rest += [time.node for time in timed if not isinstance(time.node, exp.EQ)]
        else:
            join = replace(join, bound=bound)
            rest += [time.node for time in timed if (time.left, time.right) != (bound.left_time, bound.right_time)]
        return replace(join, keys=join.keys + tuple(keys)), tuple(rest)

    def _equality(self, join: Join, condition: exp.Expression) -> KeyPair | None:
        if not isinstance(condition, exp.EQ):
            return None
        one, other = condition.this, condition.expression
        left, right = set(join.left.schema.names), set(join.right.schema.names)
        for first, second in ((one, other), (other, one)):
            ones, others = columns_in(first), columns_in(second)
            if ones and others and ones <= left and others <= right:
                return self._pair(join, first, second, condition)
        return None

    def _pair(self, join: Join, left: exp.Expression, right: exp.Expression, at: exp.Expression) -> KeyPair:
        """The equality of two expressions in the type in which the engine compares them."""
        kinds = [type_of(self.context, tree, side.schema) for tree, side in ((left, join.left), (right, join.right))]
        common = common_type(self.context, *kinds)
        if common is None:
            texts = [as_written(tree).sql("duckdb").replace('"', "") for tree in (left, right)]
            raise self._error(
                at,
                f"{texts[0]} is {kinds[0]} and {texts[1]} is {kinds[1]}: a join compares values of one sort",
                "E1102",
                f"cast one of them, as in CAST({texts[1]} AS {kinds[0]})",
            )
        sides = [
            _bare(tree) if kind == common else typed_as(_bare(tree), common)
            for tree, kind in zip((left, right), kinds, strict=True)
        ]
        return KeyPair(sides[0], sides[1])

    def _bound(self, join: Join, conditions: Sequence[TimeCondition], tables: Sequence[Table]) -> TimeBound | None:
        """The bound that the conditions give together, over the event times of both sides."""
        for names in dict.fromkeys((condition.left, condition.right) for condition in conditions):
            together = Interval()
            found = [condition for condition in conditions if (condition.left, condition.right) == names]
            for condition in found:
                together = together.and_(condition.interval)
            if together.low_us is None or together.high_us is None:
                continue
            times = join.left.facts.event_time, join.right.facts.event_time
            if names == times:
                if together.low_us > together.high_us:
                    raise self._error(
                        found[-1].node,
                        "no row is within this bound: it ends before it begins",
                        "E1102",
                        "write the earlier end first: b.ts BETWEEN a.ts - INTERVAL '1' HOUR AND a.ts",
                    )
                return TimeBound(*names, together.low_us, together.high_us)
            for name, time, other, plan, text in (
                (names[0], times[0], times[1], join.right, _texts(tables)[1]),
                (names[1], times[1], times[0], join.left, _texts(tables)[0]),
            ):
                streams = not isinstance(plan, Join) and table_in(plan) is None
                if name == time and other is None and streams:
                    raise self._untimed(found[0].node, plan, text)
        return None

    # What must hold of a join

    def finished(self, plan: Plan, tables: Sequence[Table]) -> Plan:
        """The joined tables when all their conditions are known. Raises `SqlError` for what cannot run."""
        if isinstance(plan, Filter):
            return replace(plan, input=self.finished(plan.input, tables))
        if not isinstance(plan, Join):
            return plan
        join = replace(plan, left=self.finished(plan.left, tables[:-1]))
        if not join.keys:
            raise self._unequal(join, tables[-1])
        join = self._looked_up(_bounded_by_windows(join), tables)
        return replace(join, schema=joined_schema(join.left, join.right, join.kind))

    def _unequal(self, join: Join, table: Table) -> SqlError:
        null_safe = any(isinstance(part, exp.NullSafeEQ) for part in join.residual)
        parent = table.node.parent
        on = parent.args.get("on") if isinstance(parent, exp.Join) else None
        return self._error(
            on or table.node,
            "IS NOT DISTINCT FROM is not supported as the only equality of a join"
            if null_safe
            else "a join needs an equality between its two sides: without one every row would be kept and compared with"
            " every other",
            "E1201",
            f"add an equality: ON … = {table.text}.column",
        )

    def _looked_up(self, join: Join, tables: Sequence[Table]) -> Join:
        """The join as a lookup, when a side is a table and the other a stream. Raises `SqlError`."""
        lookup = as_lookup(join)
        if join.kind.gives_left:
            return join
        if lookup is not None:
            return lookup
        text = _texts(tables)[0 if table_in(join.left) is not None else 1]
        join = stream_first(join)
        if table_in(join.right) is None or join.left.facts.changes:
            return join
        if join.kind.keeps_right:
            raise self._error(
                tables[-1].node,
                f"a join of a stream and a table that keeps the rows of the table {text} is not supported",
                "E1201",
                "keep those of the stream: FROM stream LEFT JOIN table ON …, where each of its rows meets the table's"
                " row of that moment",
            )
        given = keys_by_column(join)
        missing = next((name for name in join.right.facts.key or () if name not in given), None)
        raise self._error(
            tables[-1].node,
            f"a stream meets the row of a table by its whole key, and this join does not give that of {text}",
            "E1201",
            f"add {missing} = … to ON" if missing is not None else f"select the key of the table in {text}",
        )

    def _error(self, at: exp.Expr, message: str, code: str, hint: str | None) -> SqlError:
        return self.context.error(at, message, code, hint)


def _shown(sides: tuple[Side, ...], hidden: Sequence[bool]) -> tuple[Side, ...]:
    """Those of tables whose columns the result has."""
    return tuple(side for side, hides in zip(sides, (False, *hidden), strict=False) if not hides)


def _has_condition(node: exp.Join) -> bool:
    return node.args.get("on") is not None or bool(node.args.get("using"))


def _is_timed(tables: Sequence[Table], at: int) -> bool:
    """Whether a table stands at either side of WITHIN."""
    return any(table.node.args.get(TABLE_WITHIN) is not None for table in (tables[at : at + 1] if at else tables))


def _with_record_time(table: Table) -> Table:
    """The table with the time of its records as its event time, where it declares none."""
    scan = table.relation.plan
    if not isinstance(scan, Scan) or scan.source.event_time is not None or not has_record_time(scan.schema):
        return table
    timed = replace(scan, source=replace(scan.source, event_time=EventTime(RECORD_TIME)))
    return replace(table, relation=replace(table.relation, plan=timed))


def _distinct_names(tables: Sequence[Table]) -> list[dict[str, str]]:
    """Of each table what its columns are called among those of all: by their own names where one table has them, else
    with its name before them."""
    counts = Counter(name.lower() for table in tables for name in table.relation.plan.schema.names)
    taken = {name for name, count in counts.items() if count == 1}
    found = []
    for number, table in enumerate(tables, start=1):
        owner = table.qualifier.text if table.qualifier is not None else str(number)
        names = {}
        for name in table.relation.plan.schema.names:
            names[name] = name if counts[name.lower()] == 1 else _free(f"{owner}.{name}", taken)
        found.append(names)
    return found


def _free(name: str, taken: set[str]) -> str:
    tries = (name if number == 1 else f"{name}{number}" for number in count(1))
    found = next(each for each in tries if each.lower() not in taken)
    taken.add(found.lower())
    return found


def _merged(kind: JoinKind, left: exp.Expression, right: exp.Expression) -> exp.Expression:
    """The value of a column of USING: that of the side whose rows are all there."""
    if kind is JoinKind.FULL:
        return exp.Anonymous(this="coalesce", expressions=[left.copy(), right.copy()])
    return right if kind is JoinKind.RIGHT else left


def _texts(tables: Sequence[Table]) -> tuple[str, str]:
    """What the two sides of the last join are called."""
    return tables[0].text if len(tables) == 2 else "the join before it", tables[-1].text


def _bounded_by_windows(join: Join) -> Join:
    """A join of results of windows that ends with them: their rows are of one instant, the end of the window."""
    if join.bound is not None or join.left.facts.changes or join.right.facts.changes:
        return join
    for pair in join.keys:
        left, right = column_name(pair.left), column_name(pair.right)
        if left is None or right is None:
            continue
        if window_bound(join.left, left) == window_bound(join.right, right) == WINDOW_END:
            return replace(join, bound=TimeBound(left, right, 0, 0))
    return join


def _times(join: Join) -> tuple[frozenset[str], frozenset[str]]:
    """The columns of each side that hold times."""
    left, right = (
        frozenset(item.name for item in plan.schema if item.type == "TIMESTAMP") for plan in (join.left, join.right)
    )
    return left, right


def _can_filter(plan: Plan) -> bool:
    """Whether rows can be left out of a side before the join. Where they change it is done above."""
    return isinstance(plan, Join | Filter) or not plan.facts.changes


def _bare(tree: exp.Expression) -> exp.Expression:
    made = tree.copy()
    while isinstance(made, exp.Paren):
        made = made.this
    return made


def _is_volatile(tree: exp.Expression) -> bool:
    return any(node.meta_get(VOLATILE) is not None for node in tree.walk())
