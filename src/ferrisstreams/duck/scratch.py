"""Engines that keep nothing: for questions such as the types of an expression, and for jobs whose state is in memory.

Each is opened for itself; or, within `keep_scratch`, one for many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.memory_file import MemoryFile

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


def memory_engine(memory_limit_bytes: int | None, allowed_paths: tuple[str, ...]) -> Engine:
    """An engine for a job whose state is in memory; within `keep_scratch` one that another such job has closed."""
    kept, folder = _kept.get(), MemoryFile.folder()
    if kept is None or folder is None or memory_limit_bytes is not None:
        return Engine(EngineSettings(memory_limit_bytes=memory_limit_bytes, allowed_paths=allowed_paths))
    return kept.free.pop() if kept.free else _LentEngine(folder, kept.free)


@contextmanager
def keep_scratch() -> Iterator[None]:
    """Open engines once for all that is asked and run within: opening one costs more than most answers."""
    if _kept.get() is not None:
        yield
        return
    kept = _Kept()
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        kept.close_all()


class _Kept:
    """An engine that is opened when it is first wanted, and again when it has failed."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self.free: list[_LentEngine] = []

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

    def close_all(self) -> None:
        self.close()
        for engine in self.free:
            engine.discard()


class _LentEngine(Engine):
    """One that is empty again when it is closed, and free for the next job. It may read all memory files of this
    process, because it does not know yet which ones it is to read."""

    def __init__(self, folder: str, free: list[_LentEngine]) -> None:
        super().__init__(EngineSettings(allowed_folder=folder))
        self._free = free

    def close(self) -> None:
        if self in self._free:
            return
        if self.works():
            self.renew()
            self._free.append(self)
        else:
            self.discard()

    def discard(self) -> None:
        super().close()
