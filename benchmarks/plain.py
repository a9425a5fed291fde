"""The yardstick: DuckDB alone, one thread, over the same file. Run as `python -m benchmarks.plain QUERY.sql`.

The first line of the file is a comment with the number of rows that the query reads.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb


def main(path: str) -> None:
    text = Path(path).read_text("utf-8")
    rows = int(text.splitlines()[0].removeprefix("-- rows: "))
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    start = time.perf_counter()
    connection.execute(text).fetchall()
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1])
