"""`make bench-kafka`: every system in turn, round by round, and `docs/benchmarks-kafka.md`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.kafka import install, latency, recovery, systems
from benchmarks.kafka.data import Data, Work
from benchmarks.kafka.figures import Figures
from benchmarks.kafka.plan import FEW_KEYS, FULL, MANY_KEYS, QUICK, Plan
from benchmarks.kafka.report import Circumstances, page
from benchmarks.kafka.results import Found, Results, Row, Section
from benchmarks.kafka.run import Bench, System
from benchmarks.kafka.topics import fill
from tests.broker import Broker

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks-kafka.md"

#: No latency is measured above this rate: producer, broker and reader share the machine with the system.
PACED_RATE_MAX = 100_000
#: What a run consists of.
PARTS = ("rates", "strategies", "workers", "latency", "recovery", "long")
#: Parts that need no rival.
ALONE = frozenset({"strategies", "workers"})

#: Of a system whose rate is not known.
PACED_RATE_UNKNOWN = 10_000


#: A row of a section, the topic that it reads, and what it does with it.
Turn = tuple[Row[Figures], Data, Work]


class Session:
    """The sections in the order in which they are run; `results` grow on the way."""

    def __init__(self, bench: Bench, plan: Plan, minutes: float) -> None:
        self.results = Results()
        self.loads: list[float] = []
        self._bench = bench
        self._plan = plan
        self._end = time.monotonic() + minutes * 60
        self._filled: set[str] = set()

    def run(self, parts: Sequence[str]) -> None:
        """Everything once, then the other rounds; so a run that is short of time has all tables."""
        rates = self._rates() if "rates" in parts else []
        self._round(rates, 0)
        for part, measure in (
            ("strategies", self._strategies),
            ("workers", self._workers),
            ("latency", self._latencies),
            ("recovery", self._recoveries),
        ):
            if part in parts:
                measure()
        for turn in range(1, self._plan.rounds):
            self._round(rates, turn)
        if "long" in parts:
            self._warm()

    def _rates(self) -> list[Turn]:
        plan, usual = self._plan, (systems.OURS, systems.OURS_PLAIN, systems.FLINK)
        streams = (systems.KAFKA_STREAMS, systems.KAFKA_STREAMS_PLAIN)
        few, few_slow = plan.few(plan.records), plan.few(plan.slow_records)
        many, many_slow = plan.many(plan.records), plan.many(plan.slow_records)
        filtered = _section("F: filter and projection", (*usual, *streams, systems.BARE), few)
        windowed = _section(f"W: windows, {FEW_KEYS:,} keys", (*usual, *streams), few)
        wide = _section(f"W: windows, {MANY_KEYS:,} keys", (*usual, systems.KAFKA_STREAMS), many)
        turns = []
        for section, work, data, slow in (
            (filtered, Work.FILTER, few, few_slow),
            (windowed, Work.WINDOW, few, few_slow),
            (wide, Work.WINDOW, many, many_slow),
        ):
            self.results.rates.append(section)
            turns += [(row, data, work) for row in section.rows]
            section.rows.append(Row(systems.QUIX, slow.records))
            turns.append((section.rows[-1], slow, work))
        return turns

    def _round(self, turns: Sequence[Turn], number: int) -> None:
        # Every second round goes the other way, so that no system always follows the same one.
        for row, data, work in turns if number % 2 == 0 else reversed(turns):
            self._measure(row, data, work)

    def _warm(self) -> None:
        data = self._plan.few(self._plan.warm_records)
        for title, work in (("F, a long run", Work.FILTER), (f"W, a long run, {FEW_KEYS:,} keys", Work.WINDOW)):
            section = _section(title, (systems.OURS, systems.FLINK, systems.KAFKA_STREAMS), data)
            self.results.rates.append(section)
            for row in section.rows:
                self._measure(row, data, work)

    def _strategies(self) -> None:
        plan = self._plan
        data, few = plan.few(plan.strategy_records), plan.few(plan.unbatched_records)
        section = _section("Batch strategies of FerrisStreams, F", (systems.OURS, *systems.STRATEGIES), data)
        section.rows.append(Row(systems.UNBATCHED, few.records))
        self.results.strategies.append(section)
        for row in section.rows:
            self._measure(row, few if row.system is systems.UNBATCHED else data, Work.FILTER)

    def _workers(self) -> None:
        data = self._plan.dealt(self._plan.records)
        sections = [
            (_section("Two partitions, F: one worker and two", systems.WORKERS, data), Work.FILTER),
            (_section(f"Two partitions, W, {FEW_KEYS:,} keys: one worker and two", systems.WORKERS, data), Work.WINDOW),
        ]
        self.results.workers += [section for section, _ in sections]
        for _ in range(self._plan.rounds):
            for section, work in sections:
                for row in section.rows:
                    self._measure(row, data, work)

    def _latencies(self) -> None:
        # The exactly-once row of a system comes first and is the one that counts.
        first = (*self.results.rates[:1], *self.results.strategies)
        measured = [row for section in first for row in section.rows]
        rates = {row.system.title: row.taken for row in reversed(measured)}
        for system in (
            *(systems.OURS, systems.OURS_PLAIN, systems.LOW_LATENCY, systems.LOW_LATENCY_PLAIN),
            *(systems.KAFKA_STREAMS, systems.KAFKA_STREAMS_PLAIN),
            *(systems.FLINK, systems.FLINK_PLAIN, systems.QUIX, systems.BARE, systems.BARE_PLAIN),
        ):
            known = [one.rate for one in rates.get(system.title, [])]
            rate = min(PACED_RATE_MAX, int(sorted(known)[len(known) // 2] / 2) if known else PACED_RATE_UNKNOWN)
            row: Row[latency.Latency] = Row(system, rate)
            self.results.latencies.append(row)
            self._attempt(
                row,
                f"latency at {rate:,} records/s",
                partial(latency.measure, self._bench, system, rate, self._plan.latency_seconds),
            )

    def _recoveries(self) -> None:
        keys = self._plan.recovery_keys
        for system in (systems.OURS, systems.FLINK, systems.KAFKA_STREAMS, systems.QUIX):
            row: Row[recovery.Recovery] = Row(system, keys)
            self.results.recoveries.append(row)
            self._attempt(row, f"recovery with {keys:,} keys", partial(recovery.measure, self._bench, system, keys))

    def _measure(self, row: Row[Figures], data: Data, work: Work) -> None:
        if data.topic not in self._filled and time.monotonic() < self._end:
            say(f"writing {data.records:,} records of {data.keys:,} keys")
            fill(self._bench.bootstrap, data)
            self._filled.add(data.topic)
        what = f"{work.value}, {data.records:,} records of {data.keys:,} keys"
        self._attempt(row, what, partial(self._bench.measure, row.system, data, work))

    def _attempt(self, row: Row[Found], what: str, measure: Callable[[], Found]) -> None:
        """Measure, unless the time is up; then the row has fewer rounds, or says that it was not reached."""
        if time.monotonic() < self._end:
            self.loads.append(os.getloadavg()[0])
            say(f"{_name(row.system)}: {what}")
            say(row.attempt(measure))


def _section(title: str, chosen: Sequence[System], data: Data) -> Section[Figures]:
    return Section(title, [Row(system, data.records) for system in chosen])


def _name(system: System) -> str:
    return f"{system.title} ({system.guarantee.value})"


def say(text: str) -> None:
    print(f"bench-kafka: {text}", file=sys.stderr, flush=True)


def install_rivals() -> None:
    """All of them before anything is measured; one that cannot be installed is named here and in its rows."""
    for name, rival in (("Flink", install.flink), ("Kafka Streams", install.kafka_streams), ("Quix", install.quix)):
        try:
            rival()
        except install.InstallError as absent:
            say(f"{name} is not installed: {absent}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-kafka", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few records, one round, printed only")
    parser.add_argument("--rounds", type=int, help="instead of the plan's")
    parser.add_argument("--minutes", type=float, default=60, help="after them nothing new is begun")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part of it, printed only")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    if given.rounds:
        plan = dataclasses.replace(plan, rounds=given.rounds)
    # Ended from outside, it still ends what it started and prints what it measured.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if not set(given.only or PARTS) <= ALONE:
        install_rivals()
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    with (
        tempfile.TemporaryDirectory(prefix="ferris-bench-kafka-") as name,
        Broker(Path(name, "broker"), measured=True) as broker,
    ):
        session = Session(Bench(broker.bootstrap_servers, Path(name)), plan, given.minutes)
        try:
            session.run(given.only or PARTS)
        finally:
            # What was measured before an interruption is worth keeping; rows that were not reached say so.
            seen = Circumstances(f"Measured from {began}", session.loads or [os.getloadavg()[0]], os.cpu_count() or 1)
            text = page(session.results, plan, seen)
            if not given.quick and not given.only:
                PAGE.write_text(text, "utf-8")
            print(text)


if __name__ == "__main__":
    main()
