"""The names that an expression may use: columns of the tables of FROM, aliases, and the bounds of a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from ferrisstreams.plan.nodes import WINDOW_END, WINDOW_START
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.statements import Name
from ferrisstreams.sql.windows import WrittenWindow

#: Another name of the event time, whatever its column is called. It is not in `*`.
EVENT_TIME = "_event_time"


@dataclass(frozen=True, slots=True)
class Side:
    """A table of FROM: its columns under their own names, and what the relation of all tables calls them.

    `event_time` is what that relation calls the column which `_event_time` stands for.
    """

    qualifier: Name | None
    schema: Schema
    names: Mapping[str, str]
    event_time: str | None = None

    @classmethod
    def alone(cls, qualifier: Name | None, schema: Schema, event_time: str | None) -> Side:
        """The one table of a query."""
        return cls(qualifier, schema, {name: name for name in schema.names}, event_time)

    def find(self, name: Name) -> str | None:
        """What the relation calls the column of this name: exactly, else without case; `_event_time` in any case is
        another name of the event time."""
        found = self.schema.get(name.text)
        if found is None and not name.quoted:
            found = self.schema.find(name.text)
        if found is not None:
            return self.names[found.name]
        return self.event_time if name.text.lower() == EVENT_TIME else None

    @property
    def text(self) -> str:
        return self.qualifier.text if self.qualifier is not None else "a subquery"


@dataclass(frozen=True, slots=True)
class Merged:
    """A column of USING: its name, its value, and the columns of the relation that it stands for."""

    name: str
    tree: exp.Expression
    columns: frozenset[str]


@dataclass(slots=True)
class Scope:
    """The names that an expression may use: the columns of `sides` in the relation that has `schema`, those that are
    `merged`, select aliases to the left, and the window's bounds when the query has one. `later` are all aliases of
    the select list, for the error."""

    schema: Schema
    sides: tuple[Side, ...]
    window: WrittenWindow | None = None
    aliases: dict[str, exp.Expression] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    merged: tuple[Merged, ...] = ()

    @property
    def described(self) -> Schema:
        """The schema over which resolved expressions are described: with the window's bounds."""
        if self.window is None:
            return self.schema
        bounds = (Column(WINDOW_START, "TIMESTAMP", False), Column(WINDOW_END, "TIMESTAMP", False))
        return Schema(bounds + tuple(item for item in self.schema if item.name not in (WINDOW_START, WINDOW_END)))

    @property
    def qualifiers(self) -> list[str]:
        return [side.qualifier.text for side in self.sides if side.qualifier is not None]

    @property
    def known(self) -> list[str]:
        """The names of all columns that `*` gives."""
        return list(dict.fromkeys(item.name for side in self.sides for item in side.schema if not item.hidden))

    def side(self, qualifier: Name) -> Side | None:
        return next((s for s in self.sides if s.qualifier is not None and qualifier.matches(s.qualifier.text)), None)

    def find(self, name: Name) -> tuple[str, ...]:
        """The columns that a name without a qualifier can mean. Those of USING are one: the first of them."""
        merged = self.merged_column(name)
        found = [column for side in self.sides if (column := side.find(name)) is not None]
        if merged is None:
            return tuple(found)
        others = [column for column in found if column not in merged.columns]
        return (*[column for column in found if column in merged.columns][:1], *others)

    def merged_column(self, name: Name) -> Merged | None:
        return next((column for column in self.merged if name.matches(column.name)), None)

    def own_name(self, column: str) -> str:
        """What the column of the relation is called at its table."""
        return next((own for side in self.sides for own, name in side.names.items() if name == column), column)

    def as_called(self, text: str) -> str:
        """The name of an expression, with columns as the author calls them, and not as the relation does."""
        for side in self.sides:
            for own, name in side.names.items():
                text = text.replace(f'"{name}"', name) if name != own else text
        return text
