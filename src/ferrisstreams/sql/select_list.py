"""The select list: items with their expressions and names, and stars written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from ferrisstreams.plan.expressions import column
from ferrisstreams.plan.nodes import Named
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.header_items import HeaderItem, is_header_item, read_header_item
from ferrisstreams.sql.inference import column_names
from ferrisstreams.sql.resolve import EVENT_TIME, Scope, place, refuse_clauses, resolve
from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.statements import Name, name_of
from ferrisstreams.sql.syntax import MessageKey, span_of


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
                if item.name is not None and self.scope.find(Name(item.name, False, Span(0, 0))) is None:
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
        return [Item(tree, name or _own_name(node, tree), key, projection)]

    def _header(self, node: exp.Expr) -> list[Item]:
        item = read_header_item(self.context, node, self.headers)
        self.headers.append(item)
        if item.value is None:
            return []
        return [Item(resolve(self.context, self.scope, item.value), item.column, False, node, hidden=True)]

    def _star(self, node: exp.Expr) -> list[Item]:
        star = node.this if isinstance(node, exp.Column) else node
        table = node.args.get("table") if isinstance(node, exp.Column) else None
        known = [self.scope.qualifier.text] if self.scope.qualifier is not None else []
        if table is not None and not any(name_of(table).matches(other) for other in known):
            raise self.context.error(table, f"there is no table {table.name}", "E1101", did_you_mean(table.name, known))
        excluded = self._star_names(star.args.get("except_") or [])
        replaced = dict(self._replacement(item) for item in star.args.get("replace") or [])
        refuse_clauses(self.context, star, frozenset({"except_", "replace"}))
        if self.scope.window is not None:
            raise self.context.error(
                node, "* stands beside GROUP BY", "E1102", "name the grouped columns and the aggregates"
            )
        names = [c.name for c in self.scope.schema if c.name not in excluded and not c.hidden]
        return [Item(replaced.get(name) or self._placed(name, node), name, False, node) for name in names]

    def _replacement(self, item: exp.Expr) -> tuple[str, exp.Expression]:
        if not isinstance(item, exp.Alias):
            raise self.context.error(
                item, "REPLACE needs the name of the column", "E1001", "write REPLACE (expression AS column)"
            )
        return self._star_names([item.args["alias"]])[0], resolve(self.context, self.scope, item.this)

    def _placed(self, name: str, star: exp.Expr) -> exp.Expression:
        found = column(name)
        span = span_of(star)
        if span is not None:
            place(found, span)
        return found

    def _star_names(self, nodes: Sequence[exp.Expr]) -> list[str]:
        found = []
        for node in nodes:
            identifier = node.this if isinstance(node, exp.Column) else node
            if not isinstance(identifier, exp.Identifier):
                raise self.context.error(node, "a column's name is expected here", "E1001", "write EXCLUDE (a, b)")
            name = name_of(identifier)
            match = self.scope.find(name)
            if match is None:
                hint = did_you_mean(name.text, list(self.scope.schema.names))
                raise self.context.error(name.span, f"there is no column {name.text}", "E1101", hint)
            found.append(match.name)
        return found

    def output_names(self, items: Sequence[Item], keys: Sequence[Named]) -> list[str]:
        unnamed = [item.tree for item in items if item.name is None]
        made = iter(column_names(self.context, unnamed, self.scope.described, [key.expression for key in keys]))
        names: list[str] = []
        taken: set[str] = set()
        for item in items:
            name = item.name if item.name is not None else next(made)
            if name.lower() in taken:
                raise self.context.error(
                    item.node, f"two columns are named {name}", "E1103", "give one of them an alias: … AS name"
                )
            names.append(name)
            taken.add(name.lower())
        return names


def _own_name(node: exp.Expr, tree: exp.Expression) -> str | None:
    """The output name of an item without an alias, when it is a column or a field of one."""
    if isinstance(node, exp.Column) and node.name.lower() == EVENT_TIME:
        return EVENT_TIME
    if isinstance(tree, exp.Column):
        return str(tree.name)
    if isinstance(node, exp.Column | exp.Dot):
        return node.name if isinstance(node, exp.Column) else node.expression.name
    return None
