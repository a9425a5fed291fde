"""Source, sink and transactions whose calls someone watches: the guards of a job, a test that makes them fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias, TypeVar, cast

from ferrisstreams.connectors.base import Sink, Source, Transactions

#: What is entered around a call, by the call's name.
Watch: TypeAlias = Callable[[str], AbstractContextManager[None]]

#: The calls that may fail because of the system outside. The others only tell what is known, or give things back.
_WATCHED = frozenset(
    {
        *("check", "open", "poll", "commit"),  # of a source
        *("check", "open", "write", "flush", "confirm", "rollback"),  # of a sink
        *("committed", "forget_committed", "init", "begin", "send", "commit", "abort"),  # of transactions
    }
)

_Part = TypeVar("_Part", Source, Sink, Transactions)


def watched(part: _Part, watch: Watch) -> _Part:
    """A source, a sink or transactions as they are, but for the watch around each call that may fail."""
    return cast("_Part", _Watched(part, watch))


class _Watched:
    def __init__(self, part: object, watch: Watch) -> None:
        self._part = part
        self._watch = watch

    def __getattr__(self, name: str) -> object:
        found = getattr(self._part, name)
        if name not in _WATCHED:
            return found

        def call(*arguments: object) -> object:
            with self._watch(name):
                return found(*arguments)

        return call
