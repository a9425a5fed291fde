"""A Kafka topic as a sink."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import cast

from ferrisstreams.batch import Headers, JsonValue, Payload, Rejected
from ferrisstreams.connectors.base import ClientFigures
from ferrisstreams.connectors.kafka.producer import KafkaProducer
from ferrisstreams.errors import InternalError, StateError


class KafkaSink:
    """Writes to one topic through the job's producer, whose transactions decide. By itself it takes nothing back.

    A mark is `{"since": {partition: offset}}`: the ends of the topic when the job began. What was written since can be
    counted, but nothing is cut off behind it.

    Rows that the topic would not take are given back by `write` as rejected: a record that is too large, one without a
    key where the topic is compacted.
    """

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._mark: JsonValue = None

    def check(self) -> None:
        self._producer.check()

    def open(self, mark: JsonValue) -> None:
        self._producer.open()
        if mark is not None and not (isinstance(mark, dict) and "since" in mark):
            raise StateError(
                f"not a mark of a topic: {mark!r}", "E5003", "the state was written with another kind of sink"
            )
        ends = self._producer.ends(self._topic) if mark is None else {}
        self._mark = {"since": {str(number): end for number, end in ends.items()}} if mark is None else mark

    def write(self, payload: Payload) -> Sequence[Rejected]:
        values = payload.values
        if values is None:
            if not isinstance(payload.data, bytes):
                raise InternalError("a Kafka sink takes bytes")
            values = payload.data[:-1].split(b"\n") if payload.rows else []
        refused = self._refused(payload, values)
        if refused:
            payload, values = _drop_failed(payload, values, refused)
        self._producer.write(self._topic, values, payload.keys, payload.headers)
        return list(refused.values())

    def flush(self) -> JsonValue:
        self._producer.flush()
        return self._mark

    def overdue(self) -> bool:
        return False

    def confirm(self, mark: JsonValue) -> None:
        """The transaction has published all."""

    def rollback(self, mark: JsonValue) -> None:
        self._producer.forget()

    def client(self) -> ClientFigures | None:
        return self._producer.figures()

    def close(self) -> None:
        self._producer.close()

    def discard(self) -> None:
        """Records of transactions are aborted; others cannot be taken back, and neither can their topic."""
        self._producer.discard(self._topic)

    def _refused(self, payload: Payload, values: Sequence[bytes | None]) -> dict[int, Rejected]:
        """The rows that the topic would not take, by their ordinal: one of them takes back all of a transaction."""
        rules = self._producer.rules(self._topic)
        refused: dict[int, Rejected] = {}
        if rules.compacted and (payload.keys is None or None in payload.keys):
            for row, value in enumerate(values):
                if payload.keys is None or payload.keys[row] is None:
                    why = f"{_shown(value)} has no key, and the topic {self._topic} is compacted: it takes none without"
                    refused[row] = _rejected(payload, values, row, "E2404", why)
        if _all_fit(payload, values, rules.surely_taken_bytes):
            return refused
        for row, size in enumerate(_sizes(payload, values)):
            if size > rules.surely_taken_bytes and row not in refused:
                key, headers = _message_extras(payload, row)
                excess = rules.excess(values[row], key, headers)
                if excess is not None:
                    refused[row] = _rejected(payload, values, row, "E2403", excess)
        return dict(sorted(refused.items()))


def _drop_failed(
    payload: Payload, values: Sequence[bytes | None], refused: Container[int]
) -> tuple[Payload, Sequence[bytes | None]]:
    kept = [row for row in range(len(values)) if row not in refused]
    left = replace(
        payload,
        rows=len(kept),
        keys=[payload.keys[row] for row in kept] if payload.keys is not None else None,
        headers=[payload.headers[row] for row in kept] if payload.headers is not None else None,
    )
    return left, [values[row] for row in kept]


def _rejected(payload: Payload, values: Sequence[bytes | None], row: int, code: str, message: str) -> Rejected:
    return Rejected(
        value=values[row],
        code=code,
        message=message,
        stage="write",
        partition="",
        offset=-1,
        position="output row",
        key=_message_extras(payload, row)[0],
    )


def _message_extras(payload: Payload, row: int) -> tuple[bytes | None, Headers]:
    """The key and the headers of a row."""
    key = payload.keys[row] if payload.keys is not None else None
    return key, payload.headers[row] if payload.headers is not None else ()


def _shown(value: bytes | None) -> str:
    """A row in words."""
    if value is None:
        return "the message that takes a row back"
    text = value[:_SHOWN_BYTES].decode("utf-8", "replace")
    return f"the row {text}{'…' if len(value) > _SHOWN_BYTES else ''}"


#: Of a row that is named in a message.
_SHOWN_BYTES = 200


def _sizes(payload: Payload, values: Sequence[bytes | None]) -> list[int]:
    """By row, the bytes of its value, key and headers."""
    sizes = [len(value or b"") for value in values]
    if payload.keys is not None:
        sizes = [size + len(key or b"") for size, key in zip(sizes, payload.keys, strict=True)]
    if payload.headers is not None:
        sizes = [size + _bytes(named) for size, named in zip(sizes, payload.headers, strict=True)]
    return sizes


def _all_fit(payload: Payload, values: Sequence[bytes | None], most: int) -> bool:
    """A first look that costs little: whether even the largest parts together make no record that is too large."""
    if payload.headers is not None or payload.values is not None:
        return False
    largest_key = max((len(key) for key in set(payload.keys) if key is not None), default=0) if payload.keys else 0
    return (
        len(payload.data) + largest_key <= most or max(map(len, cast("Sequence[bytes]", values))) + largest_key <= most
    )


def _bytes(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)
