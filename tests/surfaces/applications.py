"""Applications and data that the tests of the ways in share."""

from __future__ import annotations

import json

TRADES = """\
CREATE STREAM trades (ts TIMESTAMP, symbol TEXT, price DOUBLE, qty INTEGER,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'file', 'path' = 'trades.jsonl', 'format' = 'json');
"""

BARS = (
    TRADES
    + """
CREATE STREAM bars WITH ('connector' = 'file', 'path' = 'bars.jsonl') AS
SELECT window_start, symbol, count(*) AS n, sum(qty) AS qty FROM trades
GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE);
"""
)

SELECT = TRADES + "\nSELECT symbol, qty FROM trades WHERE qty > 1;\n"

#: Two jobs side by side, and one that reads what the first writes.
SEVERAL = (
    BARS
    + """
CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl') AS SELECT * FROM trades WHERE qty > 2;

CREATE STREAM busy WITH ('connector' = 'file', 'path' = 'busy.jsonl') AS SELECT symbol, n FROM bars WHERE n > 1;
"""
)

ROWS = (
    {"ts": "2024-01-01T09:00:01Z", "symbol": "AAA", "price": 10.0, "qty": 5},
    {"ts": "2024-01-01T09:00:30Z", "symbol": "BBB", "price": 20.5, "qty": 1},
    {"ts": "2024-01-01T09:00:59Z", "symbol": "AAA", "price": 12.0, "qty": 2},
    {"ts": "2024-01-01T09:01:10Z", "symbol": "AAA", "price": 11.0, "qty": 7},
    {"ts": "2024-01-01T09:00:40Z", "symbol": "AAA", "price": 99.0, "qty": 1},
)

#: As lines, with a last one that does not decode.
LINES = "".join(json.dumps(row) + "\n" for row in ROWS) + '{"ts": "2024-01-01T09:01:20Z", "price": "cheap"}\n'

LEDGER = {
    "read": 6,
    "emitted": 0,
    "absorbed": 4,
    "filtered": 0,
    "late": 1,
    "deduplicated": 0,
    "dead_lettered": 0,
    "skipped": 1,
    "produced": 3,
    "written": 3,
    "output_rejected": 0,
    "late_windows": 0,
    "derived_rejected": 0,
}
