"""Declarations to sources: column types as DuckDB names them, and the event time from DDL and properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from ferrisstreams.config.resolve import all_names
from ferrisstreams.config.values import Property
from ferrisstreams.duck.engine import BindError, DataError
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.plan.system_columns import RECORD_TIME, has_record_time, system_columns
from ferrisstreams.schema import Column, EventTime, Schema
from ferrisstreams.sql.catalog import Catalog, Stream
from ferrisstreams.sql.config_files import with_file
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.durations import duration_of, parse_duration
from ferrisstreams.sql.inference import explain_bind_error
from ferrisstreams.sql.inline import CONFIG_FILE, CONNECTOR
from ferrisstreams.sql.statements import DeclareStream, Name, View, Watermark
from ferrisstreams.sql.tables import check_changes, columns_of_rows, key_of, keyed, require_key

FIELD = "event.time.field"
STRATEGY = "watermark.strategy"
DELAY = "watermark.max_out_of_orderness"
TIME_FORMAT = "event.time.format"

_KNOWN_KEYS = frozenset(all_names())
_TIME_KEYS = ("event.time.", "watermark.", "timestamp.format")
_STRATEGIES = ("bounded_out_of_orderness", "ascending")
_TIMESTAMPS = (
    exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ, exp.DType.DATETIME,
    exp.DType.TIMESTAMP_S, exp.DType.TIMESTAMP_MS, exp.DType.TIMESTAMP_NS,
)  # fmt: skip


def declare_source(context: Context, catalog: Catalog, statement: DeclareStream) -> SourceSpec:
    """The source that a declaration describes. Raises `SqlError`."""
    statement = replace(statement, properties=with_file(catalog.read_config, statement.properties, is_source=True))
    require_key(context, statement)
    schema = _schema(context, statement) if statement.columns else _found_columns(context, catalog, statement)
    key = key_of(context, statement, schema)
    if not len(schema):
        place = context.source.position(statement.name.span)
        return SourceSpec(statement.name.text, schema, None, statement.properties, place, key)
    schema = keyed(schema, key)
    watermark = statement.watermark
    timed = _with_record_time(schema, statement.properties)
    declared = _from_watermark(context, watermark, timed) if watermark is not None else None
    time = _event_time(declared, schema, statement.properties)
    position = context.source.position(statement.name.span)
    source = SourceSpec(statement.name.text, schema, time, statement.properties, position, key)
    check_changes(source)
    return source


def _found_columns(context: Context, catalog: Catalog, statement: DeclareStream) -> Schema:
    place = context.source.position(statement.name.span)
    bare = SourceSpec(statement.name.text, Schema(()), None, statement.properties, place)
    found = catalog.columns_of(context, bare, statement.name.span)
    rows = columns_of_rows(context, bare, found) if statement.table and len(found) else found
    return timed_schema(rows, statement.properties)


def timed_schema(schema: Schema, properties: Mapping[str, Property]) -> Schema:
    """Inferred columns with the event time as TIMESTAMP, where `event.time.format` says how it is written."""
    field = properties.get(FIELD)
    if field is None or TIME_FORMAT not in properties:
        return schema
    name = str(field.value).lower()
    return Schema(
        tuple(replace(column, type="TIMESTAMP") if column.name.lower() == name else column for column in schema)
    )


def inline_source(context: Context, catalog: Catalog, name: Name, given: Mapping[str, Property]) -> Stream:
    """The source that a job configures in its own properties: `given` without their prefix. Raises `SqlError`.

    A stream that is known already lends its columns, and the job that writes it.
    """
    given = with_file(catalog.read_config, given, is_source=True)
    known = catalog.lookup(name)
    place = context.source.position(name.span)
    if isinstance(known, View):
        position = given[CONNECTOR].position if CONNECTOR in given else place
        raise SqlError(
            f"{name.text} is a view: it has no connector", "E3005", "configure the streams that it reads", position
        )
    if known is not None:
        return replace(known, source=replace(known.source, properties=given))
    bare = SourceSpec(name.text, Schema(()), None, given, place)
    return Stream(replace(bare, schema=timed_schema(catalog.columns_of(context, bare, name.span), given)))


def _schema(context: Context, statement: DeclareStream) -> Schema:
    trees = [_plain_timestamp(column.type) for column in statement.columns]
    kinds = _normalised(context, trees)
    if kinds is None:
        for column, tree in zip(statement.columns, trees, strict=True):
            _check_type(context, column.type, tree)
    assert kinds is not None
    return Schema(
        tuple(
            Column(column.name.text, kind, not column.not_null, folds=not column.name.quoted)
            for column, kind in zip(statement.columns, kinds, strict=True)
        )
    )


def _plain_timestamp(tree: exp.DataType) -> exp.DataType:
    """Timestamps of any precision and zone are microseconds in UTC here."""
    if tree.this in _TIMESTAMPS:
        return exp.DataType(this=exp.DType.TIMESTAMPNTZ)
    return tree


def _normalised(context: Context, trees: list[exp.DataType]) -> list[str] | None:
    """DuckDB's names of the types; None when it does not know one of them."""
    texts = [tree.sql("duckdb") for tree in trees]
    known = dict(zip(texts, trees, strict=True))
    casts = [exp.alias_(exp.Cast(this=exp.null(), to=tree.copy()), f"c{i}") for i, tree in enumerate(known.values())]
    try:
        kinds = [kind for _, kind in context.connection.types(exp.select(*casts))]
    except (BindError, DataError):
        return None
    names = dict(zip(known, kinds, strict=True))
    return [names[text] for text in texts]


