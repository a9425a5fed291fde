"""The records of one fetch as the client gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message
from confluent_kafka._types import HeadersType

from ferrisstreams.batch import Headers, RawRecord


class KafkaMessages:
    """Messages of one partition, in order, none of them an error. The values are taken at once, the rest on demand."""

    def __init__(self, messages: Sequence[Message], value_bytes_max: int) -> None:
        self._messages = messages
        self.value_bytes_max = value_bytes_max
        self.values: Sequence[bytes | None] = list(map(Message.value, messages))
        self.joined = self._join()

    def _join(self) -> bytes | None:
        values = cast("Sequence[bytes]", self.values)
        try:
            joined = b"\n".join([*values, b""])
        except TypeError:  # A value is None: the joining finds it for nothing.
            return None
        if len(joined) > self.value_bytes_max and max(map(len, values)) > self.value_bytes_max:
            return None
        return joined

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last offset."""
        first, last = self._messages[0].offset(), self._messages[-1].offset()
        assert first is not None
        assert last is not None
        return first, last

    def record(self, row: int) -> RawRecord:
        message = self._messages[row]
        offset = message.offset()
        assert offset is not None
        return RawRecord(
            value=self.values[row],
            offset=offset,
            position=f"{message.topic()}-{message.partition()} offset {offset}",
            key=message.key(),
            headers=header_pairs(message.headers()),
            timestamp_ms=_time(message.timestamp()),
        )

    def has_keys(self) -> bool:
        return any(key is not None for key in map(Message.key, self._messages))

    def has_headers(self) -> bool:
        return any(map(Message.headers, self._messages))

    def keys(self) -> list[bytes | None]:
        return [message.key() for message in self._messages]

    def offsets(self) -> list[int]:
        return [offset for message in self._messages if (offset := message.offset()) is not None]

    def timestamps_ms(self) -> list[int | None]:
        return [_time(message.timestamp()) for message in self._messages]

    def headers(self) -> list[Headers]:
        return [header_pairs(message.headers()) for message in self._messages]


def header_pairs(headers: HeadersType | None) -> Headers:
    """Headers as the client gives them, in order."""
    if headers is None:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in pairs)


def _time(timestamp: tuple[int, int]) -> int | None:
    kind, time_ms = timestamp
    return None if kind == TIMESTAMP_NOT_AVAILABLE else time_ms
