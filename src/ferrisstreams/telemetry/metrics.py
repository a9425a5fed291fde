"""The metrics of a job, each declared once: name, kind, unit, labels, sentence. Their values come out of its progress.

Names end in their unit, which is a base unit; a counter's also in `_total`. `docs/metrics.md` is made from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ferrisstreams.connectors.base import ClientFigures
from ferrisstreams.runtime.breaker import BreakerState
from ferrisstreams.runtime.observer import ProgressEvent


class MetricKind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """`labels` are those of its samples, in order. All have few values, but for partitions."""

    name: str
    kind: MetricKind
    unit: str
    labels: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of a metric for the values of its labels."""

    metric: Metric
    labels: tuple[str, ...]
    value: float

    def as_dict(self) -> dict[str, object]:
        labels = dict(zip(self.metric.labels, self.labels, strict=True))
        return {"name": self.metric.name, "labels": labels, "value": self.value}


_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE

CONSUMER_LAG = Metric("ferris_consumer_lag_records", _GAUGE, "records", ("job", "partition"),
    "Offsets between the position of the job and the end of the partition.")  # fmt: skip
WATERMARK_LAG = Metric("ferris_watermark_lag_seconds", _GAUGE, "seconds", ("job",),
    "How far the watermark is behind the clock.")  # fmt: skip
COMMIT_AGE = Metric("ferris_commit_age_seconds", _GAUGE, "seconds", ("job",),
    "Time since the last epoch became final. It grows, too, while there is nothing to commit.")  # fmt: skip
BREAKER_STATE = Metric("ferris_breaker_state", _GAUGE, "", ("job", "side"),
    "The circuit breaker of source or sink: 0 closed, 1 half open, 2 open.")  # fmt: skip
CLIENT_RECORDS = Metric("ferris_client_waiting_records", _GAUGE, "records", ("job", "side"),
    "Records in the queue of the client: fetched and not yet taken (source), not yet delivered (sink).")  # fmt: skip
CLIENT_BYTES = Metric("ferris_client_waiting_bytes", _GAUGE, "bytes", ("job", "side"),
    "The bytes of these records.")  # fmt: skip
ROUND_TRIP = Metric("ferris_client_round_trip_seconds", _GAUGE, "seconds", ("job", "side", "statistic"),
    "From a request of the client to its answer, mean and p99 of the last second. A fetch waits for records "
    "(fetch.wait.max.ms), so that a source that has caught up shows that wait.")  # fmt: skip
CLIENT_ERRORS = Metric("ferris_client_errors_total", _COUNTER, "", ("job", "side"),
    "Requests and answers that were not transmitted.")  # fmt: skip
CLIENT_TIMEOUTS = Metric("ferris_client_timeouts_total", _COUNTER, "", ("job", "side"),
    "Requests without an answer in time.")  # fmt: skip
TRANSACTIONS = Metric("ferris_transactions_total", _COUNTER, "", ("job", "outcome"),
    "Transactions that were committed, aborted, or failed: fenced, or nobody knows what became of them.")  # fmt: skip

METRICS = (
    CONSUMER_LAG, WATERMARK_LAG, COMMIT_AGE, BREAKER_STATE, CLIENT_RECORDS, CLIENT_BYTES, ROUND_TRIP, CLIENT_ERRORS,
    CLIENT_TIMEOUTS, TRANSACTIONS,
)  # fmt: skip

_BREAKER_VALUES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


def samples(event: ProgressEvent) -> Iterator[Sample]:
    """The values of all metrics that a job's progress tells of. What there is not (lag of a file) has no sample."""
    job = event.job
    for partition, lag in event.source.lag.items():
        yield Sample(CONSUMER_LAG, (job, partition), lag)
    if event.behind_seconds is not None:
        yield Sample(WATERMARK_LAG, (job,), event.behind_seconds)
    yield Sample(COMMIT_AGE, (job,), event.commit_seconds)
    for side, state in event.breakers.items():
        yield Sample(BREAKER_STATE, (job, side), _BREAKER_VALUES[BreakerState(state)])
    for side, client in (("source", event.source.client), ("sink", event.sink)):
        if client is not None:
            yield from _client_samples(job, side, client)


def _client_samples(job: str, side: str, client: ClientFigures) -> Iterator[Sample]:
    yield Sample(CLIENT_RECORDS, (job, side), client.waiting_records)
    yield Sample(CLIENT_BYTES, (job, side), client.waiting_bytes)
    for statistic, value_ms in (("mean", client.round_trip_ms), ("p99", client.round_trip_p99_ms)):
        if value_ms is not None:
            yield Sample(ROUND_TRIP, (job, side, statistic), value_ms / 1000)
    yield Sample(CLIENT_ERRORS, (job, side), client.transmission_errors)
    yield Sample(CLIENT_TIMEOUTS, (job, side), client.timeouts)
    for outcome, count in client.transactions.items():
        yield Sample(TRANSACTIONS, (job, outcome), count)
