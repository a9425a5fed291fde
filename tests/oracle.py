"""DuckDB by itself, which answers what our engine is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import duckdb

#: Those of our engine.
_SETTINGS = (
    "threads = 1",
    "ieee_floating_point_ops = false",
    "error_on_division_by_zero = false",
    "TimeZone = 'UTC'",
)


@contextmanager
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database. All are of one DuckDB: opening one costs more than most answers."""
    connection = _opened().cursor()
    connection.execute("ATTACH ':memory:' AS _empty")
    try:
        connection.execute("USE _empty")
        yield connection
    finally:
        connection.execute("USE memory")
        connection.execute("DETACH _empty")
        connection.close()


@cache
def _opened() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for setting in _SETTINGS:
        connection.execute(f"SET GLOBAL {setting}")
    return connection
