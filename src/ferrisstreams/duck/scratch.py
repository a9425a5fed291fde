"""An engine for questions that keep nothing, such as the types of an expression: one each, or one for many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ferrisstreams.duck.engine import Engine, EngineSettings

#: What is kept by the `keep_scratch` around the caller; of another thread it is not.
_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def scratch_engine() -> Iterator[Engine]:
    """An engine without state; within `keep_scratch` the same as before."""
    kept = _kept.get()
    if kept is not None:
        yield kept.engine()
        return
    engine = Engine(EngineSettings())
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def keep_scratch() -> Iterator[None]:
    """Open the engine of `scratch_engine` once for all that is asked within: opening costs more than most answers."""
    if _kept.get() is not None:
        yield
        return
    kept = _Kept()
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        kept.close()


class _Kept:
    """An engine that is opened when it is first wanted, and again when it has failed."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        if self._engine is not None and not self._engine.works():
            self.close()
        if self._engine is None:
            self._engine = Engine(EngineSettings())
        return self._engine

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
