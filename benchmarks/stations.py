"""One billion rows, a small edition: `examples/one_billion_rows`, beside DuckDB's batch query over the same file."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Figures, ferris, median, plain, run

ROWS = 10_000_000
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "one_billion_rows"

_BATCH = """-- rows: {rows}
COPY (SELECT station, min(temperature) AS lowest, round(avg(temperature), 1) AS mean, max(temperature) AS highest
    FROM read_csv('{path}', header = false, delim = ';', columns = {{station: 'VARCHAR', temperature: 'DOUBLE'}})
    GROUP BY station) TO '{out}' (FORMAT json)
"""


def compare_stations(folder: Path, rounds: int, rows: int = ROWS) -> tuple[Figures, Figures]:
    """Ours and DuckDB's, the medians of the rounds, which take turns."""
    path = folder / "measurements.txt"
    run([sys.executable, EXAMPLE / "generate.py", str(rows), path], folder)
    application, query = folder / "stations.sql", folder / "query.sql"
    text = (EXAMPLE / "measurements.sql").read_text("utf-8")
    application.write_text(text.replace("'stations.jsonl'", "'out.jsonl'"), "utf-8")
    query.write_text(_BATCH.format(rows=rows, path=path, out=folder / "batch.jsonl"), "utf-8")
    turns = [(ferris(application), plain(query)) for _ in range(rounds)]
    path.unlink()
    return median([ours for ours, _ in turns]), median([theirs for _, theirs in turns])
