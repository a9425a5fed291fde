"""What travels between source, engine and sink: limits, fetches, rejected rows and payloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ferrisstreams.errors import CODES
from ferrisstreams.memory_file import MemoryFile

if TYPE_CHECKING:
    import pyarrow as pa

#: A position is always the next to read. It is a JSON value, because it is kept with the state.
JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Positions: TypeAlias = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Limit:
    """What one poll may return: at most `rows` records and about `bytes` bytes, after waiting at most `wait_ms`.

    A source that has something gives it at once; with `fill` an endless one waits for more until the limit is reached
    or the wait is over.
    """

    rows: int
    bytes: int
    wait_ms: float = 0.0
    fill: bool = False


Stage: TypeAlias = Literal["decode", "evaluate", "late", "encode", "write"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that failed (or is late): a value, not an exception.

    `value` is the record's original bytes (for an output row: the row as JSON), `position` where it stands in words
    (`trades.jsonl byte 1024`), `row` its ordinal in the fetch (-1 for an output row), `partition` and `offset` where to
    read it again.
    """

    value: bytes
    code: str
    message: str
    stage: Stage
    partition: str
    offset: int
    position: str
    row: int = -1
    expression: str = ""
    truncated: bool = False

    def __post_init__(self) -> None:
        assert self.code in CODES


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as fetched: its bytes, its byte offset (or row number) and its position in words."""

    value: bytes
    offset: int
    position: str


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` to `stop` (not included) of a generated source."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Records of one partition, as they came.

    `records` holds whole records (a memory file of whole lines, an Arrow table, or a range to generate). `origin` names
    the place in words (`trades.jsonl`), `offset` is the place of the first record there (bytes for files, else rows).
    `position` is the partition's position after all of them: finishing this fetch lets us commit it. `oversized` are
    records that the source refused to load because they pass the size limit, and `caught_up` says that nothing more was
    there at this moment. `header` is the header line of a CSV file, without its newline.
    """

    partition: str
    records: MemoryFile | pa.Table | RowRange
    origin: str
    offset: int
    position: JsonValue
    caught_up: bool = False
    oversized: tuple[Rejected, ...] = ()
    header: bytes | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """Encoded output: `rows` rows as bytes (each ending with its terminator), or as an Arrow table for memory sinks."""

    data: bytes | pa.Table
    rows: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Which rows of a fetch failed. `relation` is a name that the engine can read the good rows from."""

    relation: str
    rejected: Sequence[Rejected]
