"""The page of results: tables with the machine and the commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import Figures
from benchmarks.workloads import ROWS, Workload

FIELDS = 6

HEAD = """# Benchmarks

Written by `make bench`; [how it measures](../benchmarks/README.md).
There is also [a page over Kafka](benchmarks-kafka.md), beside other systems.

Machine: {machine}. FerrisStreams at commit {commit}, DuckDB {duckdb}, Python {python}. Every pair took turns in one
run; the figures are medians. *DuckDB* is the same query as an ordinary batch job over the same file, one thread,
without state, delivery or watermarks.
"""


def machine() -> str:
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) / (1 << 20) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    size = f", {memory[0]:.0f} GiB" if memory else ""
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}{size}, {platform.system()}"


def commit() -> str:
    if shutil.which("git") is None:
        return "unknown"
    root = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).exists() else []


def page(
    decoded: Sequence[tuple[Workload, Figures, Figures]],
    compared: Sequence[tuple[Workload, Figures, Figures]],
    batched: Sequence[tuple[str, Figures]],
    stations: tuple[Figures, Figures],
    odd_rows: str,
) -> str:
    head = HEAD.format(machine=machine(), commit=commit(), duckdb=version("duckdb"), python=platform.python_version())
    return "\n".join(
        [
            head,
            *_decode_section(decoded),
            *_compare_section(compared),
            *stations_section(*stations),
            *_batch_section(batched),
            odd_rows,
        ]
    )


def _decode_section(decoded: Sequence[tuple[Workload, Figures, Figures]]) -> list[str]:
    rows = [f"| {w.title} | {_nanoseconds(ours):.0f} | {_nanoseconds(theirs):.0f} |" for w, ours, theirs in decoded]
    intro = "From the file's bytes to typed, checked columns (a filter then drops every row), in nanoseconds a field."
    return ["## Decode", "", intro, "", "| JSON lines | ns a field | DuckDB |", "| --- | --- | --- |", *rows, ""]


def _nanoseconds(figures: Figures) -> float:
    return figures.seconds / figures.rows / FIELDS * 1e9


def _compare_section(compared: Sequence[tuple[Workload, Figures, Figures]]) -> list[str]:
    rows = [
        f"| {w.title} | {ours.rows_per_second / 1e6:.2f} | {theirs.rows_per_second / 1e6:.2f} "
        f"| {ours.seconds / theirs.seconds:.2f} | {ours.cpu_seconds:.1f} | {theirs.cpu_seconds:.1f} "
        f"| {ours.peak_mb:.0f} | {theirs.peak_mb:.0f} |"
        for w, ours, theirs in compared
    ]
    head = "| job | M rows/s | DuckDB | time, ours to DuckDB's | CPU s | DuckDB | peak MB | DuckDB |"
    intro = f"{ROWS:,} rows of six fields, JSON lines, from file to file. CPU and memory are of the whole process."
    return ["## Jobs", "", intro, "", head, "| --- " * 8 + "|", *rows, ""]


def stations_section(ours: Figures, theirs: Figures) -> list[str]:
    """One billion rows, a small edition (`examples/one_billion_rows`)."""
    intro = f"{ours.rows:,} lines `station;temperature`: lowest, mean and highest of each station. One thread each."
    rows = [
        f"| {who} | {f.seconds:.1f} | {f.rows_per_second / 1e6:.2f} | {f.cpu_seconds:.1f} | {f.peak_mb:.0f} |"
        for who, f in (("FerrisStreams", ours), ("DuckDB", theirs))
    ]
    ratio = f"Time, ours to DuckDB's: {ours.seconds / theirs.seconds:.2f}."
    head = "| | seconds | M rows/s | CPU s | peak MB |"
    return ["## One billion rows, a small edition", "", intro, "", head, "| --- " * 5 + "|", *rows, "", ratio, ""]


def _batch_section(batched: Sequence[tuple[str, Figures]]) -> list[str]:
    off = batched[-1][1].rows_per_second
    rows = [
        f"| {title} | {figures.rows:,} | {figures.rows_per_second:,.0f} | {figures.rows_per_second / off:,.0f} |"
        for title, figures in batched
    ]
    intro = "The tumbling job of 500 keys with each strategy, as many rows as fit the time."
    return ["## Batches", "", intro, "", "| strategy | rows | rows/s | times off |", "| --- " * 4 + "|", *rows, ""]
