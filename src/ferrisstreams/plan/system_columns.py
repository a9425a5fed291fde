"""Columns that every message has beside those of its value: hidden from `*`, and paid for only where they are used."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from ferrisstreams.plan.nodes import Aggregate, Filter, Named, Plan, Project, Scan, Sink, SourceSpec
from ferrisstreams.schema import Column

#: Keys and headers are shown as text: bytes in them that are not UTF-8 as `\\xff`.
SYSTEM_COLUMNS = (
    Column("_topic", "VARCHAR", False, hidden=True),
    Column("_partition", "BIGINT", False, hidden=True),
    Column("_offset", "BIGINT", False, hidden=True),
    Column("_key", "VARCHAR", True, hidden=True),
    Column("_timestamp", "TIMESTAMP", True, hidden=True),
    Column("_headers", "MAP(VARCHAR, VARCHAR)", False, hidden=True),
)


def system_columns(source: SourceSpec) -> tuple[Column, ...]:
    """The system columns of a source; a declared column of the same name goes before."""
    connector = next((prop.value for name, prop in source.properties.items() if name.lower() == "connector"), None)
    if str(connector).lower() != "kafka":
        return ()
    declared = {column.name.lower() for column in source.schema}
    return tuple(column for column in SYSTEM_COLUMNS if column.name not in declared)


def used_system_columns(plan: Sink) -> tuple[Column, ...]:
    """The system columns that a plan reads."""
    read: set[str] = set()
    node: Plan = plan
    while not isinstance(node, Scan):
        read |= {column.name for tree in _trees(node) for column in tree.find_all(exp.Column)}
        node = node.input
    read |= {column.name for tree in _named(node.computed) for column in tree.find_all(exp.Column)}
    return tuple(column for column in node.schema if column.hidden and column.name in read)


def _trees(node: Plan) -> Iterable[exp.Expression]:
    match node:
        case Filter():
            return node.conjuncts
        case Project():
            return _named(node.columns)
        case Aggregate():
            return [*_named(node.keys), *_named(node.calls)]
    return ()


def _named(columns: Iterable[Named]) -> list[exp.Expression]:
    return [named.expression for named in columns]
