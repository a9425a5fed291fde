"""The one DuckDB instance of a job: two connections, closed in, and the translation of its errors.

*work* runs everything that user data can make fail, in autocommit. *state* holds the epoch's transaction and only
appends and merges finished results. See `docs/architecture.md`, section 3.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import duckdb
from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.duck.field_casts import keep_in_place
from ferrisstreams.duck.growth import with_short_constants
from ferrisstreams.duck.json_macros import is_arrow, with_exact_arrows
from ferrisstreams.duck.macros import definitions, macros_among
from ferrisstreams.errors import FerrisError, InternalError, OutOfMemoryError, StateError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that its connection has planned once, under a name; `parameters` are those that stand in it."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A tree as text, made once for many runs; `parameters` are those that stand in the tree, `macros` those of ours
    that it calls."""

    sql: str
    parameters: tuple[str, ...]
    macros: tuple[str, ...] = ()


#: A text is one of our own constants, in which all parameters that come with it stand.
Statement: TypeAlias = exp.Expression | str | Rendered | Prepared

#: Of the library, such as 2.0.0.
ENGINE_VERSION = duckdb.__version__

#: The schema (an attached database) that holds the job's durable tables.
STATE_SCHEMA = "state"

#: A prepared statement gives Arrow in no other way; the copy of a small result costs less than planning it again.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result makes an extra copy", UserWarning)

_DATA_ERRORS = (
    duckdb.DataError,  # conversion, out of range, type mismatch
    duckdb.InvalidInputException,
)

_BIND_ERRORS = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
)

#: Raised for the statement's own words while it is bound, and for values of rows while it runs, such as an unknown time
#: zone.
_EITHER_ERRORS = (duckdb.NotImplementedException, duckdb.SyntaxException)


#: What the engine says of values of rows in the words of an error of binding.
_BINDS_WHILE_RUNNING = re.compile("Histogram bin (list|entry) cannot be NULL|Unsupported type .* for equi_width_bins")


class DataError(Exception):
    """A statement failed because of the data that it read. Never reaches a user: the caller diagnoses which rows."""


class CutError(Exception):
    """A read took longer than its connection may. Never reaches a user as it is."""


class BindError(InternalError):
    """A statement names or combines what DuckDB does not know. Where the text is the author's, `sql` translates it;
    anywhere else it is our bug."""


class ArrowView:
    """What the engine reads under a registered name: the Arrow table of the moment."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested: object = None) -> object:
        return self.table.__arrow_c_stream__(requested)

    def __arrow_c_schema__(self) -> object:
        return self.table.schema.__arrow_c_schema__()


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`memory_limit_bytes` None leaves DuckDB's own default; `temp_directory` None keeps it from spilling.

    `allowed_folder`: what the engine may read beside `allowed_paths`, as it begins. `read_only`: the state is looked
    at, which several processes can do at a time. `reader_ms`: there is a connection for reads beside the job, of which
    each is cut after so long.
    """

    state_path: str | None = None
    threads: int = 1
    memory_limit_bytes: int | None = None
    temp_directory: str | None = None
    allowed_paths: tuple[str, ...] = ()
    allowed_folder: str | None = None
    read_only: bool = False
    reader_ms: int | None = None