def _check_type(context: Context, written: exp.DataType, tree: exp.DataType) -> None:
    try:
        context.connection.types(exp.select(exp.Cast(this=exp.null(), to=tree.copy())))
    except (BindError, DataError) as error:
        raise explain_bind_error(context, written, error) from error


def with_job_properties(source: SourceSpec, properties: Mapping[str, Property], written_by_job: bool) -> SourceSpec:
    """The source as a job reads it, whose own properties say more about it (see `source_properties`).

    The event time of a stream that a job writes is not a declaration: the reader may give it another delay.
    """
    given = {k: v for k, v in source_properties(source.name, properties).items() if k != CONFIG_FILE}
    if not given:
        return source
    merged = {**source.properties, **given}
    if not len(source.schema):
        return replace(source, properties=merged)
    declared = source.event_time
    if declared is not None and (written_by_job or FIELD in source.properties):
        merged = {FIELD: Property(declared.column), **merged}
        declared = None
    return replace(source, properties=merged, event_time=_event_time(declared, source.schema, merged))


def source_properties(name: str, properties: Mapping[str, Property]) -> dict[str, Property]:
    """Of a job's properties those that are about its source: `'<name>.…'`, and the time keys without a name."""
    plain = {key: value for key, value in properties.items() if is_time_key(key)}
    own = {key[len(name) + 1 :]: value for key, value in properties.items() if is_about(name, key)}
    return {**plain, **own}


def is_about(name: str, key: str) -> bool:
    """True for `'<name>.…'`, unless that is a key by itself (`late.data.strategy` beside a source named `late`)."""
    return key.lower().startswith(f"{name.lower()}.") and key not in _KNOWN_KEYS


def is_time_key(key: str) -> bool:
    """True for the keys of a source that say when its rows happened."""
    return key.startswith(_TIME_KEYS)


def _with_record_time(schema: Schema, properties: Mapping[str, Property]) -> Schema:
    """The declared columns, and the time of the record where there is one: any may be the event time."""
    own = tuple(column for column in system_columns(schema, properties) if column.name == RECORD_TIME)
    return Schema((*schema.columns, *own))


