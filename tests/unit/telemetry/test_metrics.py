"""Metrics are declared once, and every one is a value of a job's progress and a line of the page."""

from __future__ import annotations

import re
from pathlib import Path

from ferrisstreams.connectors.base import ClientFigures, SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.telemetry.metrics import METRICS, MetricKind, samples

CLIENT = ClientFigures(5, 50, 1.5, 8.0, 1, 2, {"committed": 3})
FULL = ProgressEvent(
    "j", 1, SourceProgress(1, None, "offsets", {"t-0": 7, "t-1": 0}, CLIENT), 0, 1.0,
    {"source": "closed", "sink": "open"}, behind_seconds=9.0, commit_seconds=0.25, sink=CLIENT,
)  # fmt: skip


def test_every_metric_has_a_sample_of_a_full_progress() -> None:
    assert {sample.metric for sample in samples(FULL)} == set(METRICS)


def test_sample_names_its_labels() -> None:
    found = [sample.as_dict() for sample in samples(FULL)]
    assert {"name": "ferris_consumer_lag_records", "labels": {"job": "j", "partition": "t-0"}, "value": 7} in found
    assert {"name": "ferris_breaker_state", "labels": {"job": "j", "side": "sink"}, "value": 2} in found
    trip = {"job": "j", "side": "source", "statistic": "p99"}
    assert {"name": "ferris_client_round_trip_seconds", "labels": trip, "value": 0.008} in found


def test_what_there_is_not_has_no_sample() -> None:
    event = ProgressEvent("j", 0, SourceProgress(0, 10, "bytes"), None, 0.0)
    assert [sample.metric.name for sample in samples(event)] == ["ferris_commit_age_seconds"]


def test_name_ends_in_the_base_unit_and_is_on_the_page() -> None:
    page = Path("docs/metrics.md").read_text("utf-8")
    for metric in METRICS:
        assert re.fullmatch(r"ferris_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
        assert metric.unit in metric.name
        assert f"| `{metric.name}` |" in page
