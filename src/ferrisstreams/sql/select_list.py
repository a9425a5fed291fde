"""The select list: items with their expressions and names, and stars written out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from sqlglot import exp

from ferrisstreams.plan.expressions import column
from ferrisstreams.plan.nodes import Named
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.header_items import HeaderItem, is_header_item, read_header_item
from ferrisstreams.sql.inference import column_names
from ferrisstreams.sql.resolve import ambiguous, place, refuse_clauses, resolve
from ferrisstreams.sql.scope import EVENT_TIME, Scope, Side
from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.statements import Name, name_of
from ferrisstreams.sql.syntax import MessageKey, span_of

#: In the meta of a query behind UNION ALL: nothing sees the names of its columns, and two may have one.
LATER_BRANCH = "later_branch"


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the select list: its expression over the input, and its output name when the author gave one.

    `hidden`: it is not a column of the output, but what a header is set to.
    """

    tree: exp.Expression
    name: str | None
    key: bool
    node: exp.Expr
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class SelectList:
    """Reads the select list of one query. Aliases join the scope as they are read: they count to their right.

    `headers` are what the items read so far do with the headers of the output.
    """

    context: Context
    scope: Scope
    headers: list[HeaderItem] = field(default_factory=list)

    def items(self, node: exp.Select) -> list[Item]:
        items: list[Item] = []
        for projection in node.expressions:
            for item in self._item(projection):
                items.append(item)
                if item.hidden:
                    continue
                if item.name is not None and not self.scope.find(Name(item.name, False, Span(0, 0))):
                    self.scope.aliases.setdefault(item.name, item.tree)
        return items

    def _item(self, projection: exp.Expr) -> list[Item]:
        key = isinstance(projection, MessageKey)
        node = projection.this if isinstance(projection, MessageKey) else projection
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            if key:
                raise self.context.error(
                    projection, "PRIMARY KEY stands after one column", "E1102", "name the key columns"
                )
            return self._star(node)
        if is_header_item(projection):
            return self._header(projection)
        name = None
        if isinstance(node, exp.Alias):
            name, node = node.alias, node.this
        tree = resolve(self.context, self.scope, node)
        return [Item(tree, name or self._own_name(node, tree), key, projection)]

    def _header(self, node: exp.Expr) -> list[Item]:
        item = read_header_item(self.context, node, self.headers)
        self.headers.append(item)
        if item.value is None:
            return []
        return [Item(resolve(self.context, self.scope, item.value), item.column, False, node, hidden=True)]

    def _star(self, node: exp.Expr) -> list[Item]:
        star = node.this if isinstance(node, exp.Column) else node
        table = node.args.get("table") if isinstance(node, exp.Column) else None
        sides = self.scope.sides
        if table is not None:
            side = self.scope.side(name_of(table))
            if side is None:
                hint = did_you_mean(table.name, self.scope.qualifiers)
                raise self.context.error(table, f"there is no table {table.name}", "E1101", hint)
            sides = (side,)
        excluded = {column for names in self._star_names(star.args.get("except_") or []) for column in names}
        replaced = dict(self._replacement(item) for item in star.args.get("replace") or [])
        refuse_clauses(self.context, star, frozenset({"except_", "replace"}))
        if self.scope.window is not None:
            raise self.context.error(
                node, "* stands beside GROUP BY", "E1102", "name the grouped columns and the aggregates"
            )
        return [
            Item(replaced.get(column_) or tree or self._placed(column_, node), name, False, node)
            for name, column_, tree in self._star_columns(sides, table is None)
            if column_ not in excluded
        ]

    def _star_columns(self, sides: Sequence[Side], merges: bool) -> Iterator[tuple[str, str, exp.Expression | None]]:
        """Of each column its name, that of the relation, and its value where it is one of USING, which come once."""
        given: set[str] = set()
        for side in sides:
            for item in side.schema:
                column_ = side.names[item.name]
                merged = next((each for each in self.scope.merged if merges and column_ in each.columns), None)
                if not item.hidden and column_ not in given:
                    yield item.name, column_, merged.tree if merged is not None else None
                    given |= merged.columns if merged is not None else {column_}

    def _replacement(self, item: exp.Expr) -> tuple[str, exp.Expression]:
        if not isinstance(item, exp.Alias):
            raise self.context.error(
                item, "REPLACE needs the name of the column", "E1001", "write REPLACE (expression AS column)"
            )
        alias = item.args["alias"]
        names = self._star_names([alias])[0]
        if len(names) > 1:
            raise ambiguous(self.context, self.scope, name_of(alias))
        return names[0], resolve(self.context, self.scope, item.this)

    def _placed(self, name: str, star: exp.Expr) -> exp.Expression:
        found = column(name)
        span = span_of(star)
        if span is not None:
            place(found, span)
        return found

    def _star_names(self, nodes: Sequence[exp.Expr]) -> list[tuple[str, ...]]:
        """For each name the columns of the relation that it means."""
        found = []
        for node in nodes:
            identifier = node.this if isinstance(node, exp.Column) else node
            if not isinstance(identifier, exp.Identifier):
                raise self.context.error(node, "a column's name is expected here", "E1001", "write EXCLUDE (a, b)")
            name = name_of(identifier)
            match = self.scope.find(name)
            if not match:
                hint = did_you_mean(name.text, self.scope.known)
                raise self.context.error(name.span, f"there is no column {name.text}", "E1101", hint)
            found.append(match)
        return found

    def output_names(self, items: Sequence[Item], keys: Sequence[Named]) -> list[str]:
        unnamed = [item.tree for item in items if item.name is None]
        found = column_names(self.context, unnamed, self.scope.described, [key.expression for key in keys])
        given = iter(map(self.scope.as_called, found))
        names: list[str] = []
        taken: set[str] = set()
        for item in items:
            name = item.name if item.name is not None else next(given)
            if name.lower() in taken and _is_of_later_branch(item):
                name = next(made for n in count(2) if (made := f"{name}_{n}").lower() not in taken)
            if name.lower() in taken:
                hint = "give one of them an alias: … AS name"
                if isinstance(item.node, exp.Star | exp.Column) and item.node.find(exp.Star) is not None:
                    hint = "write the columns out, and give one of them an alias: … AS name"
                raise self.context.error(item.node, f"two columns are named {name}", "E1103", hint)
            names.append(name)
            taken.add(name.lower())
        return names

    def _own_name(self, node: exp.Expr, tree: exp.Expression) -> str | None:
        """The output name of an item without an alias, when it is a column or a field of one."""
        if isinstance(node, exp.Column) and node.name.lower() == EVENT_TIME:
            return EVENT_TIME
        if isinstance(tree, exp.Column):
            return self.scope.own_name(tree.name)
        if isinstance(node, exp.Column | exp.Dot):
            return node.name if isinstance(node, exp.Column) else node.expression.name
        return None


def _is_of_later_branch(item: Item) -> bool:
    return item.node.parent is not None and item.node.parent.meta_get(LATER_BRANCH) is not None
