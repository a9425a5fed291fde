"""The page of results."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.kafka import install
from benchmarks.kafka.figures import Figures, median, spread
from benchmarks.kafka.latency import Latency
from benchmarks.kafka.plan import Plan
from benchmarks.kafka.recovery import Recovery
from benchmarks.kafka.results import Found, Results, Row, Section
from benchmarks.kafka.run import CUT_SECONDS, Guarantee
from benchmarks.report import commit, machine

#: System, broker and producer alone give a load below this for each core; above it, others work too.
BUSY_LOAD_A_CORE = 2.0

HEAD = """# Benchmarks over Kafka

Written by `make bench-kafka`; [how it measures](../benchmarks/README.md).

Machine: {machine}. FerrisStreams at commit {commit}, DuckDB {duckdb}, confluent-kafka {client}, Python {python}; beside
it {rivals}. One broker (Apache Kafka 4.1.0) on the same machine, topics of one partition (or two, where
a table says so), JSON records of six fields,
about 95 bytes. {began}; load average {loads}.{noise}

A system that gave a wrong answer, stopped, or could not be installed has a row that says so, and no figures. *Spread*
is the distance between the fastest and the slowest round, as a share of the median. A run that was *cut* was ended
after {cut:.0f} seconds and measured by what it had given until then, of which nothing was wrong.
"""

NOISE = """

**The machine was not idle**: other work took part of its cores, so the figures are lower than on a quiet machine and
differ between rounds. An order of systems is worth something only where their distance is greater than the spread."""

EXPLAINED = {
    Guarantee.EXACTLY_ONCE: "exactly once",
    Guarantee.AT_LEAST_ONCE: "at least once",
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When it was run, and the load averages that were seen on the way."""

    began: str
    loads: Sequence[float]
    cores: int

    @property
    def noisy(self) -> bool:
        ordered = sorted(self.loads)
        return ordered[len(ordered) // 2] > BUSY_LOAD_A_CORE * self.cores


def page(results: Results, plan: Plan, circumstances: Circumstances) -> str:
    """The whole page."""
    return "\n".join(
        [
            _head(circumstances),
            *(line for section in results.rates for line in _rates(section)),
            *(line for section in results.strategies for line in _rates(section)),
            *(line for section in results.workers for line in _rates(section)),
            *_latencies(results.latencies),
            *_recoveries(results.recoveries, plan.recovery_keys),
        ]
    )


def _head(circumstances: Circumstances) -> str:
    flink, connector = install.FLINK_PACKAGES[0].split("==")[1], install.FLINK_CONNECTOR.rpartition(":")[2]
    rivals = f"Flink {flink} (connector {connector}), Kafka Streams {install.kafka_streams_version()}"
    loads = circumstances.loads
    return HEAD.format(
        machine=machine(),
        commit=commit(),
        duckdb=version("duckdb"),
        client=version("confluent-kafka"),
        python=platform.python_version(),
        rivals=f"{rivals}, Quix Streams {install.QUIX_PACKAGES[0].split('==')[1]}",
        began=circumstances.began,
        cut=CUT_SECONDS,
        loads=f"{min(loads):.1f} to {max(loads):.1f}, median {sorted(loads)[len(loads) // 2]:.1f}",
        noise=NOISE if circumstances.noisy else "",
    )


def _rates(section: Section[Figures]) -> list[str]:
    columns = ("records", "rounds", "k records/s", "spread", "CPU µs a record", "peak MB", "first output s")

    def cells(row: Row[Figures]) -> list[str]:
        one = median(row.taken)
        return [
            f"{row.records:,}" + ("" if one.start.whole else ", cut"),
            f"{len(row.taken)}",
            f"{one.rate / 1000:.0f}" if one.rate > 10_000 else f"{one.rate / 1000:.2f}",
            f"{spread(row.taken) * 100:.0f} %" if len(row.taken) > 1 else "",
            f"{one.cpu_micros:.1f}",
            f"{one.peak_mb:.0f}",
            f"{one.start.first_output_seconds:.1f}",
        ]

    return [f"## {section.title}", "", *_table(columns, section.rows, cells)]


def _latencies(rows: Sequence[Row[Latency]]) -> list[str]:
    plain = {row.system.title: row.taken for row in rows if row.system.guarantee is Guarantee.AT_LEAST_ONCE}

    def cells(row: Row[Latency]) -> list[str]:
        (one,) = row.taken
        others = plain.get(row.system.title, []) if row.system.guarantee is Guarantee.EXACTLY_ONCE else []
        kept = [other for other in others if one.keeps_up and other.keeps_up]
        added = [(one.p50_ms - other.p50_ms, one.p99_ms - other.p99_ms) for other in kept]
        return [
            f"{one.rate:,}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            "yes" if one.keeps_up else "no",
            *(f"{value:+.1f}" for pair in added for value in pair),
            *([] if added else ["", ""]),
        ]

    columns = ("records/s", "p50 ms", "p99 ms", "keeps up", "transactions add, p50", "p99")
    intro = (
        "The filter at half of the system's own rate, from the making of a record to a reader of committed records.\n"
        "Where the latency grew until the end, the system did not keep up, and its figures say only that."
    )
    return ["## Latency", "", intro, "", *_table(columns, rows, cells)]


def _recoveries(rows: Sequence[Row[Recovery]], keys: int) -> list[str]:
    intro = (
        f"After `kill -9` with {keys:,} keys in an open window: seconds from the new start to the first output row\n"
        "and to the last one. All rows are compared with the right answer, each once."
    )

    def cells(row: Row[Recovery]) -> list[str]:
        (one,) = row.taken
        return [f"{one.first_seconds:.1f}", f"{one.all_seconds:.1f}"]

    return ["## Recovery", "", intro, "", *_table(("first row s", "all rows s"), rows, cells)]


def _table(columns: Sequence[str], rows: Sequence[Row[Found]], cells: Callable[[Row[Found]], list[str]]) -> list[str]:
    if not rows:
        return ["Not reached.", ""]
    head = ["system", "guarantee", *columns]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        first = [row.system.title, EXPLAINED[row.system.guarantee]]
        if row.failure is not None:
            rest = [row.failure.replace("|", "/"), *[""] * (len(columns) - 1)]
        elif row.taken:
            rest = cells(row)
        else:
            rest = ["not reached", *[""] * (len(columns) - 1)]
        lines.append(f"| {' | '.join([*first, *rest])} |")
    return [*lines, ""]