class Engine:
    """Two connections of one DuckDB, and a third one for reads of another thread where it is asked for. The only thing
    in the house that runs statements."""

    def __init__(self, settings: EngineSettings) -> None:
        #: Whether the state may hold tables of operators. In a new one there is nothing to look for, and the first look
        #: at the catalog costs as much as opening the engine.
        self.holds_tables = settings.state_path is not None and os.path.exists(settings.state_path)
        self.reader: Connection | None = None
        with _translated():
            # Told at once: otherwise it starts a thread for each core, and ends them again.
            self._root = duckdb.connect(":memory:", config={"threads": settings.threads})
            self._configure(settings)
        self._connect()

    def _connect(self) -> None:
        self.work = Connection(self._root.cursor())
        self.state = Connection(self._root.cursor())

    def _configure(self, settings: EngineSettings) -> None:
        run = self._root.execute
        run("SET GLOBAL TimeZone = 'UTC'")
        run("SET GLOBAL ieee_floating_point_ops = false")
        run("SET GLOBAL error_on_division_by_zero = false")
        # It takes an expression that stands in two TRYs out of both, where it raises.
        run("SET disabled_optimizers = 'common_subexpressions'")
        run("SET autoinstall_known_extensions = false")
        run("SET autoload_known_extensions = false")
        run("SET temp_directory = $path", {"path": settings.temp_directory or ""})
        if settings.memory_limit_bytes is not None:
            run("SET memory_limit = $limit", {"limit": f"{settings.memory_limit_bytes}B"})
        self._attach(settings.state_path, settings.read_only)
        if settings.reader_ms is not None:
            cursor = self._root.cursor()
            cursor.execute("SET SESSION max_execution_time = $limit", {"limit": settings.reader_ms})
            self.reader = Connection(cursor)
        run("SET allowed_paths = $paths", {"paths": list(settings.allowed_paths)})
        if settings.allowed_folder is not None:
            run("SET allowed_directories = $folders", {"folders": [settings.allowed_folder]})
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")

    def _attach(self, path: str | None, read_only: bool) -> None:
        target = exp.Literal.string(path or ":memory:").sql("duckdb")
        try:
            self._root.execute(f"ATTACH {target} AS {STATE_SCHEMA}{' (READ_ONLY)' if read_only else ''}")
        except duckdb.Error as error:
            raise _state_error(path or ":memory:", error) from error

    def works(self) -> bool:
        """Whether it still answers: an internal error of the engine ends all that it can do."""
        try:
            self._root.execute("SELECT 1").fetchall()
        except duckdb.Error:
            return False
        return True

    def renew(self) -> None:
        """Make it as a new one whose state is in memory, for a twentieth of what opening one costs: all that was made
        in it is gone, and its connections are new."""
        self.state.close()
        self.work.close()
        for statement in (
            f"USE {STATE_SCHEMA}",
            "DETACH memory",
            "ATTACH ':memory:' AS memory",
            "USE memory",
            f"DETACH {STATE_SCHEMA}",
            f"ATTACH ':memory:' AS {STATE_SCHEMA}",
        ):
            self._root.execute(statement)
        self.holds_tables = False
        self._connect()

    def close(self) -> None:
        """Close all connections; an open transaction is rolled back."""
        if self.reader is not None:
            self.reader.close()
        self.state.close()
        self.work.close()
        self._root.close()


class Connection:
    """One DuckDB connection whose errors are ours: `DataError` and the classes of `ferrisstreams.errors`."""

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw
        self._prepared = 0
        self._macros: set[str] = set()
        self._views: dict[str, ArrowView] = {}

    def execute(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> None:
        with _translated():
            self._raw.execute(*self._bound(statement, parameters))

    def rollback(self) -> None:
        """Take the open transaction back, and with it the macros that were defined in it."""
        self._macros.clear()
        self.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read inside is of one moment, and cannot be a change."""
        self.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            self.execute("ROLLBACK")

    def interrupt(self) -> None:
        """Cut what another thread runs here: it raises CutError there."""
        self._raw.interrupt()

    def rows(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        """All rows as Python values; for small results."""
        with _translated():
            return self._raw.execute(*self._bound(statement, parameters)).fetchall()

    def materialize(self, name: str, query: exp.Query, parameters: Mapping[str, object] | None = None) -> int:
        """Keep the rows of a query as a temporary table of this connection; how many there are."""
        return integer(self.rows(creation(name, query), parameters)[0][0])

    def table(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """All rows as an Arrow table."""
        with _translated():
            sql, bound = self._bound(statement, parameters)
            return self._raw.sql(sql, params=bound).to_arrow_table()

    def arrow(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """The same for small results: `table` plans its statement twice, and this copies its rows."""
        with _translated():
            return self._raw.execute(*self._bound(statement, parameters)).to_arrow_table()

    def prepare(self, statement: Rendered) -> Prepared:
        """Plan a statement once and run it often; its parameters are whole numbers or text.

        Only for what reads Arrow and files: a kept plan does not learn that a table has other rows than when it was
        made. What has a parameter or reads a file is planned again all the same: it saves that its text is parsed.
        Raises DataError where a constant of the statement fails.
        """
        self._prepared += 1
        prepared = Prepared(f"_prepared_{self._prepared}", statement.parameters)
        with _translated():
            self._define(statement)
            self._raw.execute(f"PREPARE {prepared.name} AS {statement.sql}")
        return prepared

    def release(self, prepared: Prepared) -> None:
        """Forget a prepared statement."""
        self._raw.execute(f"DEALLOCATE {prepared.name}")

    def show(self, name: str, table: pa.Table) -> None:
        """Let `name` give the rows of an Arrow table from now on. Statements over it keep their plans as long as its
        columns stay the same."""
        view = self._views.get(name)
        if view is None or view.table.schema != table.schema:
            view = self._views[name] = ArrowView(table)
            self._raw.register(name, view)
        view.table = table

    def register(self, name: str, table: pa.Table) -> None:
        """Make an Arrow table readable under `name` by this connection."""
        self._raw.register(name, table)

    def unregister(self, name: str) -> None:
        self._raw.unregister(name)

    def types(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> list[tuple[str, str]]:
        """Names and types of a statement's columns, without running it. Raises `BindError`."""
        if isinstance(statement, exp.Expression):
            short = with_short_constants(statement).copy()
            statement = _Parts(short).rendered(short)  # As it is written: it names columns.
        with _translated(BindError):
            sql, bound = self._bound(statement, parameters)
            described = self._raw.execute(f"DESCRIBE {sql}", bound).fetchall()
        return [(str(row[0]), str(row[1])) for row in described]

    def close(self) -> None:
        self._raw.close()

    def _bound(
        self, statement: Statement, parameters: Mapping[str, object] | None
    ) -> tuple[str, dict[str, object] | None]:
        """The text and those parameters that stand in it: DuckDB refuses others."""
        given = parameters or {}
        match statement:
            case Prepared():
                return _execution(statement, given), None
            case str():
                return statement, dict(given) or None
            case exp.Expression():
                statement = render(statement)
        self._define(statement)
        return statement.sql, {name: given[name] for name in statement.parameters} or None

    def _define(self, statement: Rendered) -> None:
        """Define the macros that a statement calls. Only then: all of them cost as much as opening the engine."""
        if self._macros.issuperset(statement.macros):
            return
        for name, definition in definitions(statement.macros):
            if name not in self._macros:
                self._raw.execute(definition)
                self._macros.add(name)


def creation(name: str, query: exp.Query) -> exp.Create:
    """The statement that keeps the rows of a query as a temporary table; it gives how many there are."""
    temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
    return exp.Create(this=exp.to_table(name), kind="TABLE", replace=True, expression=query, properties=temporary)


def render(tree: exp.Expression, copy: bool = True) -> Rendered:
    """The text of a tree, as the engine is to run it. Without `copy` the tree is not to be used any more."""
    made = tree.copy() if copy else tree
    parts = _Parts(made)
    if any(map(is_arrow, parts.calls)):
        made = with_exact_arrows(made, parts.calls)
        parts = _Parts(made)
    keep_in_place(parts.casts)
    return parts.rendered(made)


class _Parts:
    """What the rendering of a tree asks for, found in one walk: a walk costs a third of writing the text."""

    def __init__(self, tree: exp.Expression) -> None:
        self.parameters: dict[str, None] = {}
        self.calls: list[exp.Expr] = []
        self.casts: list[exp.Expr] = []
        for node in tree.walk():
            if isinstance(node, exp.Parameter | exp.Placeholder):
                self.parameters[node.name] = None
            elif isinstance(node, exp.Anonymous | exp.JSONExtract | exp.JSONExtractScalar):
                self.calls.append(node)
            elif isinstance(node, exp.Cast):
                self.casts.append(node)

    def rendered(self, tree: exp.Expression) -> Rendered:
        return Rendered(tree.sql("duckdb", copy=False), tuple(self.parameters), macros_among(self.calls))


def _execution(prepared: Prepared, parameters: Mapping[str, object]) -> str:
    """EXECUTE takes literals only, no parameters of its own. As text: a tree would cost a tenth of a small batch."""
    values = ", ".join(f"{name} := {_literal(parameters[name])}" for name in prepared.parameters)
    return f"EXECUTE {prepared.name}({values})" if values else f"EXECUTE {prepared.name}"


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int) else exp.convert(value).sql("duckdb")


def arrow_table(columns: Mapping[str, tuple[str, Sequence[object]]]) -> pa.Table:
    """An Arrow table of Python values; each column has Arrow's name of its type (`int64`, `string`, `binary`), or
    `timestamp_ms` (of milliseconds) or `texts` (a map of texts).

    Arrow is imported when it is first needed: a job between files whose rows are sound does without its 25 MB.
    """
    import pyarrow as pa

    kinds = {
        "int64": pa.int64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "timestamp_ms": pa.timestamp("ms"),
        "texts": pa.map_(pa.string(), pa.string()),
    }
    return pa.table({name: pa.array(values, kinds[kind]) for name, (kind, values) in columns.items()})


def text(statement: exp.Expression | str) -> str:
    """SQL text of a tree; a text stays as it is."""
    return statement if isinstance(statement, str) else statement.sql("duckdb")


def column(name: str, table: str | None = None) -> exp.Column:
    """A quoted column reference."""
    return exp.Column(this=exp.Identifier(this=name, quoted=True), table=exp.to_identifier(table))


@contextmanager
def _translated(either: type[DataError | BindError] = DataError) -> Iterator[None]:
    """`either` is what the errors become that both the statement's words and the values of rows can raise."""
    try:
        yield
    except UnicodeDecodeError as error:
        # The engine cuts a message within a character, and its own type is lost.
        raise either(error.object.decode("utf-8", "replace")) from error
    except _DATA_ERRORS as error:
        raise DataError(str(error)) from error
    except _EITHER_ERRORS as error:
        raise either(str(error)) from error
    except duckdb.IOException as error:
        _raise_out_of_memory(error)
        raise StateError(
            first_line(error), "E5005", "check the disk and the permissions of the state folder"
        ) from error
    except duckdb.InterruptException as error:
        raise CutError(first_line(error)) from error
    except _BIND_ERRORS as error:
        if _BINDS_WHILE_RUNNING.search(str(error)):
            raise DataError(str(error)) from error
        raise BindError(f"{type(error).__name__}: {error}") from error
    except duckdb.Error as error:
        _raise_out_of_memory(error)
        if isinstance(error, duckdb.InternalException) and either is BindError:
            raise BindError(f"the engine cannot read this: {first_line(error)}") from error
        if type(error) is duckdb.Error:  # A parameter that is not allowed: `list_reduce` of an empty list.
            raise either(str(error)) from error
        raise InternalError(f"{type(error).__name__}: {error}") from error


#: What DuckDB says where it gets no memory for a checkpoint (an IOException) or for its own work (a FatalException).
_NO_MEMORY = re.compile("failed to (allocate|pin)|could not allocate|bad.alloc", re.I)


def _raise_out_of_memory(error: duckdb.Error) -> None:
    if isinstance(error, duckdb.OutOfMemoryException) or _NO_MEMORY.search(str(error)):
        raise OutOfMemoryError(f"the engine has no memory left: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """A library's message without its second half (candidates, statement excerpt)."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _state_error(path: str, error: duckdb.Error) -> FerrisError:
    message = first_line(error)
    if "lock" in message.lower():
        return StateError(
            f"{path} is in use by another process: {message}",
            "E5001",
            "a job runs only once at a time: wait for the other process, or stop it",
        )
    return StateError(f"{path} cannot be opened: {message}", "E5005", "check the path and its permissions")
