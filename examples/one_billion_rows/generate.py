"""Write `station;temperature` lines: python generate.py ROWS [FILE] [SEED]. The same seed makes the same file."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

#: Like the challenge's 413 stations, each with a mean of its own.
STATIONS = 413

_LINES = """
COPY (
    SELECT 'Station ' || s AS station,
        round(20 * sin(s) + 10 + 10 * sqrt(-2 * ln(1 - u)) * cos(2 * pi() * v), 1)::DECIMAL(4, 1) AS temperature
    FROM (
        SELECT (hash(hash(i, $seed)) % $stations)::INTEGER AS s,
            (hash(hash(i, $seed + 1)) >> 11) / 9007199254740992 AS u,
            (hash(hash(i, $seed + 2)) >> 11) / 9007199254740992 AS v
        FROM range($rows) AS r(i)
    )
) TO '{path}' (FORMAT csv, HEADER false, DELIMITER ';', QUOTE '')
"""


def main(rows: int, path: Path, seed: int) -> None:
    connection = duckdb.connect(config={"threads": 1})
    statement = _LINES.format(path=str(path).replace("'", "''"))
    connection.execute(statement, {"rows": rows, "seed": seed, "stations": STATIONS})
    print(f"{path}: {rows:,} lines, seed {seed}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(__doc__)
    main(
        int(arguments[0].replace("_", "")),
        Path(arguments[1]) if len(arguments) > 1 else Path(__file__).with_name("measurements.txt"),
        int(arguments[2]) if len(arguments) > 2 else 1,
    )
