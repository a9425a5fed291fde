"""The systems that are measured beside each other, and how each is started."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.kafka import install, ours
from benchmarks.kafka.data import Work
from benchmarks.kafka.run import Command, Guarantee, Order, System

HERE = Path(__file__).resolve().parent

#: Heaps that do not hold the rivals back and keep a machine of few gigabytes alive.
FLINK_HEAP = "-Xmx1g"
KAFKA_STREAMS_HEAP = "-Xmx1g"


def _bare(order: Order) -> Command:
    return Command([sys.executable, HERE / "bare.py", *order.arguments()])


def _flink(order: Order) -> Command:
    python, jars = install.flink()
    words: list[str | Path] = [python, HERE / "flink.py", *order.arguments(), f"jars={jars}"]
    return Command(words, {"JDK_JAVA_OPTIONS": FLINK_HEAP, "PYTHONPATH": ""})


def _kafka_streams(order: Order) -> Command:
    jars = install.kafka_streams()
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return Command(["java", KAFKA_STREAMS_HEAP, quiet, "-cp", f"{jars}/*", "Trades", *order.arguments()])


def _quix(order: Order) -> Command:
    return Command([install.quix(), HERE / "quix.py", *order.arguments()])


def _ours(title: str, guarantee: Guarantee, *settings: str) -> System:
    command = partial(ours.command, settings=settings)
    return System(title, guarantee, command, group=ours.group)


EXACT, AT_LEAST = Guarantee.EXACTLY_ONCE, Guarantee.AT_LEAST_ONCE

OURS = _ours("FerrisStreams", EXACT)
OURS_PLAIN = _ours("FerrisStreams", AT_LEAST)
BARE = System("bare confluent-kafka loop", EXACT, _bare, (Work.FILTER,), decodes=False)
BARE_PLAIN = System("bare confluent-kafka loop", AT_LEAST, _bare, (Work.FILTER,), decodes=False)
FLINK = System("Flink SQL", EXACT, _flink)
FLINK_PLAIN = System("Flink SQL", AT_LEAST, _flink)
KAFKA_STREAMS = System("Kafka Streams", EXACT, _kafka_streams)
KAFKA_STREAMS_PLAIN = System("Kafka Streams", AT_LEAST, _kafka_streams)
QUIX = System("Quix Streams", EXACT, _quix)

#: FerrisStreams with each batch strategy by name, and without batches.
LOW_LATENCY = _ours("FerrisStreams, low_latency", EXACT, "batch.strategy=low_latency")
LOW_LATENCY_PLAIN = _ours("FerrisStreams, low_latency", AT_LEAST, "batch.strategy=low_latency")
STRATEGIES = (
    _ours("FerrisStreams, fixed_size", EXACT, "batch.strategy=fixed_size"),
    _ours("FerrisStreams, time_window", EXACT, "batch.strategy=time_window"),
    _ours("FerrisStreams, adaptive_size", EXACT, "batch.strategy=adaptive_size"),
    _ours("FerrisStreams, memory_based", EXACT, "batch.strategy=memory_based"),
    LOW_LATENCY,
)
#: One worker and two, over a topic of two partitions.
WORKERS = (
    _ours("FerrisStreams, 1 worker", EXACT, "parallelism=1"),
    _ours("FerrisStreams, 2 workers", EXACT, "parallelism=2"),
)
UNBATCHED = _ours("FerrisStreams, off", EXACT, "batch.enable=false")