def _event_time(declared: EventTime | None, schema: Schema, properties: Mapping[str, Property]) -> EventTime | None:
    """The event time; delays alone are about that of the record, where there is one. Raises `SqlError`."""
    timed = _with_record_time(schema, properties)
    field = _from_properties(timed, properties)
    if declared is not None and field is not None and field != declared.column:
        raise _contradiction(properties[FIELD], f"WATERMARK FOR names {declared.column}, {FIELD} names {field}")
    column = declared.column if declared is not None else field
    delay = _delay(properties)
    if column is None and delay is not None and has_record_time(timed):
        column = RECORD_TIME
    if column == RECORD_TIME and has_record_time(timed) and TIME_FORMAT in properties:
        raise _wrong(
            properties[TIME_FORMAT],
            f"{TIME_FORMAT} says how a column is written, and the event time is that of the record",
            f"leave it out, or name the column: {FIELD}",
        )
    if column is None:
        for key in (STRATEGY, DELAY):
            if key in properties:
                raise _wrong(properties[key], f"{key} needs an event time", f"add WATERMARK FOR column, or {FIELD}")
        return None
    if declared is not None and delay is not None and delay != declared.delay_us:
        key = DELAY if DELAY in properties else STRATEGY
        raise _contradiction(properties[key], f"WATERMARK FOR and {key} give different delays")
    return EventTime(column, declared.delay_us if declared is not None else delay or 0)


def _from_watermark(context: Context, watermark: Watermark, schema: Schema) -> EventTime:
    column = _time_column(context, watermark.column, schema)
    tree = watermark.expression
    while isinstance(tree, exp.Paren):
        tree = tree.this
    delay: int | None = 0
    if isinstance(tree, exp.Sub):
        delay = duration_of(tree.expression)
        delay = None if delay is None or delay < 0 else delay
        tree = tree.this
    if not isinstance(tree, exp.Column) or tree.table or not watermark.column.matches(tree.name) or delay is None:
        raise context.error(
            watermark.expression,
            "a watermark is its column less a fixed delay",
            "E1208",
            f"write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND, or AS {column}",
        )
    return EventTime(column, delay)


def _time_column(context: Context, name: Name, schema: Schema) -> str:
    found = next((column for column in schema if name.matches(column.name)), None)
    if found is None:
        raise context.error(
            name.span, f"there is no column {name.text}", "E1101", did_you_mean(name.text, list(schema.names))
        )
    if found.type != "TIMESTAMP":
        raise context.error(
            name.span,
            f"the event time {found.name} is {found.type}, not TIMESTAMP",
            "E1102",
            f"declare {found.name} TIMESTAMP; for epoch numbers also give 'event.time.format'",
        )
    return found.name


def _from_properties(schema: Schema, properties: Mapping[str, Property]) -> str | None:
    written = properties.get(FIELD)
    if written is None:
        return None
    name = str(written.value)
    found = next((column for column in schema if column.name.lower() == name.lower()), None)
    if found is None:
        raise _wrong(written, f"there is no column {name}", did_you_mean(name, list(schema.names)))
    if found.type != "TIMESTAMP":
        raise _wrong(
            written, f"the event time {found.name} is {found.type}, not TIMESTAMP", f"declare {name} TIMESTAMP"
        )
    return found.name


def _delay(properties: Mapping[str, Property]) -> int | None:
    """The delay in microseconds that the properties give; None when they say nothing."""
    strategy, written = properties.get(STRATEGY), properties.get(DELAY)
    if strategy is not None and strategy.value not in _STRATEGIES:
        hint = "a watermark computed from the rows is not supported: say how far behind rows may come"
        raise _wrong(strategy, f"{STRATEGY} is {' or '.join(_STRATEGIES)}", hint)
    delay = None
    if written is not None:
        delay = parse_duration(written.value) if isinstance(written.value, str) else None
        if delay is None:
            raise _wrong(
                written, f"{DELAY} is a length of time", "write a number and a unit, such as '5s' or '5 seconds'"
            )
    if strategy is not None and strategy.value == "ascending":
        if delay:
            assert written is not None
            raise _contradiction(written, f"{STRATEGY} = ascending allows no disorder, {DELAY} does")
        return 0
    return delay


def _wrong(written: Property, message: str, hint: str | None) -> SqlError:
    return SqlError(message, "E3002", hint, written.position)


def _contradiction(written: Property, message: str) -> SqlError:
    return SqlError(message, "E3003", "keep one of them", written.position)
