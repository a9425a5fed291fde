"""Names of keys that people bring from elsewhere; `ferris fmt` writes the registry's.

A key of the batch may also stand under `sink.batch.`: a job has one batching, which is written with its sink. Where the
source has its own, it is what steers the sink.
"""

from __future__ import annotations

from collections.abc import Mapping

#: The registry's name -> other names of the same key, in lower case.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "delimiter": ("value_delimiter",),
    "event.time.field": ("timestamp",),
    "batch.enable": ("sink.batch.enable",),
    "batch.strategy": ("sink.batch.strategy",),
    "batch.size": ("sink.batch.size", "max_batch_size"),
    "batch.timeout": ("sink.batch.timeout", "batch_timeout"),
    "batch.window": ("sink.batch.window",),
    "batch.max_size": (
        "sink.batch.max_size", "batch.adaptive_max_size", "sink.batch.adaptive_max_size", "batch.low_latency_max_size",
        "sink.batch.low_latency_max_size",
    ),
    "batch.min_size": ("sink.batch.min_size",),
    "batch.target_latency": ("sink.batch.target_latency",),
    "batch.memory_size": ("sink.batch.memory_size",),
    "batch.wait": (
        "sink.batch.wait", "batch.low_latency_wait", "sink.batch.low_latency_wait", "batch.max_wait_time",
    ),
    "batch.eager": (
        "sink.batch.eager", "batch.eager_processing", "sink.batch.eager_processing",
    ),
    "job.mode": ("mode",),
    "failure_strategy": ("failure.strategy",),
    "max_retries": ("retry.attempts",),
}  # fmt: skip
