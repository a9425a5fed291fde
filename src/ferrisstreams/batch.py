"""What travels between source, engine and sink: limits, fetches, rejected rows and payloads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar

from ferrisstreams.errors import CODES, InternalError
from ferrisstreams.memory_file import MemoryFile

if TYPE_CHECKING:
    import pyarrow as pa

#: A position is always the next to read. It is a JSON value, because it is kept with the state.
JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Positions: TypeAlias = Mapping[str, JsonValue]


def mapping(value: JsonValue) -> dict[str, JsonValue]:
    """A value of the saved state that is a mapping. Raises InternalError."""
    if not isinstance(value, dict):
        raise InternalError(f"{value!r} was found where a mapping belongs")
    return value


def integer(value: object) -> int:
    """A value of the saved state, or of a row of the engine, that is a whole number. Raises InternalError."""
    if not isinstance(value, int):
        raise InternalError(f"{value!r} was found where a whole number belongs")
    return value


_Value = TypeVar("_Value")


def partition_key(source: str, partition: str) -> str:
    """The name of a partition among those of several sources; `source` is empty where a job has one."""
    return f"{_escaped(source)}/{partition}" if source else partition


def is_partition_of(source: str, key: str) -> bool:
    """Whether a partition among those of several sources is one of `source`."""
    return key.startswith(partition_key(source, ""))


def partitions_of(source: str, by_key: Mapping[str, _Value]) -> dict[str, _Value]:
    """The part of one source, under the names that it has for its partitions."""
    if not source:
        return dict(by_key)
    start = len(partition_key(source, ""))
    return {key[start:]: value for key, value in by_key.items() if is_partition_of(source, key)}


def _escaped(source: str) -> str:
    return source.replace("%", "%25").replace("/", "%2F")


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


#: Headers of a message, in order; a name may occur twice.
Headers: TypeAlias = "tuple[tuple[str, bytes | None], ...]"

Stage: TypeAlias = Literal["decode", "evaluate", "late", "derive", "encode", "write"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that failed (or is late): a value, not an exception.

    `value` is the record's original bytes (for an output row: the row as JSON; None: a message without a value),
    `position` where it stands in words (`trades.jsonl byte 1024`), `row` its ordinal in the fetch (-1 for an output
    row), `partition` and `offset` where to read it again. Of a message also its key, headers and timestamp.
    `attempts` says how often it was tried, `first_failed_us` when it first failed (wall time; None: just now). `source`
    is the name of its source, where a job has several.
    """

    value: bytes | None
    code: str
    message: str
    stage: Stage
    partition: str
    offset: int
    position: str
    row: int = -1
    expression: str = ""
    truncated: bool = False
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None
    attempts: int = 1
    first_failed_us: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        assert self.code in CODES


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as fetched: its bytes, its byte offset (or row number, or offset) and its position in words.

    Of a message also its key, headers and timestamp (None where it has none); its value is None where it has none.
    """

    value: bytes | None
    offset: int
    position: str
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None


class Messages(Protocol):
    """The records of a fetch of messages one by one, by their ordinal. Valid as long as the fetch.

    Those without a value are among them only where the source was given what stands for it.

    What is not `joined` is made when it is asked for: most batches do without.
    """

    def __len__(self) -> int:
        """How many there are."""

    @property
    def values(self) -> Sequence[bytes]:
        """The value of every message, or what stands for it."""

    @property
    def joined(self) -> bytes | None:
        """The values with a newline after each, as the memory file holds them; None when a value is larger than
        `value_bytes_max`: then the memory file is empty."""

    @property
    def single_lines(self) -> bool:
        """Whether `joined` is there and has one line for each value: no value holds a newline."""

    @property
    def gone(self) -> Collection[int]:
        """The ordinals of those without a value."""

    @property
    def value_bytes_max(self) -> int:
        """A larger value is a row error."""

    def record(self, row: int) -> RawRecord:
        """All there is of one message."""

    def has_keys(self) -> bool:
        """Whether any message has a key."""

    def has_headers(self) -> bool:
        """Whether any message has a header."""

    def keys(self) -> list[bytes | None]:
        """The key of every message."""

    def offsets(self) -> list[int]:
        """The offset of every message."""

    def timestamps_ms(self) -> list[int | None]:
        """The record time of every message, in milliseconds since 1970 UTC."""

    def headers(self) -> list[Headers]:
        """The headers of every message."""


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
    there at this moment; with `more`, other partitions have records that wait in the source. `drained`: more may be on
    its way, but what was in the source's hands when it last said so has been given. `header` is the header line of a
    CSV file, without its newline. `messages` are the single records, where they are messages: then a value is
    one record, whatever newlines it holds. `tombstones` counts those without a value that are not among them.
    `source` is the name of the source, where a job has several.
    """

    partition: str
    records: MemoryFile | pa.Table | RowRange
    origin: str
    offset: int
    position: JsonValue
    caught_up: bool = False
    oversized: tuple[Rejected, ...] = ()
    header: bytes | None = None
    more: bool = False
    messages: Messages | None = None
    tombstones: int = 0
    drained: bool = False
    source: str = ""

    @property
    def key(self) -> str:
        """The partition among those of all sources of a job."""
        return partition_key(self.source, self.partition)

    @property
    def is_empty(self) -> bool:
        """Whether it brings a position alone, or records without a value."""
        return self.messages is not None and not len(self.messages)

    @property
    def nothing_waits(self) -> bool:
        """Whether the source had nothing more at all."""
        return self.caught_up and not self.more


@dataclass(frozen=True, slots=True)
class Payload:
    """Encoded output: `rows` rows as bytes (each ending with its terminator), or as an Arrow table for memory sinks.

    For a sink of messages: `values` is one a row instead of `data`, which is empty then; `keys` and `headers` likewise,
    None when no row has one.
    """

    data: bytes | pa.Table
    rows: int
    values: Sequence[bytes | None] | None = None
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Headers] | None = None

    def cut(self, rows: int | None, quote: bytes) -> Payload:
        """The first rows; None: all. Between two `quote` of CSV a line end is part of a field."""
        if rows is None or rows >= self.rows:
            return self
        if not isinstance(self.data, bytes):
            return replace(self, data=self.data.slice(0, rows), rows=rows)
        plain = self.data.count(b"\n") == self.rows
        end = taken = 0
        while taken < rows:
            end = self.data.index(b"\n", end) + 1
            taken += plain or self.data.count(quote, 0, end) % 2 == 0
        return replace(self, data=self.data[:end], rows=rows)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Which rows of a fetch failed. `relation` is a name that the engine can read the good rows from."""

    relation: str
    rejected: Sequence[Rejected]
