"""One engine and one memory file for all tests of formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlglot import exp

from ferrisstreams.batch import Fetch, Rejected
from ferrisstreams.duck.engine import DataError, Engine, EngineSettings
from ferrisstreams.formats.base import ROW, Decoder
from ferrisstreams.formats.registry import decoder
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Column, Schema


def schema(**types: str) -> Schema:
    """Columns by name; a type may end with NOT NULL."""
    end = " NOT NULL"
    return Schema(tuple(Column(n, kind.removesuffix(end), not kind.endswith(end)) for n, kind in types.items()))


@dataclass(frozen=True)
class Bench:
    engine: Engine
    block: MemoryFile

    def fetch(self, data: bytes, header: bytes | None = None) -> Fetch:
        self.block.write(data)
        return Fetch("p", self.block, "file", 0, 0, caught_up=True, header=header)

    def decoder(self, columns: Schema, settings: DecodeSettings) -> Decoder:
        return decoder(self.engine, columns, settings)

    def decode(self, reader: Decoder, fetch: Fetch) -> tuple[list[dict[str, object]], list[Rejected]]:
        """The good rows without their ordinals, and the others, as a job gets them."""
        try:
            found, rejected = self.engine.work.table(reader.scan(fetch)), []
        except DataError:
            diagnosis = reader.diagnose(fetch)
            found = self.engine.work.table(exp.select("*").from_(diagnosis.relation))
            rejected = list(diagnosis.rejected)
        return found.drop_columns(ROW).to_pylist(), rejected


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    block = MemoryFile()
    engine = Engine(EngineSettings(allowed_paths=(block.path,)))
    yield Bench(engine, block)
    engine.close()
    block.close()
