"""`make bench`: run every workload beside plain DuckDB and write `docs/benchmarks.md`.

With `--quick`, rows that fail are not measured, and the page keeps their table.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import Figures, ferris, median, plain, run
from benchmarks.odd_rows import PAGE, odd_rows_section, say, section_of
from benchmarks.report import page
from benchmarks.stations import compare_stations
from benchmarks.workloads import DECODE, FEW, MANY, MISSING, STRATEGIES, WORKLOADS, Data, Workload

#: Rounds of each pair; the two take turns, so that a slow minute of the machine hits both.
ROUNDS = 3


def make(data: Data, folder: Path) -> Path:
    """The file of a data set, made by DuckDB in a process of its own."""
    path = folder / f"{data.name}.jsonl"
    query = folder / "make.sql"
    query.write_text(data.query(path), "utf-8")
    say(f"making {data.rows:,} rows with {data.keys:,} keys")
    run([sys.executable, "-m", "benchmarks.plain", query], folder)
    return path


def compare(workload: Workload, path: Path, folder: Path) -> tuple[Figures, Figures]:
    """Ours and DuckDB's, the medians of the rounds."""
    application, query = folder / "app.sql", folder / "query.sql"
    application.write_text(workload.application(path), "utf-8")
    query.write_text(workload.yardstick(path, folder / "batch.jsonl"), "utf-8")
    say(workload.title)
    turns = [(ferris(application), plain(query)) for _ in range(ROUNDS)]
    return median([ours for ours, _ in turns]), median([theirs for _, theirs in turns])


def strategies(workload: Workload, path: Path, folder: Path) -> list[tuple[str, Figures]]:
    """The windowed job with each batch strategy; the rounds go through all strategies in turn."""
    application = folder / "app.sql"
    application.write_text(workload.application(path), "utf-8")
    taken: dict[str, list[Figures]] = {}
    for _ in range(ROUNDS):
        for title, settings, rows in STRATEGIES:
            say(f"strategy {title}")
            options = [option for setting in settings for option in ("--set", setting)]
            taken.setdefault(title, []).append(ferris(application, "--max-records", str(rows), *options))
    return [(title, median(figures)) for title, figures in taken.items()]


def main(
    measure: Callable[[Workload, Path, Path], tuple[Figures, Figures]] = compare,
    measure_stations: Callable[[Path, int], tuple[Figures, Figures]] = compare_stations,
    measure_odd_rows: Callable[[Path], str] = odd_rows_section,
) -> None:
    with tempfile.TemporaryDirectory(prefix="ferris-bench-") as name:
        folder = Path(name)
        files = {data.name: make(data, folder) for data in (FEW, MANY, MISSING)}

        def all_of(workloads: Sequence[Workload]) -> list[tuple[Workload, Figures, Figures]]:
            return [(w, *measure(w, files[w.data.name], folder)) for w in workloads]

        decoded, compared = all_of(DECODE), all_of(WORKLOADS)
        batched = strategies(WORKLOADS[1], files[FEW.name], folder)
        say("stations")
        stations = measure_stations(folder, ROUNDS)
        odd_rows = section_of(PAGE.read_text("utf-8")) if "--quick" in sys.argv[1:] else measure_odd_rows(folder)
    text = page(decoded, compared, batched, stations, odd_rows)
    PAGE.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
