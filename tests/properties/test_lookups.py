"""Rows of a stream meet the row that a table has when they come: after every tick the folded output equals the batch
query over the rows beside what each of them met (the harness is that of joins)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pytest

from tests.properties.joins import Listed, Row, Run
from tests.properties.operators import DELAY_S, SECOND, check

_SOURCES = (
    f"CREATE STREAM a (k TEXT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '{DELAY_S}' SECOND)"
    " WITH ('connector' = 'file', 'path' = 'a.jsonl', 'format' = 'json');\n"
    "CREATE TABLE b (k TEXT, v BIGINT, ts TIMESTAMP, PRIMARY KEY (k))"
    " WITH ('connector' = 'file', 'path' = 'b.jsonl', 'format' = 'json');\n"
)


@dataclass(frozen=True)
class Lookup(Listed):
    """`answer` is over `met`: the rows of the stream with what they met (`bv`, `found`)."""

    @property
    def job(self) -> str:
        sink = "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl', 'changelog' = 'retract') AS "
        return f"{_SOURCES}{sink}{self.query};"


_SIZE_US = 4 * SECOND
_WINDOW = "TUMBLE(a.ts, INTERVAL '4' SECOND)"

LOOKUPS = (
    Lookup("inner", "SELECT a.k, a.v, b.v AS bv FROM a JOIN b ON a.k = b.k", "SELECT k, v, bv FROM met WHERE found"),
    Lookup("left", "SELECT a.k, a.v, b.v AS bv FROM a LEFT JOIN b ON a.k = b.k", "SELECT k, v, bv FROM met"),
    Lookup(
        "by an expression",
        "SELECT a.v, b.v AS bv FROM a JOIN b ON substr(a.k, 1, 1) = b.k WHERE a.v > 0",
        "SELECT v, bv FROM met WHERE v > 0 AND found AND length(k) = 1",
    ),
    Lookup(
        "with a condition",
        "SELECT a.k, a.v, b.v AS bv FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v",
        "SELECT k, v, CASE WHEN v < bv THEN bv END FROM met",
    ),
    Lookup(
        "with chance",
        "SELECT a.k, b.v AS bv, random() < 2 AS r FROM a LEFT JOIN b ON a.k = b.k WHERE random() < a.v + b.v + 9",
        "SELECT k, bv, true FROM met WHERE v + bv IS NOT NULL",
    ),
    Lookup(
        "grouped",
        "SELECT b.v AS bv, count(*) AS n FROM a LEFT JOIN b ON a.k = b.k GROUP BY b.v",
        "SELECT bv, count(*) FROM met GROUP BY bv",
    ),
    Lookup(
        "in windows",
        "SELECT epoch_us(window_start) AS ws, b.v AS bv, count(*) AS n FROM a LEFT JOIN b ON a.k = b.k"
        f" GROUP BY b.v, {_WINDOW}",
        "SELECT start AS ws, bv, count(*) FROM"
        " (SELECT *, us - ((us % 4000000 + 4000000) % 4000000) AS start FROM met)"
        " WHERE start + 4000000 <= $closed GROUP BY ALL",
        timed=True,
    ),
)


class LookupRun(Run):
    """Of rows of the stream it is kept what they met."""

    def _rows(self, name: str) -> list[Row]:
        rows = super()._rows(name)
        return rows if name == "a" else [row for row in rows if row[0] is not None] or [("a", 1, 0)]

    def _tick(self) -> None:
        known = len(self._now.rows["a"])
        super()._tick()
        table = {row[0]: row[1] for row in self._now.rows["b"]}
        met = self._now.rows.setdefault("met", [])
        for row in self._now.rows["a"][known:]:
            met.append((*row, table.get(row[0]), row[0] in table))  # type: ignore[arg-type]

    def _is_late(self, name: str, row: Row, closed_us: int) -> bool:
        return name == "a" and self.listed.timed and row[2] // _SIZE_US * _SIZE_US + _SIZE_US <= closed_us

    def _watermark_us(self) -> int:
        return self._now.seen_us["a"] - DELAY_S * SECOND

    def _batch_answer(self) -> list[tuple[object, ...]]:
        rows = self._now.rows.get("met", [])
        columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(_KINDS)]
        self._oracle.register("met", pa.table(dict(zip(("k", "v", "us", "bv", "found"), columns, strict=True))))
        closed = {"closed": self._now.closed_us} if "$closed" in self.listed.answer else {}
        return self._oracle.execute(self.listed.answer, closed).fetchall()


_KINDS = (pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.bool_())


@pytest.mark.parametrize("listed", LOOKUPS, ids=[listed.name for listed in LOOKUPS])
def test_rows_meet_the_row_of_the_moment(listed: Lookup) -> None:
    check(partial(LookupRun, listed), 40)
