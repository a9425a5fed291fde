"""One engine and one memory file for all suites: making them is what costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.memory_file import MemoryFile


@dataclass(frozen=True)
class Bench:
    engine: Engine
    block: MemoryFile


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    block = MemoryFile()
    engine = Engine(EngineSettings(allowed_paths=(block.path,)))
    yield Bench(engine, block)
    engine.close()
    block.close()
