"""An application's text to plans: the one way in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePath
from unicodedata import normalize

from ferrisstreams.config.registry import Scope
from ferrisstreams.config.resolve import find_key, resolve
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.duck.engine import Connection
from ferrisstreams.duck.scratch import scratch_engine
from ferrisstreams.errors import FerrisError, SqlError, collecting
from ferrisstreams.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    Aggregate,
    ApplicationPlan,
    Emit,
    HeaderChange,
    JobPlan,
    Join,
    JoinKind,
    OpenJob,
    Plan,
    Sink,
    SinkSpec,
    SourceSpec,
    UnionAll,
    WindowKind,
    walk,
)
from ferrisstreams.plan.rewrites import canonical
from ferrisstreams.schema import EventTime, Schema
from ferrisstreams.sql.binder import Binder, Names
from ferrisstreams.sql.catalog import (
    Catalog,
    ColumnsUnknownError,
    FollowingError,
    InferColumns,
    ResolveReference,
    Stream,
)
from ferrisstreams.sql.config_files import ReadConfig, with_file
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.function_aliases import resolve_aliases
from ferrisstreams.sql.functions import load_functions
from ferrisstreams.sql.header_items import misplaced
from ferrisstreams.sql.inline import CONFIG_FILE, CONNECTOR
from ferrisstreams.sql.relations import Relation, aggregate_in, join_in, plan_message_key, scans_in
from ferrisstreams.sql.source_text import SourceText, Span
from ferrisstreams.sql.sources import declare_source, is_about, is_time_key
from ferrisstreams.sql.statements import DeclareStream, EmitWritten, Script, StreamAs, View, parse_statements, too_deep
from ferrisstreams.sql.syntax import span_of


def parse_application(
    text: str,
    path: str,
    *,
    resolve_reference: ResolveReference | None = None,
    tables: Mapping[str, Schema] | None = None,
    infer: InferColumns | None = None,
    read_config: ReadConfig | None = None,
) -> ApplicationPlan:
    """Parse and bind a whole application; every plan is canonical (see `plan.rewrites`).

    `resolve_reference` gives the schema of a string reference such as `FROM 'trades.jsonl'`; without it such a
    reference is inferred as others are. `tables` are streams in memory, by name. `infer` gives the columns of sources
    that declare none; jobs whose columns it does not know yet are `open_jobs`. `read_config` gives the properties of a
    configuration file. Raises `SqlError` with an exact place.
    """
    script = parse_statements(text, path)
    with scratch_engine() as engine:
        catalog = Catalog(resolve_reference, infer, read_config)
        catalog.add_tables(tables or {})
        return bind_script(script, engine.work, catalog)


def check_application(
    text: str, path: str, errors: list[FerrisError], infer: InferColumns, read_config: ReadConfig
) -> ApplicationPlan:
    """The same, as far as it is right: the errors of all statements go to `errors`."""
    script = parse_statements(text, path, errors)
    with scratch_engine() as engine:
        catalog = Catalog(None, infer, read_config, incomplete=bool(errors))
        return _Application(script, engine.work, catalog, errors).bind()


def bind_script(script: Script, connection: Connection, catalog: Catalog) -> ApplicationPlan:
    """Bind a script that is parsed. The catalog takes its streams in. Raises `SqlError` with an exact place."""
    return _Application(script, connection, catalog).bind()


def application_name(path: str) -> str:
    """The name of the application in this file: that of the file, which folders and topics are named after. What they
    cannot hold is replaced, and a part of a digest keeps two such files apart."""
    stem = PurePath(path).stem
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", normalize("NFKD", stem).encode("ascii", "ignore").decode()).strip("-.")
    if stem == plain or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", stem):
        return stem
    digest = sha256(normalize("NFC", stem).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


@dataclass(slots=True)
class _Application:
    script: Script
    connection: Connection
    catalog: Catalog
    errors: list[FerrisError] | None = None
    jobs: list[JobPlan] = field(default_factory=list)
    open_jobs: list[OpenJob] = field(default_factory=list)

    def bind(self) -> ApplicationPlan:
        for statement in self.script.statements:
            context = Context(self.script.source, self.connection, load_functions(self.connection), statement.span)
            with collecting(self.errors), _depth_checked(self.script.source, statement.span):
                match statement:
                    case DeclareStream():
                        source = declare_source(context, self.catalog, statement)
                        self.catalog.add(context, statement.name, Stream(source))
                    case View():
                        self._view(context, statement)
                    case StreamAs():
                        self._job(context, statement)
            self.catalog.incomplete = bool(self.errors)
        if self.errors is not None:
            self.errors[:] = [error for error in self.errors if not isinstance(error, FollowingError)]
        named = self.script.annotations.get("app")
        name = str(named.value) if named is not None else application_name(self.script.source.path)
        return ApplicationPlan(
            name, tuple(self.jobs), self.script.annotations, self.script.warnings, tuple(self.open_jobs)
        )

    def _view(self, context: Context, statement: View) -> None:
        """A view is bound once where it stands, so that its errors are seen although nothing reads it. Its reader
        decides how it is emitted."""
        statement = replace(statement, query=resolve_aliases(context, statement.query))
        final = EmitWritten(Emit.FINAL, statement.span)
        with suppress(ColumnsUnknownError):
            relation = Binder(context, self.catalog, final, {}).query(statement.query, Names())
            if relation.headers:
                raise misplaced(context, relation.headers[0].node)
        self.catalog.add(context, statement.name, statement)

    def _job(self, context: Context, statement: StreamAs) -> None:
        statement = replace(statement, query=resolve_aliases(context, statement.query))
        binder = Binder(context, self.catalog, statement.emit, statement.properties)
        try:
            relation = binder.query(statement.query, Names())
        except ColumnsUnknownError as unknown:
            self._open_job(context, statement, unknown.source)
            return
        aggregate = relation.aggregate
        _refuse_final_pads(context, statement.emit, relation.plan)
        if not _waits(relation.plan) and statement.emit is not None and statement.emit.emit is Emit.FINAL:
            raise context.error(
                statement.emit.span,
                "EMIT FINAL needs an aggregate, or a join bounded in time: each row of this query is final at once",
                "E1204",
                "leave EMIT FINAL out",
            )
        spec = self._sink(context, statement, [scan.source.name for scan in scans_in(relation.plan)])
        sink = Sink(
            relation.plan,
            spec,
            aggregate.emit if aggregate is not None else None,
            plan_message_key(relation),
            bool(relation.message_key),
            _header_changes(context, relation),
        )
        _refuse_keyless_changes(context, statement, sink)
        if statement.table:
            _refuse_keyless_table(context, statement, sink)
        plan = canonical(sink)
        assert isinstance(plan, Sink)
        job = JobPlan(
            self._job_name(context, statement, spec),
            plan,
            statement.annotations,
            self._depends_on(context, statement, relation),
            context.source.position(statement.span),
            tuple(context.outside_law),
            relation.depends_on,
            any(_goes_on(scan.source) for scan in scans_in(plan)),
        )
        self.jobs.append(job)
        if statement.name is not None:
            self.catalog.add(context, statement.name, Stream(_written_source(job, spec, statement.table), job.name))

    def _open_job(self, context: Context, statement: StreamAs, source: SourceSpec) -> None:
        """A job whose columns are not known: its settings can be checked, its names and types cannot."""
        spec = self._sink(context, statement, [source.name])
        name = self._job_name(context, statement, spec)
        place = context.source.position(statement.span)
        self.open_jobs.append(OpenJob(name, spec, source, statement.annotations, place))
        if statement.name is not None:
            properties = _read_as_source(spec.properties)
            written = SourceSpec(spec.name, Schema(()), None, properties, spec.position)
            self.catalog.add(context, statement.name, Stream(written, name))

    def _sink(self, context: Context, statement: StreamAs, sources: Sequence[str]) -> SinkSpec:
        properties = {
            key: value
            for key, value in statement.properties.items()
            if not is_time_key(key) and not any(is_about(source, key) for source in sources)
        }
        for key, value in properties.items():
            owner, _, part = key.rpartition(".")
            if owner and part in (CONNECTOR, CONFIG_FILE):
                raise SqlError(
                    f"{owner} is neither read nor written here", "E3001", did_you_mean(owner, sources), value.position
                )
        properties = with_file(self.catalog.read_config, properties, is_source=False)
        if statement.name is not None:
            position = context.source.position(statement.name.span)
            return SinkSpec(statement.name.text, properties, False, position)
        specs = [*(job.plan.spec for job in self.jobs), *(job.sink for job in self.open_jobs)]
        anonymous = sum(1 for spec in specs if spec.anonymous)
        name = "select" if anonymous == 0 else f"select_{anonymous + 1}"
        return SinkSpec(name, properties, True, context.source.position(statement.span), statement.limit)

    def _job_name(self, context: Context, statement: StreamAs, spec: SinkSpec) -> str:
        written = statement.annotations.get("name")
        name = str(written.value) if written is not None else spec.name
        if any(other.lower() == name.lower() for other in self._job_names()):
            position = written.position if written is not None else spec.position
            raise SqlError(f"two jobs are named {name}", "E1103", "name one of them with -- @name: …", position)
        return name

    def _job_names(self) -> list[str]:
        return [*(job.name for job in self.jobs), *(job.name for job in self.open_jobs)]

    def _depends_on(self, context: Context, statement: StreamAs, relation: Relation) -> tuple[str, ...]:
        written = statement.annotations.get("depends_on")
        names = [part.strip() for part in str(written.value).split(",")] if written is not None else []
        known = self._job_names()
        for name in names:
            if name not in known:
                assert written is not None
                raise SqlError(
                    f"there is no job {name} before this one", "E1101", "name a job that stands above", written.position
                )
        return tuple(dict.fromkeys((*relation.depends_on, *names)))


def _header_changes(context: Context, relation: Relation) -> tuple[HeaderChange, ...]:
    return tuple(
        HeaderChange(
            item.name,
            item.column if item.value is not None else None,
            context.source.position(span_of(item.node) or context.statement),
        )
        for item in relation.headers
    )


def _waits(plan: Plan) -> bool:
    """Whether results of the plan can come later than the rows that they are made of."""
    return any(
        isinstance(node, Aggregate) or (isinstance(node, Join) and node.bound is not None) for node in walk(plan)
    )


def _refuse_final_pads(context: Context, emit: EmitWritten | None, plan: Plan) -> None:
    """Without a bound in time no row is known to stay without a partner."""
    for join in (node for node in walk(plan) if isinstance(node, Join)) if emit is not None else ():
        outer = join.kind is not JoinKind.INNER and join.bound is None and not join.lookup
        if emit is not None and emit.emit is Emit.FINAL and outer:
            raise context.error(
                emit.span,
                f"EMIT FINAL over a {join.kind.name} JOIN without a bound in time is not supported: a partner may"
                " come at any time",
                "E1201",
                "leave EMIT FINAL out; or add a bound: AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' HOUR",
            )


def _refuse_keyless_changes(context: Context, statement: StreamAs, sink: Sink) -> None:
    """New values without the columns that they belong to cannot be folded into an answer."""
    late = statement.properties.get("late.data.strategy")
    changes = sink.facts.changes or (sink.emit is not None and late is not None and late.value == "update")
    changelog = statement.properties.get("changelog")
    aggregate = aggregate_in(sink)
    session = aggregate is not None and aggregate.window is not None and aggregate.window.kind is WindowKind.SESSION
    retract = changelog.value == "retract" if changelog is not None else session
    if not changes or retract or sink.facts.key is not None:
        return
    if aggregate is None:
        if changelog is not None and join_in(sink) is not None:
            raise SqlError(
                f"this join takes rows back, and 'changelog' = '{changelog.value}' cannot say of which, because no"
                " columns tell its rows apart",
                "E1203",
                "write 'changelog' = 'retract'",
                changelog.position,
            )
        return
    if isinstance(sink.input, UnionAll):
        raise context.error(
            statement.query,
            "this result changes, and nothing tells the rows of the queries of a UNION ALL apart",
            "E1203",
            "use EMIT FINAL, or WITH ('changelog' = 'retract'), or write one stream for each query",
        )
    wanted = [key.expression.sql("duckdb").replace('"', "") for key in aggregate.keys]
    if aggregate.window is not None:
        wanted.append(WINDOW_END if aggregate.window.kind is WindowKind.CUMULATE else WINDOW_START)
    raise context.error(
        statement.query,
        "this result changes, and the columns that tell its rows apart are not selected",
        "E1203",
        f"select what is grouped ({', '.join(wanted)}), or use EMIT FINAL, or WITH ('changelog' = 'retract')",
    )


def _refuse_keyless_table(context: Context, statement: StreamAs, sink: Sink) -> None:
    if sink.facts.key is None:
        raise context.error(
            statement.name.span if statement.name is not None else None,
            "a table needs a key, which tells its rows apart, and this result has none",
            "E1205",
            "select what tells them apart, such as the columns of GROUP BY; or write CREATE STREAM",
        )


def _written_source(job: JobPlan, spec: SinkSpec, table: bool) -> SourceSpec:
    """The output of a job as a source of later ones. Rows of a stateless job keep their event time; the delay is for
    the reader to give, and zero without."""
    column = job.plan.facts.event_time
    time = EventTime(column) if column is not None else None
    properties = _read_as_source(spec.properties)
    connector = connector_of(spec.properties)
    if job.endless and connector is not None and connector.follow is not None:
        # What never ends is followed: its reader runs beside it.
        properties[connector.follow] = Property(True, spec.position, f"the job {job.name} goes on")
    key = job.plan.facts.key if table else None
    if key is None or properties.get("changelog", Property("append")).value == "append":
        properties.pop("changelog", None)
    return SourceSpec(spec.name, job.plan.schema, time, properties, spec.position, key or ())


def _goes_on(source: SourceSpec) -> bool:
    """Whether more may come of a source, whatever was read of it."""
    connector = connector_of(source.properties)
    if connector is None:
        return False
    # What is not a setting of it is refused when the job's settings are read.
    known = {name: prop for name, prop in source.properties.items() if find_key(name, connector.name) is not None}
    return connector.is_endless(resolve(known, (Scope.SOURCE,), connector.name))


def _read_as_source(properties: Mapping[str, Property]) -> dict[str, Property]:
    """Of a sink's properties those that its reader needs as well: where the records are, and how they are written."""
    connector = connector_of(properties)
    keys = {key: find_key(key, connector.name if connector is not None else None) for key in properties}
    return {
        name: properties[name]
        for name, key in keys.items()
        if key is not None and Scope.SOURCE in key.scopes and Scope.JOB not in key.scopes
    }


@contextmanager
def _depth_checked(source: SourceText, span: Span) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise too_deep(source, span) from error
