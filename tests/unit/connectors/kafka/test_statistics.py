"""Figures out of a client's report, which names far more."""

from __future__ import annotations

import json

import pytest

from ferrisstreams.connectors.base import ClientFigures
from ferrisstreams.connectors.kafka.statistics import Statistics, read_report


def broker(count: int = 0, total: int = 0, p99: int = 0, errors: int = 0) -> dict[str, object]:
    trip = {"cnt": count, "sum": total, "p99": p99, "avg": 0}
    return {"txerrs": errors, "rxerrs": 1, "req_timeouts": errors, "rtt": trip, "name": "b"}


def report(kind: str, *brokers: dict[str, object], queued: int = 0, partitions: int = 0) -> str:
    queue = {"fetchq_cnt": queued, "fetchq_size": queued * 10}
    topics = {"t": {"partitions": {str(number): queue for number in range(partitions)}}} if partitions else {}
    own = {"type": kind, "msg_cnt": 7, "msg_size": 70, "topics": topics}
    return json.dumps(own | {"brokers": {str(number): found for number, found in enumerate(brokers)}})


def test_queue_that_all_partitions_share_is_counted_once() -> None:
    figures = read_report(report("consumer", queued=5, partitions=3))
    assert (figures.waiting_records, figures.waiting_bytes) == (5, 50)


def test_consumer_without_partitions_has_nothing_waiting() -> None:
    assert read_report(report("consumer")).waiting_records == 0


def test_round_trip_is_the_mean_over_requests_and_the_slowest_brokers_99th_percentile() -> None:
    found = read_report(report("producer", broker(3, 3_000, 900), broker(1, 5_000, 5_000, errors=2), broker()))
    assert found == ClientFigures(7, 70, 2.0, 5.0, transmission_errors=5, timeouts=2)


def test_brokers_that_answered_nothing_have_no_round_trip() -> None:
    found = read_report(report("producer", broker()))
    assert (found.round_trip_ms, found.round_trip_p99_ms) == (None, None)


@pytest.mark.parametrize("told", [1, 3])
def test_last_report_is_the_one_that_counts(told: int) -> None:
    statistics = Statistics()
    assert statistics.figures() is None
    for number in range(told):
        statistics.take(report("consumer", queued=number, partitions=1))
    assert statistics.figures() == read_report(report("consumer", queued=told - 1, partitions=1))
    assert statistics.figures() is statistics.figures()
