"""`ferrisstreams.query`: SQL over tables and files of a program, as batches of its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import pyarrow as pa
from sqlglot import exp

from ferrisstreams.config.values import Property
from ferrisstreams.connectors.memory import MemorySink, MemorySource
from ferrisstreams.duck.scratch import keep_scratch, scratch_engine
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.nodes import ApplicationPlan, JobPlan, SinkSpec
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.job import Job
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import parse_application


@runtime_checkable
class ArrowStream(Protocol):
    """Anything that hands its rows over by the Arrow C stream interface: polars, pandas 3, DuckDB relations …"""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The capsule of the stream."""


@runtime_checkable
class DataFrame(Protocol):
    """A pandas data frame."""

    def to_dict(self, orient: str) -> list[dict[str, object]]:
        """Rows as dictionaries."""


TableLike: TypeAlias = "pa.Table | pa.RecordBatch | ArrowStream | DataFrame | Sequence[Mapping[str, object]]"

#: The name of the memory sink that gathers a query's rows.
_RESULT = "result"


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave: an Arrow table for each batch that gave rows, and the ledger. Iterating gives the tables."""

    tables: tuple[pa.Table, ...]
    ledger: Ledger
    _empty: pa.Table

    def __iter__(self) -> Iterator[pa.Table]:
        return iter(self.tables)

    def table(self) -> pa.Table:
        """All rows as one table."""
        return pa.concat_tables(self.tables) if self.tables else self._empty


def query(sql: str, **tables: TableLike) -> QueryResult:
    """The result of one SELECT.

    `tables` are what the query calls by name: Arrow tables and batches, polars and pandas frames, lists of
    dictionaries. Files are declared in the query itself. Every source is bounded, so windows close at the end.
    Raises SqlError, ConfigError and, when the query fails while it runs, the error of its job. A row that fails is such
    an error (RowError), unless the query's WITH names a `failure_strategy`.
    """
    given = {name: as_table(name, value) for name, value in tables.items()}
    with keep_scratch():
        schemas = {name: schema_of(table) for name, table in given.items()}
        job = _only_job(parse_application(sql, "<query>", tables=schemas))
        empty = _empty(job.plan.schema)
    sink = MemorySink()
    environment = Environment(
        application="query",
        folder=Path().absolute(),
        memory_sources={name: MemorySource([table]) for name, table in given.items()},
        memory_sinks={_RESULT: sink},
        strict=True,
    )
    result = Job(_redirect_to_memory(job), environment).run()
    if result.error is not None:
        raise result.error
    return QueryResult(tuple(sink.tables), result.ledger, empty)


def _empty(schema: Schema) -> pa.Table:
    """No rows of these columns."""
    columns = [exp.alias_(exp.cast(exp.null(), each.type, dialect="duckdb"), each.name, quoted=True) for each in schema]
    with scratch_engine() as engine:
        return engine.work.table(exp.select(*columns).limit(0))


def schema_of(table: pa.Table) -> Schema:
    """The columns of a table with their SQL types, asked of the engine; every time is UTC in microseconds."""
    with scratch_engine() as engine:
        engine.work.register("given", table.slice(0, 0))
        try:
            types = engine.work.types("SELECT * FROM given")
        finally:
            engine.work.unregister("given")
    return Schema(tuple(Column(name, "TIMESTAMP" if type_.startswith("TIMESTAMP") else type_) for name, type_ in types))


def as_table(name: str, value: TableLike) -> pa.Table:
    """An Arrow table of anything that holds rows. Raises ConfigError E1102 for what does not."""
    match value:
        case pa.Table():
            return value
        case pa.RecordBatch():
            return pa.Table.from_batches([value])
        case ArrowStream():
            return pa.table(value)
        case DataFrame():
            return _table_of_rows(name, value.to_dict("records"))
        case [*rows] if all(isinstance(row, Mapping) for row in rows):
            return _table_of_rows(name, rows)
    raise ConfigError(
        f"{name} is a {type(value).__name__}, which holds no rows",
        "E1102",
        "give an Arrow table, a polars or pandas frame, or a list of dictionaries",
    )


def _table_of_rows(name: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """The columns of all rows: one that a row does not have is NULL in it. Raises ConfigError E1102 for a column whose
    values have no common type."""
    columns = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        try:
            columns[str(key)] = pa.array([row.get(key) for row in rows])
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ConfigError(
                f"the values of {name}.{key} have no common type: {error}",
                "E1102",
                "give an Arrow table with the type that is meant, or convert the values",
            ) from error
    return pa.table(columns)


def _only_job(plan: ApplicationPlan) -> JobPlan:
    if len(plan.jobs) != 1 or not plan.jobs[0].plan.spec.anonymous:
        raise ConfigError(
            f"a query is one SELECT, but here are {len(plan.jobs)} jobs",
            "E1209",
            "run an application by Application.read(…).run()",
        )
    return plan.jobs[0]


def _redirect_to_memory(job: JobPlan) -> JobPlan:
    """The job with its own settings, and its rows in memory. Raises ConfigError E3003 when it names another place."""
    own = job.plan.spec.properties
    place = next((prop for key, prop in own.items() if key.lower() == "connector"), None)
    if place is not None:
        raise ConfigError(
            "a query gives its rows to the caller, and 'connector' names another place",
            "E3003",
            "leave 'connector' out, or run an application by Application.read(…).run()",
            place.position,
        )
    properties = {**own, "connector": Property("memory")}
    spec = SinkSpec(_RESULT, properties, anonymous=True, limit=job.plan.spec.limit)
    return replace(job, plan=replace(job.plan, spec=spec))
