"""Columns that every message has beside those of its value: hidden from `*`, and paid for only where they are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from ferrisstreams.config.values import Property
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.plan.nodes import DELETED, Aggregate, Filter, Join, Named, Plan, Project, Scan, Sink, UnionAll, walk
from ferrisstreams.schema import Column, Schema

#: Keys and headers are shown as text: bytes in them that are not UTF-8 as `\\xff`.
SYSTEM_COLUMNS = (
    Column("_topic", "VARCHAR", False, hidden=True),
    Column("_partition", "BIGINT", False, hidden=True),
    Column("_offset", "BIGINT", False, hidden=True),
    Column("_key", "VARCHAR", True, hidden=True),
    Column("_timestamp", "TIMESTAMP", True, hidden=True),
    Column("_headers", "MAP(VARCHAR, VARCHAR)", False, hidden=True),
)


#: The system column that holds the record's time: the event time of a source that declares none.
RECORD_TIME = "_timestamp"


def system_columns(schema: Schema, properties: Mapping[str, Property]) -> tuple[Column, ...]:
    """The system columns of a source; a declared column of the same name goes before."""
    connector = connector_of(properties)
    if connector is None or not connector.messages:
        return ()
    declared = {column.name.lower() for column in schema}
    return tuple(column for column in SYSTEM_COLUMNS if column.name not in declared)


def has_record_time(schema: Schema) -> bool:
    """Whether rows of this schema have the record's time, and not a declared column of its name."""
    found = schema.get(RECORD_TIME)
    return found is not None and found.hidden


def used_system_columns(plan: Sink, scan: Scan) -> tuple[Column, ...]:
    """The system columns of a scan that the plan reads, or that are its event time."""
    nodes = _above(plan, scan)
    read = {column.name for node in nodes for tree in _trees(node) for column in tree.find_all(exp.Column)}
    if scan.source.event_time is not None:
        read.add(scan.source.event_time.column)
    return tuple(column for column in scan.schema if column.hidden and column.name in read - {DELETED})


def _above(plan: Plan, scan: Scan) -> list[Plan]:
    """The scan and the nodes over its columns: up to a union or a join, which has columns of its own."""
    for node in walk(plan):
        if isinstance(node, UnionAll | Join):
            return next(_above(each, scan) for each in node.inputs if any(part is scan for part in walk(each)))
    return list(walk(plan))


def _trees(node: Plan) -> Iterable[exp.Expression]:
    match node:
        case Filter():
            return node.conjuncts
        case Scan():
            return _named(node.computed)
        case Project():
            return _named(node.columns)
        case Aggregate():
            return [*_named(node.keys), *_named(node.calls)]
    return ()


def _named(columns: Iterable[Named]) -> list[exp.Expression]:
    return [named.expression for named in columns]
