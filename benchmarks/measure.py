"""Runs a command as a process of its own and reads what it cost.

This process stays small (it imports no engine), because a child's peak memory begins with its parent's.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Figures:
    """`seconds` is the work alone as the process itself measured it; CPU and memory are the whole process's."""

    rows: int
    seconds: float
    cpu_seconds: float
    peak_mb: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


def run(command: Sequence[str | Path], folder: Path) -> tuple[str, float, float]:
    """Last line of standard output, CPU seconds, peak megabytes. Raises RuntimeError when the command fails."""
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{err.read()[-2000:]}")
        lines = out.read().splitlines()
    return lines[-1], usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MEGABYTE


def ferris(application: Path, *options: str) -> Figures:
    """Run an application of one job from nothing: its state and outputs are removed first."""
    state = application.parent / "state"
    subprocess.run(["rm", "-rf", state, *application.parent.glob("out*")], check=True)
    command = [sys.executable, "-m", "ferrisstreams", "run", application, "-o", "json", "--state-dir", state]
    line, cpu, peak = run([*command, *options], application.parent)
    (job,) = json.loads(line)["jobs"]
    return Figures(job["rows"], job["seconds"], cpu, peak)


def plain(query: Path) -> Figures:
    """Run a query in DuckDB alone, one thread, as a batch over the same file."""
    line, cpu, peak = run([sys.executable, "-m", "benchmarks.plain", query], query.parent)
    answer = json.loads(line)
    return Figures(answer["rows"], answer["seconds"], cpu, peak)


def median(figures: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    return Figures(
        rows=figures[0].rows,
        seconds=statistics.median(f.seconds for f in figures),
        cpu_seconds=statistics.median(f.cpu_seconds for f in figures),
        peak_mb=statistics.median(f.peak_mb for f in figures),
    )
