"""The columns of sources that declare none."""

from __future__ import annotations

from ferrisstreams.errors import SqlError
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.schema import Schema


def columns_of(source: SourceSpec) -> Schema | None:
    """None for a topic: what its records hold is known only when it is read. Raises SqlError for other sources."""
    connector = source.properties.get("connector")
    if connector is not None and str(connector.value).lower() == "kafka":
        return None
    raise SqlError(
        f"the columns of {source.name} are not declared",
        "E1201",
        "declare them: CREATE STREAM name (columns) WITH (connector = 'file', path = …)",
        source.position,
    )
