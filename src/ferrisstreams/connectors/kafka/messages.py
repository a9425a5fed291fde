"""The records of one fetch as the client gives them, kept as columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TypeVar, cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message
from confluent_kafka._types import HeadersType

from ferrisstreams.batch import Headers, RawRecord

#: The time of a record that has none, as in the protocol.
_NO_TIME = -1


Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some messages of one partition, in order, none of them an error.

    The client's objects are let go as soon as they are read: a few thousand of them stay in the processor's cache, a
    batch of them does not, and costs three times as much. `joined` are the values with a newline after each, and None
    when a value is null; `held` are the values where `joined` cannot be taken apart again. `keys` and `headers` are
    None where no message has one, `times_ms` where none were asked for.
    """

    offsets: Sequence[int]
    joined: bytes | None
    held: Sequence[bytes | None] | None
    keys: Sequence[bytes | None] | None
    headers: Sequence[HeadersType | None] | None
    times_ms: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def values(self) -> Sequence[bytes | None]:
        """The value of every message."""
        if self.held is not None:
            return self.held
        assert self.joined is not None
        return self.joined[:-1].split(b"\n")

    def valued(self) -> Chunk:
        """The messages that have a value."""
        if self.joined is not None:
            return self
        kept = [place for place, value in enumerate(self.values) if value is not None]
        joined, held = _joined([self.values[place] for place in kept])
        return Chunk(
            [self.offsets[place] for place in kept],
            joined,
            held,
            _some([self.keys[place] for place in kept]) if self.keys is not None else None,
            _some([self.headers[place] for place in kept]) if self.headers is not None else None,
            [self.times_ms[place] for place in kept] if self.times_ms is not None else None,
        )

    def filled(self, stand_in: bytes) -> Chunk:
        """The messages with something in the place of a value, where they have none."""
        if self.joined is not None:
            return self
        joined, held = _joined([stand_in if value is None else value for value in self.values])
        return replace(self, joined=joined, held=held)

    def cut(self, start: int, stop: int) -> Chunk:
        """The messages from the ordinal `start` to `stop` (not included)."""
        if (start, stop) == (0, len(self)):
            return self
        joined, held = _joined(self.values[start:stop])
        part = slice(start, stop)
        return Chunk(
            self.offsets[part],
            joined,
            held,
            _some(self.keys[part]) if self.keys is not None else None,
            _some(self.headers[part]) if self.headers is not None else None,
            self.times_ms[part] if self.times_ms is not None else None,
        )


def chunk_of(messages: Sequence[Message], times: bool) -> Chunk:
    """Messages of one partition, at least one, as columns; with `times`, their timestamps too."""
    joined, held = _joined(list(map(Message.value, messages)))
    return Chunk(
        _offsets(messages),
        joined,
        held,
        _some(list(map(Message.key, messages))),
        _some(list(map(Message.headers, messages))),
        array("q", [_kept(message.timestamp()) for message in messages]) if times else None,
    )


def _some(given: Sequence[Given | None]) -> Sequence[Given | None] | None:
    """What was given; None where nothing was."""
    return given if given.count(None) < len(given) else None


def _missing_values(chunks: Sequence[Chunk]) -> Iterator[int]:
    """The ordinals of messages that have none."""
    base = 0
    for chunk in chunks:
        if chunk.joined is None:
            yield from (base + place for place, value in enumerate(chunk.values) if value is None)
        base += len(chunk)


def _offsets(messages: Sequence[Message]) -> Sequence[int]:
    first, last = messages[0].offset(), messages[-1].offset()
    assert first is not None
    assert last is not None
    if last - first + 1 == len(messages):
        return range(first, last + 1)
    return array("q", cast("Iterable[int]", map(Message.offset, messages)))


def _joined(values: Sequence[bytes | None]) -> tuple[bytes | None, Sequence[bytes | None] | None]:
    """The values in one, and those values themselves when they cannot be had from it."""
    try:
        joined = b"\n".join([*cast("Sequence[bytes]", values), b""])
    except TypeError:  # A value is None: the joining finds it for nothing.
        return None, values
    return joined, values if joined.count(b"\n") != len(values) else None


class KafkaMessages:
    """Messages of the partition `name` (`topic-0`), in order. Those without a value are left out, and `tombstones` is
    how many there are; or `stand_in` is in the place of their value. What is not `joined` is made on demand."""

    def __init__(self, name: str, chunks: Sequence[Chunk], value_bytes_max: int, stand_in: bytes | None = None) -> None:
        self._name = name
        self.gone = frozenset(() if stand_in is None else _missing_values(chunks))
        given = (chunk.valued() if stand_in is None else chunk.filled(stand_in) for chunk in chunks)
        self._chunks = [chunk for chunk in given if len(chunk)]
        self._count = sum(map(len, self._chunks))
        self.tombstones = sum(map(len, chunks)) - self._count
        self.value_bytes_max = value_bytes_max

    def __len__(self) -> int:
        return self._count

    @cached_property
    def joined(self) -> bytes | None:
        joined = b"".join(chunk.joined for chunk in self._chunks if chunk.joined is not None)
        too_long = (len(value) > self.value_bytes_max for value in self.values)
        return None if len(joined) > self.value_bytes_max and any(too_long) else joined

    @property
    def single_lines(self) -> bool:
        return all(chunk.held is None for chunk in self._chunks) and self.joined is not None

    @cached_property
    def values(self) -> Sequence[bytes]:
        return list(chain.from_iterable(cast("Sequence[bytes]", chunk.values) for chunk in self._chunks))

    def record(self, row: int) -> RawRecord:
        chunk, place = self._place(row)
        offset = chunk.offsets[place]
        return RawRecord(
            value=None if row in self.gone else self.values[row],
            offset=offset,
            position=f"{self._name} offset {offset}",
            key=chunk.keys[place] if chunk.keys is not None else None,
            headers=header_pairs(chunk.headers[place]) if chunk.headers is not None else (),
            timestamp_ms=_time(chunk.times_ms[place]) if chunk.times_ms is not None else None,
        )

    def has_keys(self) -> bool:
        return any(chunk.keys is not None for chunk in self._chunks)

    def has_headers(self) -> bool:
        return any(chunk.headers is not None for chunk in self._chunks)

    def keys(self) -> list[bytes | None]:
        found = (chunk.keys if chunk.keys is not None else [None] * len(chunk) for chunk in self._chunks)
        return list(chain.from_iterable(found))

    def offsets(self) -> list[int]:
        return list(chain.from_iterable(chunk.offsets for chunk in self._chunks))

    def timestamps_ms(self) -> list[int | None]:
        assert all(chunk.times_ms is not None for chunk in self._chunks), "ask the source for timestamps"
        return [_time(at) for chunk in self._chunks for at in chunk.times_ms or ()]

    def headers(self) -> list[Headers]:
        found = (chunk.headers if chunk.headers is not None else [None] * len(chunk) for chunk in self._chunks)
        return [header_pairs(headers) for headers in chain.from_iterable(found)]

    def _place(self, row: int) -> tuple[Chunk, int]:
        for chunk in self._chunks:
            if row < len(chunk):
                return chunk, row
            row -= len(chunk)
        raise IndexError(row)


def header_pairs(headers: HeadersType | None) -> Headers:
    """Headers as the client gives them, in order."""
    if headers is None:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in pairs)


def _kept(timestamp: tuple[int, int]) -> int:
    kind, time_ms = timestamp
    return _NO_TIME if kind == TIMESTAMP_NOT_AVAILABLE else time_ms


def _time(at: int) -> int | None:
    return None if at == _NO_TIME else at
