"""What is measured: files of trades, and queries over them, ours and DuckDB's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Rows of the main files; about 105 bytes each.
ROWS = 3_000_000
#: Rows of the file with missing keys, and of one round with a strategy.
ROWS_SMALL = 1_000_000
FEW_KEYS = 500
MANY_KEYS = 1_000_000

#: Six fields. The events are a millisecond apart, so a window of a minute holds 60,000 rows.
_TRADE = """
    i AS id, 'S' || (hash(i) % {keys}) AS symbol, round(10 + (hash(i + 7) % 100000) / 100, 2) AS price,
    (hash(i + 13) % 1000)::INTEGER AS qty, if(hash(i + 29) % 2 = 0, 'buy', 'sell') AS side,
    strftime(TIMESTAMP '2024-01-01' + i * INTERVAL 1 MILLISECOND, '%Y-%m-%dT%H:%M:%S.%gZ') AS ts
"""

_DECLARED = """CREATE STREAM trades (id BIGINT, symbol TEXT, price DOUBLE, qty INTEGER, side TEXT, ts TIMESTAMP,
    WATERMARK FOR ts AS ts) WITH ('connector' = 'file', 'path' = '{path}', 'format' = 'json');
"""

_READ = """read_json('{path}', format = 'newline_delimited', columns = {{id: 'BIGINT', symbol: 'VARCHAR',
    price: 'DOUBLE', qty: 'INTEGER', side: 'VARCHAR', ts: 'TIMESTAMP'}})"""


@dataclass(frozen=True, slots=True)
class Data:
    """A file to be made: `missing` leaves two of the keys out of every fiftieth row."""

    name: str
    rows: int
    keys: int
    missing: bool = False

    def query(self, path: Path) -> str:
        """The statement that makes the file."""
        trade = _TRADE.format(keys=self.keys)
        made = f"SELECT {trade} FROM range({self.rows}) AS r(i)"
        short = "if(id % 50 = 0, to_json({id: id, symbol: symbol, price: price, ts: ts}), to_json(t))"
        lines = f"SELECT {short if self.missing else 'to_json(t)'} FROM ({made}) AS t"
        form = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\\x01'"
        return f"-- rows: {self.rows}\nCOPY ({lines}) TO '{path}' ({form})"


FEW = Data("few", ROWS, FEW_KEYS)
MANY = Data("many", ROWS, MANY_KEYS)
MISSING = Data("missing", ROWS_SMALL, FEW_KEYS, missing=True)


@dataclass(frozen=True, slots=True)
class Workload:
    """A query over a file. `job` is what follows the declared source, `batch` what DuckDB runs; `{source}` is the file
    as DuckDB reads it, `{sink}` the output."""

    title: str
    data: Data
    job: str
    batch: str

    def application(self, path: Path) -> str:
        return _DECLARED.format(path=path) + self.job

    def yardstick(self, path: Path, output: Path) -> str:
        source = _READ.format(path=path)
        return f"-- rows: {self.data.rows}\n" + self.batch.format(source=source, sink=f"'{output}' (FORMAT json)")


_OUT = "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl') AS "
_WINDOWED = _OUT + (
    "SELECT window_start, symbol, count(*) AS n, sum(qty) AS qty, max(price) AS high FROM trades "
    "GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)"
)
_WINDOWED_BATCH = (
    "COPY (SELECT time_bucket(INTERVAL '1 minute', ts) AS window_start, symbol, count(*) AS n, sum(qty) AS qty, "
    "max(price) AS high FROM {source} GROUP BY ALL) TO {sink}"
)
_CHANGES = _OUT + "SELECT symbol, count(*) AS n, sum(qty) AS qty, max(price) AS high FROM trades GROUP BY symbol"
_CHANGES_BATCH = (
    "COPY (SELECT symbol, count(*) AS n, sum(qty) AS qty, max(price) AS high FROM {source} GROUP BY ALL) TO {sink}"
)
_NOTHING = "CREATE STREAM out WITH ('connector' = 'blackhole') AS SELECT * FROM trades WHERE id < 0"
_NOTHING_BATCH = "SELECT count(id), count(symbol), count(price), count(qty), count(side), count(ts) FROM {source}"
_FILTER = _OUT + "SELECT id, symbol, price * qty AS amount, ts FROM trades WHERE side = 'buy'"
_FILTER_BATCH = "COPY (SELECT id, symbol, price * qty AS amount, ts FROM {source} WHERE side = 'buy') TO {sink}"

DECODE = (
    Workload("six fields", FEW, _NOTHING, _NOTHING_BATCH),
    Workload("six fields, 2 % of the rows lack two", MISSING, _NOTHING, _NOTHING_BATCH),
)

WORKLOADS = (
    Workload("file to filter to file", FEW, _FILTER, _FILTER_BATCH),
    Workload("tumbling minute, 500 keys", FEW, _WINDOWED, _WINDOWED_BATCH),
    Workload("tumbling minute, 1,000,000 keys", MANY, _WINDOWED, _WINDOWED_BATCH),
    Workload("EMIT CHANGES, 500 keys", FEW, _CHANGES + " EMIT CHANGES", _CHANGES_BATCH),
)

#: The windowed job of 500 keys with each strategy: title, settings, and how many rows it is given.
STRATEGIES: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("default (memory_based, 6MB)", (), ROWS_SMALL),
    ("fixed_size", ("batch.strategy=fixed_size",), ROWS_SMALL),
    ("time_window", ("batch.strategy=time_window",), ROWS_SMALL),
    ("adaptive_size", ("batch.strategy=adaptive_size",), ROWS_SMALL),
    ("memory_based", ("batch.strategy=memory_based",), ROWS_SMALL),
    ("low_latency", ("batch.strategy=low_latency",), 100_000),
    ("off", ("batch.enable=false",), 1_000),
)
