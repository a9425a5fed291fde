"""The records that all systems read, made from a formula, and the answers that they must give.

DuckDB makes both, as a plain batch query; no part of the engine is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from zlib import crc32

import duckdb
import pyarrow as pa

MINUTE_MS = 60_000
#: 2024-01-01, a whole minute.
FIRST_MS = 1_704_067_200_000
#: How far after the last record the closing one lies: further than every delay, so all windows close.
CLOSING_MS = 600_000
#: Records that are made at once.
CHUNK_RECORDS = 200_000


class Work(Enum):
    """F: filter and projection. W: count and sum by symbol in tumbling minutes, final rows."""

    FILTER = "filter"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an output is held to: all rows or a part of them; whole rows or, for a system that decodes nothing, `id`."""

    whole: bool = True
    identities_only: bool = False


WHOLE = Answer()


@dataclass(frozen=True, slots=True)
class Data:
    """A topic of trades: `records` of them, `spacing_us` of event time apart; as many keys as records: all distinct.

    Each key has its partition, of `partitions`.
    """

    topic: str
    records: int
    keys: int
    spacing_us: int
    partitions: int = 1

    def partition_of(self, key: bytes) -> int:
        """Where the records of a key are."""
        return crc32(key) % self.partitions

    def chunks(self) -> Iterator[list[tuple[bytes, bytes]]]:
        """Pairs of key and value, in order."""
        connection = _connection()
        cursor = connection.execute(f"SELECT symbol, to_json(t) FROM ({self._trades()}) AS t")
        while rows := cursor.fetchmany(CHUNK_RECORDS):
            yield [(symbol.encode(), value.encode()) for symbol, value in rows]

    def closing(self) -> tuple[bytes, bytes]:
        """The record after the last one. No answer has it: it only moves the time, so that all windows close."""
        event_ms = FIRST_MS + self.records * self.spacing_us // 1000 + CLOSING_MS
        record = {"id": -1, "symbol": "CLOSING", "price": 1.0, "qty": 1, "side": "sell", "ts": event_ms}
        return b"CLOSING", json.dumps(record, separators=(",", ":")).encode()

    def outputs(self, work: Work) -> int:
        """How many rows the right answer has."""
        return _outputs(self, work)

    def difference(self, work: Work, values: list[bytes], expected: Answer = WHOLE) -> str | None:
        """What is wrong with the values of an output topic; None when they are the right answer, each row once."""
        connection = _connection()
        connection.register("given_values", pa.table({"value": pa.array(values, pa.binary())}))
        columns = "id" if expected.identities_only else "*"
        try:
            connection.execute(
                f"CREATE TABLE given AS SELECT {columns} FROM ({_NORMAL[work].format(given=_given(work))})"
            )
        except duckdb.Error as error:
            return f"the output does not parse: {str(error).splitlines()[0]}"
        connection.execute(f"CREATE TABLE wanted AS SELECT {columns} FROM ({self.answer(work)})")
        missing = _count(connection, "FROM wanted EXCEPT ALL FROM given")
        surplus = _count(connection, "FROM given EXCEPT ALL FROM wanted")
        if surplus or (missing and expected.whole):
            return f"{missing:,} of {self.outputs(work):,} rows are missing, {surplus:,} are wrong or repeated"
        return None

    def record_of_window(self, start_ms: int) -> int:
        """The number of the first record of a window."""
        return -(-(start_ms - FIRST_MS) * 1000 // self.spacing_us)

    def _trades(self) -> str:
        number = "i" if self.keys == self.records else f"hash(i) % {self.keys}"
        return f"""SELECT i AS id, 'SYM' || lpad(({number})::VARCHAR, 8, '0') AS symbol,
            round(10 + (hash(i + 7) % 100000) / 100, 2) AS price, (hash(i + 13) % 1000)::INTEGER AS qty,
            if(hash(i + 29) % 2 = 0, 'buy', 'sell') AS side, {FIRST_MS} + (i * {self.spacing_us}) // 1000 AS ts
            FROM range({self.records}) AS r(i)"""

    def answer(self, work: Work) -> str:
        """The query of the right answer."""
        return _ANSWERS[work].format(trades=self._trades())


_SHAPES = {
    Work.FILTER: {"id": "BIGINT", "symbol": "VARCHAR", "amount": "DOUBLE", "qty": "BIGINT"},
    Work.WINDOW: {"window_start": "VARCHAR", "symbol": "VARCHAR", "n": "BIGINT", "total": "BIGINT"},
}

#: Systems write the start of a window as a number or as a text; amounts are compared to 1e-6.
_NORMAL = {
    Work.FILTER: "SELECT id, symbol, round(amount, 6) AS amount, qty FROM ({given})",
    Work.WINDOW: "SELECT coalesce(try_cast(window_start AS BIGINT), epoch_ms(try_cast(window_start AS TIMESTAMP))) "
    "AS window_ms, symbol, n, total FROM ({given})",
}

_ANSWERS = {
    Work.FILTER: "SELECT id, symbol, round(price * qty, 6) AS amount, qty::BIGINT FROM ({trades}) WHERE side = 'buy'",
    Work.WINDOW: f"SELECT ts // {MINUTE_MS} * {MINUTE_MS} AS window_ms, symbol, count(*) AS n, "
    "sum(qty)::BIGINT AS total FROM ({trades}) GROUP BY ALL",
}


def windows_of(values: list[bytes]) -> list[int]:
    """The start of the window of each output row, in milliseconds."""
    connection = _connection()
    connection.register("given_values", pa.table({"value": pa.array(values, pa.binary())}))
    normal = _NORMAL[Work.WINDOW].format(given=_given(Work.WINDOW))
    return [row[0] for row in connection.execute(f"SELECT window_ms FROM ({normal})").fetchall()]


def _given(work: Work) -> str:
    shape = json.dumps(_SHAPES[work])
    return f"SELECT r.* FROM (SELECT from_json(decode(value), '{shape}') AS r FROM given_values)"


@cache
def _outputs(data: Data, work: Work) -> int:
    return _count(_connection(), data.answer(work))


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM ({query})").fetchone() or (0,)
    return int(count)


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection
