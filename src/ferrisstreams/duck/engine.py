"""The one DuckDB instance of a job: two connections, closed in, and the translation of its errors.

*work* runs everything that user data can make fail, in autocommit. *state* holds the epoch's transaction and only
appends and merges finished results. See `docs/architecture.md`, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import duckdb
from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.duck.growth import with_short_constants
from ferrisstreams.duck.json_macros import MACROS as JSON_MACROS
from ferrisstreams.duck.json_macros import with_exact_arrows
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
    """A tree as text, made once for many runs; `parameters` are those that stand in the tree."""

    sql: str
    parameters: tuple[str, ...]


#: A text is one of our own constants, in which all parameters that come with it stand.
Statement: TypeAlias = exp.Expression | str | Rendered | Prepared

#: `total / count` of a decimal total as text with `scale` digits, rounded half away from zero. Whole numbers of the
#: total's smallest unit are divided, in two steps so that nothing exceeds 38 digits before the result itself does.
_DECIMAL_AVERAGE = (
    """CREATE MACRO ferris_digits(sign, digits, scale) AS
         sign || left(digits, length(digits) - scale) || '.' || right(digits, scale)""",
    # lpad cuts what is longer than it is told.
    """CREATE MACRO ferris_padded(digits, scale) AS
         lpad(digits, CAST(greatest(length(digits), scale + 1) AS INTEGER), '0')""",
    """CREATE MACRO ferris_divide(u, n, unit, scale) AS
         ferris_digits(CASE WHEN u < 0 THEN '-' ELSE '' END,
           ferris_padded(CAST(abs(u) // n * unit + (2 * (abs(u) % n) * unit + n) // (2 * n) AS VARCHAR), scale),
           scale)""",
    """CREATE MACRO ferris_average(t, n, decimals, scale) AS
         ferris_divide(CAST(replace(t, '.', '') AS HUGEINT), n,
           CAST(rpad('1', CAST(1 + scale - decimals AS INTEGER), '0') AS HUGEINT), scale)""",
    """CREATE MACRO ferris_decimal_average(total, n, scale) AS
         ferris_average(CAST(total AS VARCHAR), n,
           CASE WHEN strpos(CAST(total AS VARCHAR), '.') = 0 THEN 0
                ELSE length(CAST(total AS VARCHAR)) - strpos(CAST(total AS VARCHAR), '.') END, scale)""",
)

#: The sum of whole numbers or decimals of one scale, given as texts, as a text: of any size.
_EXACT_SUM = (
    """CREATE MACRO ferris_decimals(number) AS
         CASE WHEN strpos(number, '.') = 0 THEN 0 ELSE length(number) - strpos(number, '.') END""",
    """CREATE MACRO ferris_pointed(digits, decimals) AS
         CASE WHEN decimals = 0 THEN digits
              ELSE ferris_digits(CASE WHEN starts_with(digits, '-') THEN '-' ELSE '' END,
                     ferris_padded(ltrim(digits, '-'), decimals), decimals) END""",
    """CREATE MACRO ferris_exact_sum(number) AS
         ferris_pointed(
           CAST(sum(CAST(replace(number, '.', '') AS BIGNUM)) AS VARCHAR), max(ferris_decimals(number)))""",
)

#: Whether a text is a number without a fraction, as `1.0` and `1.5e1` are.
_IS_WHOLE = (
    """CREATE MACRO ferris_has_no_fraction(whole, fraction, exponent) AS
         CASE WHEN trim(whole || fraction, '0') = '' THEN true
              WHEN fraction <> '' THEN length(fraction) <= exponent
              ELSE length(whole) - length(rtrim(whole, '0')) + exponent >= 0 END""",
    r"""CREATE MACRO ferris_is_whole(t) AS
         regexp_full_match(t, '\s*[+-]?[0-9]+(\.0*)?\s*')
         OR (regexp_full_match(t, '\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,6}\s*')
             AND ferris_has_no_fraction(
               regexp_extract(t, '([0-9]*)\.?[0-9]*[eE]', 1), rtrim(regexp_extract(t, '\.([0-9]*)', 1), '0'),
               TRY_CAST(regexp_extract(t, '[eE]([+-]?[0-9]+)', 1) AS INTEGER)))""",
)

#: The schema (an attached database) that holds the job's durable tables.
STATE_SCHEMA = "state"

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
_BINDS_WHILE_RUNNING = re.compile("Histogram bin (list|entry) cannot be NULL")


class DataError(Exception):
    """A statement failed because of the data that it read. Never reaches a user: the caller diagnoses which rows."""


class BindError(InternalError):
    """A statement names or combines what DuckDB does not know. Where the text is the author's, `sql` translates it;
    anywhere else it is our bug."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`memory_limit_bytes` None leaves DuckDB's own default; `temp_directory` None keeps it from spilling."""

    state_path: str | None = None
    threads: int = 1
    memory_limit_bytes: int | None = None
    temp_directory: str | None = None
    allowed_paths: tuple[str, ...] = ()


class Engine:
    """Two connections of one DuckDB. The only thing in the house that runs statements."""

    def __init__(self, settings: EngineSettings) -> None:
        with _translated():
            self._root = duckdb.connect(":memory:")
            self._configure(settings)
            for macro in (*_DECIMAL_AVERAGE, *_EXACT_SUM, *_IS_WHOLE, *JSON_MACROS):
                self._root.execute(macro)
        self.work = Connection(self._root)
        self.state = Connection(self._root.cursor())

    def _configure(self, settings: EngineSettings) -> None:
        run = self._root.execute
        run("SET TimeZone = 'UTC'")
        run("SET threads = $threads", {"threads": settings.threads})
        run("SET ieee_floating_point_ops = false")
        run("SET error_on_division_by_zero = false")
        # It takes an expression that stands in two TRYs out of both, where it raises.
        run("SET disabled_optimizers = 'common_subexpressions'")
        run("SET autoinstall_known_extensions = false")
        run("SET autoload_known_extensions = false")
        run("SET temp_directory = $path", {"path": settings.temp_directory or ""})
        if settings.memory_limit_bytes is not None:
            run("SET memory_limit = $limit", {"limit": f"{settings.memory_limit_bytes}B"})
        self._attach(settings.state_path)
        run("SET allowed_paths = $paths", {"paths": list(settings.allowed_paths)})
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")

    def _attach(self, path: str | None) -> None:
        target = exp.Literal.string(path or ":memory:").sql("duckdb")
        try:
            self._root.execute(f"ATTACH {target} AS {STATE_SCHEMA}")
        except duckdb.Error as error:
            raise _state_error(path or ":memory:", error) from error

    def close(self) -> None:
        """Close both connections; an open transaction is rolled back."""
        self.state.close()
        self.work.close()


class Connection:
    """One DuckDB connection whose errors are ours: `DataError` and the classes of `ferrisstreams.errors`."""

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw
        self._prepared = 0

    def execute(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> None:
        with _translated():
            self._raw.execute(*_bound(statement, parameters))

    def rows(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        """All rows as Python values; for small results."""
        with _translated():
            return self._raw.execute(*_bound(statement, parameters)).fetchall()

    def materialize(self, name: str, query: exp.Query, parameters: Mapping[str, object] | None = None) -> int:
        """Keep the rows of a query as a temporary table of this connection; how many there are."""
        temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
        create = exp.Create(this=exp.to_table(name), kind="TABLE", replace=True, expression=query, properties=temporary)
        return integer(self.rows(create, parameters)[0][0])

    def table(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """All rows as an Arrow table."""
        with _translated():
            sql, bound = _bound(statement, parameters)
            return self._raw.sql(sql, params=bound).to_arrow_table()

    def prepare(self, statement: Rendered) -> Prepared:
        """Plan a statement once and run it often; its parameters are whole numbers or text.

        Only for what reads files: a kept plan does not learn that a table has other rows than when it was made.
        Raises DataError where a constant of the statement fails.
        """
        self._prepared += 1
        prepared = Prepared(f"_prepared_{self._prepared}", statement.parameters)
        with _translated():
            self._raw.execute(f"PREPARE {prepared.name} AS {statement.sql}")
        return prepared

    def release(self, prepared: Prepared) -> None:
        """Forget a prepared statement."""
        self._raw.execute(f"DEALLOCATE {prepared.name}")

    def register(self, name: str, table: pa.Table) -> None:
        """Make an Arrow table readable under `name` by this connection."""
        self._raw.register(name, table)

    def unregister(self, name: str) -> None:
        self._raw.unregister(name)

    def types(self, statement: Statement, parameters: Mapping[str, object] | None = None) -> list[tuple[str, str]]:
        """Names and types of a statement's columns, without running it. Raises `BindError`."""
        if isinstance(statement, exp.Expression):
            statement = render(with_short_constants(statement))
        with _translated(BindError):
            sql, bound = _bound(statement, parameters)
            described = self._raw.execute(f"DESCRIBE {sql}", bound).fetchall()
        return [(str(row[0]), str(row[1])) for row in described]

    def close(self) -> None:
        self._raw.close()


def _bound(statement: Statement, parameters: Mapping[str, object] | None) -> tuple[str, dict[str, object] | None]:
    """The text and those parameters that stand in it: DuckDB refuses others."""
    given = parameters or {}
    match statement:
        case Prepared():
            return _execution(statement, given), None
        case str():
            return statement, dict(given) or None
        case exp.Expression():
            statement = render(statement)
    return statement.sql, {name: given[name] for name in statement.parameters} or None


def render(tree: exp.Expression, copy: bool = True) -> Rendered:
    """The text of a tree. Without `copy` the tree is not to be used any more."""
    names = dict.fromkeys(parameter.name for parameter in tree.find_all(exp.Parameter, exp.Placeholder))
    exact = with_exact_arrows(tree.copy() if copy else tree)
    return Rendered(exact.sql("duckdb", copy=False), tuple(names))


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
    return exp.column(exp.to_identifier(name, quoted=True), table=table)


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
    except _BIND_ERRORS as error:
        if _BINDS_WHILE_RUNNING.search(str(error)):
            raise DataError(str(error)) from error
        raise BindError(f"{type(error).__name__}: {error}") from error
    except duckdb.Error as error:
        _raise_out_of_memory(error)
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
