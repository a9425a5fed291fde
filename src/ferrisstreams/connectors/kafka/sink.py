"""A Kafka topic as a sink."""

from __future__ import annotations

from collections.abc import Sequence
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

    Rows whose record is larger than the topic takes are given back by `write` as rejected.
    """

    exactly_once = False

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._mark: JsonValue = None

    def check(self) -> None:
        self._producer.check()

    def open(self, mark: JsonValue) -> None:
        self._producer.open()
        if mark is not None and not (isinstance(mark, dict) and "since" in mark):
            raise StateError(f"not a mark of a topic: {mark!r}", "E5003", "the state belongs to another kind of sink")
        ends = self._producer.ends(self._topic) if mark is None else {}
        self._mark = {"since": {str(number): end for number, end in ends.items()}} if mark is None else mark

    def write(self, payload: Payload) -> Sequence[Rejected]:
        values = payload.values
        if values is None:
            if not isinstance(payload.data, bytes):
                raise InternalError("a Kafka sink takes bytes")
            values = payload.data[:-1].split(b"\n") if payload.rows else []
        rejected: list[Rejected] = []
        most = self._producer.record_bytes_max(self._topic)
        if not _all_fit(payload, values, most):
            payload, values, rejected = self._without_oversized(payload, values, most)
        self._producer.write(self._topic, values, payload.keys, payload.headers)
        return rejected

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

    def _without_oversized(
        self, payload: Payload, values: Sequence[bytes | None], most: int
    ) -> tuple[Payload, Sequence[bytes | None], list[Rejected]]:
        sizes = [len(value or b"") for value in values]
        if payload.keys is not None:
            sizes = [size + len(key or b"") for size, key in zip(sizes, payload.keys, strict=True)]
        if payload.headers is not None:
            sizes = [size + _bytes(named) for size, named in zip(sizes, payload.headers, strict=True)]
        if max(sizes, default=0) <= most:
            return payload, values, []
        fitting = [row for row, size in enumerate(sizes) if size <= most]
        rejected = [
            Rejected(
                value=values[row],
                code="E2403",
                message=f"the record has {size} bytes, more than the {most} that the topic {self._topic} takes",
                stage="write",
                partition="",
                offset=-1,
                position="output row",
                key=payload.keys[row] if payload.keys is not None else None,
            )
            for row, size in enumerate(sizes)
            if size > most
        ]
        kept = replace(
            payload,
            rows=len(fitting),
            keys=[payload.keys[row] for row in fitting] if payload.keys is not None else None,
            headers=[payload.headers[row] for row in fitting] if payload.headers is not None else None,
        )
        return kept, [values[row] for row in fitting], rejected


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
