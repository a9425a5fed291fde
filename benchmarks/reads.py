"""What a read of a running job costs: round trips at the door of its worker, while it is idle and at half load.

    python -m benchmarks.reads [--reads 300]

The worker follows a file. At half load a writer appends pieces at a pace that keeps the worker's process busy for about
half of the time, which is measured and printed. Each round trip is a connection of its own, as `ferris status` makes
it; the start of Python is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles

from ferrisstreams.runtime.door_messages import ReadState, ReadStatus
from ferrisstreams.runtime.door_name import is_answered
from ferrisstreams.session.reading import ask

APPLICATION = """\
CREATE STREAM events (id BIGINT, k TEXT, at TIMESTAMP, WATERMARK FOR at AS at)
WITH ('connector' = 'file', 'path' = 'events.jsonl', 'watch' = true);
CREATE STREAM counts WITH ('connector' = 'file', 'path' = 'counts.jsonl') AS
SELECT window_start, k, count(*) AS n, sum(id) AS total FROM events GROUP BY k, TUMBLE(at, INTERVAL '1' MINUTE);
"""
KEYS = 5_000
PIECE_ROWS = 10_000
PIECES = 200
REQUESTS = {"status": ReadStatus(), "state": ReadState(), "state, counted": ReadState(count=True)}


def main() -> None:
    options = argparse.ArgumentParser(description="Round trips at the door of a worker.")
    options.add_argument("--reads", type=int, default=300)
    reads = options.parse_args().reads
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), reads)


def measure(folder: Path, reads: int) -> None:
    (folder / "app.sql").write_text(APPLICATION)
    events = Writer(folder / "events.jsonl")
    events.write()
    command = [sys.executable, "-m", "ferrisstreams", "run", str(folder / "app.sql")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
        try:
            state = folder / ".ferris" / "app" / "counts"
            while not is_answered(state):
                time.sleep(0.05)
            time.sleep(3)
            print("ms, each of a new connection          median    p99    max  worker busy")
            for load, pause in (("idle", None), ("half load", events.pause_for_half(worker.pid))):
                events.pause = pause
                for name, request in REQUESTS.items():
                    report(f"{load}, {name}", state, request, reads, worker.pid)
        finally:
            events.pause = None
            worker.terminate()


def report(name: str, state: Path, request: ReadState | ReadStatus, reads: int, pid: int) -> None:
    taken, began, busy = [], time.perf_counter(), cpu_seconds(pid)
    for _ in range(reads):
        at = time.perf_counter()
        ask(state, request)
        taken.append((time.perf_counter() - at) * 1000)
        time.sleep(0.02)
    share = (cpu_seconds(pid) - busy) / (time.perf_counter() - began)
    print(f"{name:<36}  {median(taken):6.2f} {quantiles(taken, n=100)[98]:6.2f} {max(taken):6.2f}  {share:10.0%}")


def cpu_seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def piece(first: int) -> str:
    """Rows a millisecond apart, made beforehand: making them would keep a core busy meanwhile."""
    return "".join(
        f'{{"id": {n}, "k": "k{n % KEYS}", "at": "2024-01-01T00:{n // 60_000:02}:{n // 1000 % 60:02}Z"}}\n'
        for n in range(first, first + PIECE_ROWS)
    )


class Writer:
    """Appends pieces to a file, in a thread, with a `pause` between two (None: does not write)."""

    def __init__(self, path: Path) -> None:
        self.pause: float | None = None
        self._path = path
        self._pieces = [piece(first) for first in range(0, PIECES * PIECE_ROWS, PIECE_ROWS)]
        self._next = 0
        threading.Thread(target=self._run, daemon=True).start()

    def write(self) -> None:
        """The next piece; from the first one on again when all are written."""
        with self._path.open("a") as file:
            file.write(self._pieces[self._next % PIECES])
        self._next += 1

    def pause_for_half(self, pid: int) -> float:
        """As long as the worker takes for a piece, measured over ten."""
        before = cpu_seconds(pid)
        for _ in range(10):
            self.write()
            time.sleep(0.3)
        return (cpu_seconds(pid) - before) / 10

    def _run(self) -> None:
        while True:
            pause = self.pause
            if pause is None:
                time.sleep(0.05)
                continue
            began = time.perf_counter()
            self.write()
            time.sleep(max(0.0, 2 * pause - (time.perf_counter() - began)))


if __name__ == "__main__":
    main()
