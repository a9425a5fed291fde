"""What a client reports of itself every now and then: its queues, round trips and errors, out of librdkafka's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ferrisstreams.batch import JsonValue
from ferrisstreams.connectors.base import ClientFigures

_Object: TypeAlias = "Mapping[str, JsonValue]"

#: librdkafka counts time in microseconds.
_US = 1000.0


class Statistics:
    """The last report of a client. A report comes only in calls of the client (`statistics.interval.ms`), and is read
    when somebody asks."""

    def __init__(self) -> None:
        self._report = ""
        self._read = ""
        self._figures: ClientFigures | None = None

    def take(self, report: str) -> None:
        """The client's `stats_cb`."""
        self._report = report

    def figures(self) -> ClientFigures | None:
        """None before the first report."""
        if self._report != self._read:
            self._figures, self._read = read_report(self._report), self._report
        return self._figures


def read_report(report: str) -> ClientFigures:
    """The figures of a report (the fields: librdkafka, STATISTICS.md)."""
    document = _object(json.loads(report))
    brokers = [_object(broker) for broker in _object(document["brokers"]).values()]
    trips = [trip for broker in brokers if _count(trip := _object(broker["rtt"]), "cnt")]
    records, size = _waiting(document)
    made = _sum(trips, "cnt")
    return ClientFigures(
        waiting_records=records,
        waiting_bytes=size,
        round_trip_ms=_sum(trips, "sum") / made / _US if made else None,
        round_trip_p99_ms=max(_count(trip, "p99") for trip in trips) / _US if made else None,
        transmission_errors=_sum(brokers, "txerrs") + _sum(brokers, "rxerrs"),
        timeouts=_sum(brokers, "req_timeouts"),
    )


def _waiting(document: _Object) -> tuple[int, int]:
    """Records and bytes in the client's queues."""
    if document["type"] == "producer":
        return _count(document, "msg_cnt"), _count(document, "msg_size")
    topics = (_object(topic) for topic in _object(document["topics"]).values())
    partitions = [_object(part) for topic in topics for part in _object(topic["partitions"]).values()]
    # All partitions of a consumer share one queue, and each reports all of it.
    return (
        max((_count(part, "fetchq_cnt") for part in partitions), default=0),
        max((_count(part, "fetchq_size") for part in partitions), default=0),
    )


def _sum(objects: Iterable[_Object], name: str) -> int:
    return sum(_count(found, name) for found in objects)


def _count(found: _Object, name: str) -> int:
    value = found[name]
    assert isinstance(value, int), name
    return value


def _object(value: JsonValue) -> _Object:
    assert isinstance(value, dict)
    return value
