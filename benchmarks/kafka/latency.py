"""End-to-end latency at a steady rate: a pacing producer and a reader of committed records beside the system.

Both are processes of their own, started from here as `python -m benchmarks.kafka.latency pace|tail name=value…`. When a
record was made is known from its number, so a producer that falls behind does not hide it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from benchmarks.kafka.data import FIRST_MS, Work
from benchmarks.kafka.figures import keeps_up, percentile
from benchmarks.kafka.process import Watched
from benchmarks.kafka.run import STALL_SECONDS, Bench, Order, RunError, System, Tuned, how, start
from benchmarks.kafka.topics import KEEP, new_producer, reader, topics_of, write
from ferrisstreams.connectors.kafka.topics import NewTopicSettings

ROOT = Path(__file__).resolve().parents[2]
TICK_SECONDS = 0.002
#: Just-in-time compilers and caches get this long before it counts.
WARM_SECONDS = 6.0
QUIET_SECONDS = 5.0
#: Records that wake a system up; the first outputs say that it is there.
WAKING_RECORDS = 200


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the making of a record to its result in a reader's hands."""

    rate: int
    p50_ms: float
    p99_ms: float
    keeps_up: bool


def measure(bench: Bench, system: System, rate: int, seconds: float) -> Latency:
    """The latency of the filter at `rate` records a second. Raises RunError and InstallError."""
    topic = f"paced-{os.urandom(6).hex()}"
    with bench.order(system, topic, Work.FILTER, Tuned.LATENCY) as order:
        topics = topics_of(bench.bootstrap)
        topics.create(topic, NewTopicSettings(1, KEEP))
        watched = start(system, order)
        try:
            _wake(order, watched)
            answer = _probe(order, rate, seconds)
            if watched.ended() is not None or answer["rows"] < answer["wanted"]:
                raise RunError(how(watched, f"{answer['rows']:,.0f} of {answer['wanted']:,.0f} rows came"))
            return Latency(rate, answer["p50"], answer["p99"], bool(answer["keeps_up"]))
        finally:
            watched.end()
            topics.delete(topic)


def _wake(order: Order, watched: Watched) -> None:
    """Send some records until the first result is there."""
    producer = new_producer(order.bootstrap, 0)
    with reader(order.bootstrap, order.sink) as output:
        write(producer, order.source, [_record(-1, FIRST_MS) for _ in range(WAKING_RECORDS)])
        producer.flush()
        if not output.wait_for_first(lambda: watched.ended() is not None, STALL_SECONDS):
            raise RunError(how(watched, "nothing came out"))


def _probe(order: Order, rate: int, seconds: float) -> dict[str, float]:
    """Run the two processes; the reader's answer."""
    records = int(rate * (WARM_SECONDS + seconds))
    begin_ms = int(time.time() * 1000) + 1500
    given = [f"begin_ms={begin_ms}", f"rate={rate}", f"records={records}", f"bootstrap={order.bootstrap}"]
    module = [sys.executable, "-m", "benchmarks.kafka.latency"]
    tail = subprocess.Popen([*module, "tail", f"topic={order.sink}", *given], cwd=ROOT, stdout=subprocess.PIPE)
    pace = subprocess.Popen([*module, "pace", f"topic={order.source}", *given], cwd=ROOT)
    try:
        out, _ = tail.communicate(timeout=WARM_SECONDS + seconds + STALL_SECONDS)
        return dict(json.loads(out))
    finally:
        for process in (tail, pace):
            process.kill()
            process.wait()


def _record(number: int, event_ms: int) -> tuple[bytes, bytes]:
    """Every second record passes the filter; those that wake a system up all do."""
    side = "sell" if number > 0 and number % 2 else "buy"
    symbol = f"SYM{number % 500:08d}"
    value = (
        f'{{"id":{number},"symbol":"{symbol}","price":123.45,"qty":{number % 1000},"side":"{side}","ts":{event_ms}}}'
    )
    return symbol.encode(), value.encode()


def pace(given: dict[str, str]) -> None:
    """Write records at a steady rate, each as soon as its time has come."""
    rate, records, begin = float(given["rate"]), int(given["records"]), int(given["begin_ms"]) / 1000
    producer, sent = new_producer(given["bootstrap"], 0), 0
    while sent < records:
        due = min(records, int((time.time() - begin) * rate))
        if due > sent:
            event_ms = int(time.time() * 1000)
            write(producer, given["topic"], [_record(number, event_ms) for number in range(sent, due)])
            sent = due
        time.sleep(TICK_SECONDS)
    producer.flush()


def tail(given: dict[str, str]) -> None:
    """Read the output and print the percentiles of those records that came after the warm-up."""
    rate, records, begin_ms = float(given["rate"]), int(given["records"]), int(given["begin_ms"])
    first = int(rate * WARM_SECONDS)
    latencies: list[float] = []
    consumer = Consumer(
        {"bootstrap.servers": given["bootstrap"], "group.id": "benchmark-tail", "isolation.level": "read_committed"}
    )
    consumer.assign([TopicPartition(given["topic"], 0, 0)])
    wanted, quiet = (records - first) // 2, begin_ms / 1000 + WARM_SECONDS + QUIET_SECONDS
    while len(latencies) < wanted and time.time() < quiet:
        message = consumer.poll(0.2)
        messages = [message, *consumer.consume(10_000, 0)] if message is not None else []
        now_ms = time.time() * 1000
        for one in messages:
            value = one.value() or b""
            number = int(value[value.index(b":") + 1 : value.index(b",")])
            if number >= first:
                latencies.append(now_ms - begin_ms - number / rate * 1000)
        if messages:
            quiet = max(quiet, now_ms / 1000 + QUIET_SECONDS)
    kept = keeps_up(latencies)
    latencies.sort()
    shares = (
        {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99), "keeps_up": kept} if latencies else {}
    )
    print(json.dumps({"rows": len(latencies), "wanted": wanted, **shares}))
    consumer.close()


if __name__ == "__main__":
    {"pace": pace, "tail": tail}[sys.argv[1]](dict(argument.split("=", 1) for argument in sys.argv[2:]))
