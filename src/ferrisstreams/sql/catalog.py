"""What names mean in an application: declared streams, streams made by jobs, views, and tables of the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ferrisstreams.config.formats import FORMAT_BY_ENDING
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.compression import unpacked_name
from ferrisstreams.errors import FerrisError
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.schema import Schema
from ferrisstreams.sql.config_files import ReadConfig
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.references import KAFKA_SCHEME, kafka_source
from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.statements import Name, View

#: Gives the schema of a string reference (`FROM 'trades.jsonl'`).
ResolveReference: TypeAlias = Callable[[str], Schema]

#: Gives the columns of a source that declares none, from its schema or a sample of its records. None: they are known
#: only when it is read. Raises `FerrisError` when there are none to be found.
InferColumns: TypeAlias = Callable[[SourceSpec], Schema | None]


@dataclass(frozen=True, slots=True)
class Stream:
    """A readable stream: `job` is the name of the job that writes it, for a stream made by AS SELECT."""

    source: SourceSpec
    job: str | None = None


class FollowingError(FerrisError):
    """A statement names what a wrong statement should have made: it is not known whether this one is wrong too."""


class ColumnsUnknownError(Exception):
    """A query reads a source whose columns are not known yet."""

    def __init__(self, source: SourceSpec) -> None:
        super().__init__(source.name)
        self.source = source


@dataclass(slots=True)
class Catalog:
    """The names declared so far, in the order of the text."""

    resolve_reference: ResolveReference | None
    infer: InferColumns | None = None
    read_config: ReadConfig | None = None
    entries: dict[str, Stream | View] = field(default_factory=dict)
    #: Some statement was wrong, so that names may be missing.
    incomplete: bool = False

    def add(self, context: Context, name: Name, entry: Stream | View) -> None:
        """Raises `SqlError` when the name is taken."""
        if any(other.lower() == name.text.lower() for other in self.entries):
            raise context.error(name.span, f"{name.text} is declared twice", "E1103", "give it another name")
        self.entries[name.text] = entry

    def add_tables(self, tables: Mapping[str, Schema]) -> None:
        """Tables in memory that the library's caller gave."""
        for name, schema in tables.items():
            self.entries[name] = Stream(SourceSpec(name, schema, None, {"connector": Property("memory")}))

    def lookup(self, name: Name) -> Stream | View | None:
        """What a table reference means; None when nothing has this name."""
        found = self.entries.get(name.text)
        if found is None and not name.quoted:
            found = next((entry for other, entry in self.entries.items() if name.matches(other)), None)
        return found

    def find(self, context: Context, name: Name) -> Stream | View:
        """What a table reference means. Raises `SqlError` with the nearest name."""
        found = self.lookup(name)
        if found is None and self.incomplete:
            raise FollowingError(f"{name.text} may be that of a wrong statement", "E1101")
        if found is None:
            known = list(self.entries)
            hint = did_you_mean(name.text, known) or "declare it before with CREATE STREAM name (columns) WITH (…)"
            raise context.error(name.span, f"there is no stream {name.text}", "E1101", hint)
        return found

    def columns_of(self, context: Context, source: SourceSpec, place: Span) -> Schema:
        """The columns of a source that declares none; no columns when they are not known yet. Raises `SqlError`."""
        if self.infer is None:
            raise context.error(
                place,
                f"the columns of {source.name} are not declared",
                "E1205",
                "declare them: CREATE STREAM name (columns) WITH (connector = 'file', path = …)",
            )
        return self.infer(source) or Schema(())

    def reference(self, context: Context, name: Name) -> Stream:
        """The stream of a string reference such as `'trades.jsonl'`."""
        text = name.text
        if text.lower().startswith(KAFKA_SCHEME):
            spec = kafka_source(context, name)
            return Stream(replace(spec, schema=self.columns_of(context, spec, name.span)))
        path = text.removeprefix("file://")
        suffix = next((suffix for suffix in FORMAT_BY_ENDING if unpacked_name(path).endswith(suffix)), None)
        if suffix is None or (path == text and "://" in text):
            raise context.error(
                name.span,
                f"{text!r} is not a reference to a stream",
                "E1206",
                "a reference ends with .jsonl, .json or .csv, or begins with file://; quote a name with double quotes",
            )
        place = context.source.position(name.span)
        properties = {
            "connector": Property("file", place),
            "path": Property(path, place),
            "format": Property(FORMAT_BY_ENDING[suffix], place),
        }
        if self.resolve_reference is not None:
            return Stream(SourceSpec(text, self.resolve_reference(text), None, properties, place))
        spec = SourceSpec(text, Schema(()), None, properties, place)
        return Stream(replace(spec, schema=self.columns_of(context, spec, name.span)))
