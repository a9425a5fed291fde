"""What names mean in an application: declared streams, streams made by jobs, views, and tables of the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ferrisstreams.config.values import Property
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.schema import Schema
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.statements import Name, View

#: Gives the schema of a string reference (`FROM 'trades.jsonl'`).
ResolveReference: TypeAlias = Callable[[str], Schema]

_FORMATS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class Stream:
    """A readable stream: `job` is the name of the job that writes it, for a stream made by AS SELECT."""

    source: SourceSpec
    job: str | None = None


@dataclass(slots=True)
class Catalog:
    """The names declared so far, in the order of the text."""

    resolve_reference: ResolveReference | None
    entries: dict[str, Stream | View] = field(default_factory=dict)

    def add(self, context: Context, name: Name, entry: Stream | View) -> None:
        """Raises `SqlError` when the name is taken."""
        if any(other.lower() == name.text.lower() for other in self.entries):
            raise context.error(name.span, f"{name.text} is declared twice", "E1103", "give it another name")
        self.entries[name.text] = entry

    def add_tables(self, tables: Mapping[str, Schema]) -> None:
        """Tables in memory that the library's caller gave."""
        for name, schema in tables.items():
            self.entries[name] = Stream(SourceSpec(name, schema, None, {"connector": Property("memory")}))

    def find(self, context: Context, name: Name) -> Stream | View:
        """What a table reference means. Raises `SqlError` with the nearest name."""
        found = self.entries.get(name.text)
        if found is None and not name.quoted:
            found = next((entry for other, entry in self.entries.items() if name.matches(other)), None)
        if found is None:
            known = list(self.entries)
            hint = did_you_mean(name.text, known) or "declare it before with CREATE STREAM name (columns) WITH (…)"
            raise context.error(name.span, f"there is no stream {name.text}", "E1101", hint)
        return found

    def reference(self, context: Context, name: Name) -> Stream:
        """The stream of a string reference such as `'trades.jsonl'`."""
        text = name.text
        if text.startswith("kafka://"):
            raise context.error(
                name.span, "reading Kafka is not supported yet", "E1201", "read a file: FROM 'trades.jsonl'"
            )
        path = text.removeprefix("file://")
        suffix = next((suffix for suffix in _FORMATS if path.lower().endswith(suffix)), None)
        if suffix is None or (path == text and "://" in text):
            raise context.error(
                name.span,
                f"{text!r} is not a reference to a stream",
                "E1201",
                "a reference ends with .jsonl, .json or .csv, or begins with file://; quote a name with double quotes",
            )
        if self.resolve_reference is None:
            raise context.error(
                name.span,
                "a file without declared columns cannot be read here",
                "E1201",
                "declare it: CREATE STREAM name (columns) WITH (connector = 'file', path = …)",
            )
        place = context.source.position(name.span)
        properties = {
            "connector": Property("file", place),
            "path": Property(path, place),
            "format": Property(_FORMATS[suffix], place),
        }
        return Stream(SourceSpec(text, self.resolve_reference(text), None, properties, place))
