"""FerrisStreams: streaming SQL for Python, over files, exactly once, with a ledger that accounts for every record.

import ferrisstreams as fs

for batch in fs.query("SELECT symbol, count(*) AS n FROM trades GROUP BY symbol EMIT FINAL", trades=rows):
    print(batch.to_pylist())

A row that fails raises, unless the query's WITH (or that of a job over a bounded source) names a `failure_strategy`.
"""

from __future__ import annotations

#: Not from `typing`, which takes a while: until the command has begun, Ctrl-C shows a traceback.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ferrisstreams.session.application import Application, Result, RunOptions
    from ferrisstreams.session.query import QueryResult, query

__all__ = ["Application", "QueryResult", "Result", "RunOptions", "query"]

_HOMES = {
    **dict.fromkeys(("Application", "Result", "RunOptions"), "application"),
    **dict.fromkeys(("QueryResult", "query"), "query"),
}


def __getattr__(name: str) -> object:
    """The library's names, imported when they are first used: the command must start before the engine is loaded."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ferrisstreams' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ferrisstreams.session.{_HOMES[name]}"), name)
