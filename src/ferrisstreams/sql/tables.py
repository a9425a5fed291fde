"""Tables: sources of which the newest row of each key counts, and how their records say what becomes of a row."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from ferrisstreams.config.formats import ChangesName, changes_of
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.errors import ConfigError, SqlError
from ferrisstreams.formats.changes import columns_in_envelopes
from ferrisstreams.plan.expressions import column
from ferrisstreams.plan.nodes import DELETED, REPEATED, Filter, Latest, Plan, Scan, SourceSpec
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.statements import DeclareStream


def table_of(scan: Scan) -> Plan:
    """What a scan of a source gives: its rows, or of a table the newest of each key."""
    if not scan.source.key:
        return scan
    hidden = Column(DELETED, "BOOLEAN", False, hidden=True)
    rows: Plan = replace(scan, schema=Schema((*scan.schema.columns, hidden)))
    if _changes(scan.source) == "retract":
        # Of the old row of an update the new one says all.
        rows = Filter(rows, (exp.not_(column(DELETED).is_(exp.null())),))
    return Latest(rows, scan.source.key)


def require_key(context: Context, statement: DeclareStream) -> None:
    """Raises `SqlError` for a table without a key."""
    if statement.table and not statement.key:
        raise context.error(
            statement.name.span,
            f"the table {statement.name.text} has no key: nothing tells its rows apart",
            "E1205",
            "add PRIMARY KEY (column); or write CREATE STREAM, whose records are rows that stay",
        )


def key_of(context: Context, statement: DeclareStream, schema: Schema) -> tuple[str, ...]:
    """The columns of a table's key; none of a stream. Raises `SqlError`."""
    found: list[str] = []
    for name in statement.key:
        column = next((column for column in schema if name.matches(column.name)), None)
        if column is None and len(schema):
            hint = did_you_mean(name.text, schema.names)
            raise context.error(name.span, f"there is no column {name.text}", "E1101", hint)
        found.append(column.name if column is not None else name.text)
        if found[-1] in found[:-1]:
            raise context.error(name.span, f"{name.text} is in the key twice", "E1103", "keep it once")
    return tuple(found)


def keyed(schema: Schema, key: tuple[str, ...]) -> Schema:
    """The columns of a table: no row of it lacks the key."""
    return Schema(tuple(replace(c, nullable=False) if c.name in key else c for c in schema))


def columns_of_rows(context: Context, source: SourceSpec, found: Schema) -> Schema:
    """Of the columns found in records of changes, those of the rows. Raises `SqlError`."""
    match _changes(source):
        case "retract":
            return Schema(tuple(c for c in found if c.name != "op"))
        case "debezium":
            return _columns_in_envelopes(context, source, found)
    return found


def _columns_in_envelopes(context: Context, source: SourceSpec, found: Schema) -> Schema:
    columns = columns_in_envelopes(found, context.connection)
    if not len(columns):
        raise SqlError(
            f"the columns of {source.name} are not declared, and its records have no object in 'after' or 'before'",
            "E1205",
            "declare them: CREATE TABLE name (columns, PRIMARY KEY (column)) WITH (…)",
            source.position,
        )
    return columns


def check_changes(source: SourceSpec) -> None:
    """Whether the records of a source can be what its settings and its kind say. Raises `SqlError`."""
    written = source.properties.get("changelog")
    of_format = source.properties.get("format")
    changes = _changes(source)
    if not source.key:
        said = next(((name, prop) for name, prop in (("changelog", written), ("format", of_format)) if prop), None)
        if said is not None and (written is not None or changes is not None):
            raise SqlError(
                f"'{said[0]}' = '{said[1].value}' of a stream: its records would be changes of rows, and the rows of a"
                " stream stay",
                "E3005",
                "write CREATE TABLE, with a PRIMARY KEY",
                said[1].position,
            )
        return
    connector = connector_of(source.properties)
    follow = source.properties.get(connector.follow) if connector is not None and connector.follow else None
    if connector is not None and follow is not None and follow.value not in (False, "false"):
        raise SqlError(
            f"'{connector.follow}' of a table: its file is read once, at each start",
            "E3005",
            f"leave '{connector.follow}' out; or keep the table in a topic, which is read as it grows",
            follow.position,
        )
    _check_names(source, changes)


def _changes(source: SourceSpec) -> ChangesName | None:
    try:
        return changes_of(source.properties)
    except ConfigError as error:
        raise SqlError(error.message, error.code, error.hint, error.position or source.position) from error


def _check_names(source: SourceSpec, changes: str | None) -> None:
    """Raises `SqlError` for columns that are named like what says what becomes of a row."""
    taken = {DELETED: "the engine", REPEATED: "the engine", **({"op": "the changelog"} if changes == "retract" else {})}
    for c in source.schema:
        owner = taken.get(c.name.lower())
        if owner is not None:
            raise SqlError(
                f"the column {c.name} of the table {source.name} is that of {owner}",
                "E1103",
                "leave it out" if c.name.lower() == "op" else "give the column another name",
                source.position,
            )
