"""An application's text to plans: the one way in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath

from ferrisstreams.config.values import Property
from ferrisstreams.duck.engine import Connection, Engine, EngineSettings
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    ApplicationPlan,
    Emit,
    JobPlan,
    Sink,
    SinkSpec,
    SourceSpec,
    WindowKind,
)
from ferrisstreams.plan.rewrites import canonical
from ferrisstreams.schema import EventTime, Schema
from ferrisstreams.sql.binder import Binder, Names
from ferrisstreams.sql.catalog import Catalog, ResolveReference, Stream
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.functions import load_functions
from ferrisstreams.sql.relations import Relation, aggregate_in, plan_message_key, scan_in
from ferrisstreams.sql.source_text import SourceText, Span
from ferrisstreams.sql.sources import declare_source, is_about, is_time_key
from ferrisstreams.sql.statements import DeclareStream, EmitWritten, Script, StreamAs, View, parse_statements, too_deep

_INLINE_SUFFIXES = (".type", ".config_file")


def parse_application(
    text: str,
    path: str,
    *,
    resolve_reference: ResolveReference | None = None,
    tables: Mapping[str, Schema] | None = None,
) -> ApplicationPlan:
    """Parse and bind a whole application; every plan is canonical (see `plan.rewrites`).

    `resolve_reference` gives the schema of a string reference such as `FROM 'trades.jsonl'`; without it such a
    reference is refused. `tables` are streams in memory, by name. Raises `SqlError` with an exact position.
    """
    script = parse_statements(text, path)
    engine = Engine(EngineSettings())
    try:
        catalog = Catalog(resolve_reference)
        catalog.add_tables(tables or {})
        return _Application(script, engine.work, catalog).bind()
    finally:
        engine.close()


@dataclass(slots=True)
class _Application:
    script: Script
    connection: Connection
    catalog: Catalog
    jobs: list[JobPlan] = field(default_factory=list)

    def bind(self) -> ApplicationPlan:
        for statement in self.script.statements:
            context = Context(self.script.source, self.connection, load_functions(self.connection), statement.span)
            with _depth_checked(self.script.source, statement.span):
                match statement:
                    case DeclareStream():
                        _refuse_inline(context, statement.properties)
                        self.catalog.add(context, statement.name, Stream(declare_source(context, statement)))
                    case View():
                        self._view(context, statement)
                    case StreamAs():
                        self._job(context, statement)
        named = self.script.annotations.get("app")
        name = str(named.value) if named is not None else PurePath(self.script.source.path).stem
        return ApplicationPlan(name, tuple(self.jobs), self.script.annotations, self.script.warnings)

    def _view(self, context: Context, statement: View) -> None:
        """A view is bound once where it stands, so that its errors are seen although nothing reads it. Its reader
        decides how it is emitted."""
        final = EmitWritten(Emit.FINAL, statement.span)
        Binder(context, self.catalog, final, {}).query(statement.query, Names())
        self.catalog.add(context, statement.name, statement)

    def _job(self, context: Context, statement: StreamAs) -> None:
        _refuse_inline(context, statement.properties)
        relation = Binder(context, self.catalog, statement.emit, statement.properties).query(statement.query, Names())
        aggregate = relation.aggregate
        if aggregate is None and statement.emit is not None and statement.emit.emit is Emit.FINAL:
            raise context.error(
                statement.emit.span,
                "EMIT FINAL needs an aggregate: each row of this query is final at once",
                "E1201",
                "leave EMIT FINAL out",
            )
        spec = self._sink(context, statement, scan_in(relation.plan).source.name)
        sink = Sink(relation.plan, spec, aggregate.emit if aggregate is not None else None, plan_message_key(relation))
        _refuse_keyless_changes(context, statement, sink)
        plan = canonical(sink)
        assert isinstance(plan, Sink)
        job = JobPlan(
            self._job_name(context, statement, spec),
            plan,
            statement.annotations,
            self._depends_on(context, statement, relation),
            context.source.position(statement.span),
            tuple(context.outside_law),
        )
        self.jobs.append(job)
        if statement.name is not None:
            self.catalog.add(context, statement.name, Stream(_written_source(job, spec), job.name))

    def _sink(self, context: Context, statement: StreamAs, source: str) -> SinkSpec:
        properties = {
            key: value
            for key, value in statement.properties.items()
            if not is_time_key(key) and not is_about(source, key)
        }
        if statement.name is not None:
            position = context.source.position(statement.name.span)
            return SinkSpec(statement.name.text, properties, False, position)
        anonymous = sum(1 for job in self.jobs if job.plan.spec.anonymous)
        name = "select" if anonymous == 0 else f"select_{anonymous + 1}"
        return SinkSpec(name, properties, True, context.source.position(statement.span))

    def _job_name(self, context: Context, statement: StreamAs, spec: SinkSpec) -> str:
        written = statement.annotations.get("name")
        name = str(written.value) if written is not None else spec.name
        if any(job.name.lower() == name.lower() for job in self.jobs):
            position = written.position if written is not None else spec.position
            raise SqlError(f"two jobs are named {name}", "E1103", "name one of them with -- @name: …", position)
        return name

    def _depends_on(self, context: Context, statement: StreamAs, relation: Relation) -> tuple[str, ...]:
        written = statement.annotations.get("depends_on")
        names = [part.strip() for part in str(written.value).split(",")] if written is not None else []
        known = [job.name for job in self.jobs]
        for name in names:
            if name not in known:
                assert written is not None
                raise SqlError(
                    f"there is no job {name} before this one", "E1101", "name a job that stands above", written.position
                )
        return tuple(dict.fromkeys((*relation.depends_on, *names)))


def _refuse_keyless_changes(context: Context, statement: StreamAs, sink: Sink) -> None:
    """New values without the columns that they belong to cannot be folded into an answer."""
    late = statement.properties.get("late.data.strategy")
    changes = sink.facts.changes or (sink.emit is not None and late is not None and late.value == "update")
    changelog = statement.properties.get("changelog")
    aggregate = aggregate_in(sink)
    session = aggregate is not None and aggregate.window is not None and aggregate.window.kind is WindowKind.SESSION
    retract = changelog.value == "retract" if changelog is not None else session
    if not changes or retract or sink.facts.key is not None or aggregate is None:
        return
    wanted = [key.expression.sql("duckdb").replace('"', "") for key in aggregate.keys]
    if aggregate.window is not None:
        wanted.append(WINDOW_END if aggregate.window.kind is WindowKind.CUMULATE else WINDOW_START)
    raise context.error(
        statement.query,
        "this result changes, and the columns that tell its rows apart are not selected",
        "E1203",
        f"select what is grouped ({', '.join(wanted)}), or use EMIT FINAL, or WITH ('changelog' = 'retract')",
    )


def _written_source(job: JobPlan, spec: SinkSpec) -> SourceSpec:
    """The output of a job as a source of later ones. Rows of a stateless job keep their event time; the delay is for
    the reader to give, and zero without."""
    column = job.plan.facts.event_time
    time = EventTime(column) if column is not None else None
    return SourceSpec(spec.name, job.plan.schema, time, spec.properties, spec.position)


def _refuse_inline(context: Context, properties: Mapping[str, Property]) -> None:
    for key, value in properties.items():
        if key.lower().endswith(_INLINE_SUFFIXES):
            raise SqlError(
                f"the inline form ({key}) is not supported",
                "E1201",
                "declare the source with CREATE STREAM name (columns) WITH (…); a query's WITH configures its own sink",
                value.position,
            )


@contextmanager
def _depth_checked(source: SourceText, span: Span) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise too_deep(source, span) from error
