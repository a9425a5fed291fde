"""What a test file says: its cases, each with streams, a query and what is expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ferrisstreams.testing.cells import Cell


@dataclass(frozen=True, slots=True)
class Table:
    """Column names and rows of cells; `lines` are the numbers of the rows' lines in the file."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RawRecords:
    """Records as they would stand in a file, byte for byte."""

    format: Literal["json", "csv"]
    records: tuple[bytes, ...]


Content: TypeAlias = Table | RawRecords


@dataclass(frozen=True, slots=True)
class StreamInput:
    """A stream: its declaration as written after `stream`, and what each partition holds."""

    name: str
    declaration: str
    partitions: Mapping[str, Content]


@dataclass(frozen=True, slots=True)
class Span:
    """Lines `first` to `last` of the file (from 1, both included)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """`output` and `ledger` are None where the file does not say. `error` is a code and pieces of the message."""

    output: Table | None = None
    ledger: Mapping[str, int] | None = None
    letters: Table | None = None
    error: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `batch_rows` is set when `schedule fixed N` says that only this cut makes the output, and
    `no_batch_answer` says why DuckDB's own answer cannot be compared.

    `spans` say where its sections stand, for rewriting; `last_line` is its last line.
    """

    path: Path
    line: int
    title: str
    streams: tuple[StreamInput, ...]
    settings: Mapping[str, str]
    query: str
    expected: Expectation
    batch_rows: int | None = None
    no_batch_answer: str | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)
    last_line: int = 0

    @property
    def name(self) -> str:
        return f"{self.path.stem}: {self.title}"
