"""The harness of joins: random ticks of two streams, and after each the changes so far, folded, equal the batch query.

Rows come in order and out of order, twice, with NULLs in keys and values. In every run epochs are taken back, before
they are prepared and after, the job is started again, and what is closed is given back and merged. A join gets all of
it by a line in `LISTED`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from ferrisstreams.batch import Fetch, JsonValue
from ferrisstreams.compile.pipeline import BatchContext
from ferrisstreams.operators.windows import NEVER_US
from tests.properties.operators import DELAY_S, SECOND, check, text_of
from tests.properties.operators import Run as OperatorRun

_STREAMS = "".join(
    f"CREATE STREAM {name} (k TEXT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '{DELAY_S}' SECOND)"
    f" WITH ('connector' = 'file', 'path' = '{name}.jsonl', 'format' = 'json');\n"
    for name in "ab"
)


@dataclass(frozen=True)
class Listed:
    """A join in a job. `query` is its query; `answer` the batch query over `a` and `b`, where it is another one: their
    rows have `us`, the event time in microseconds, and `$closed` is up to where rows without a partner have been given.
    `timed`: rows can be late."""

    name: str
    query: str
    answer: str = ""
    timed: bool = False

    @property
    def job(self) -> str:
        sink = "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl', 'changelog' = 'retract') AS "
        return f"{_STREAMS}{sink}{self.query};"


def _bounded(name: str, kind: str, low: int, high: int, pads: str) -> Listed:
    bound = f"b.ts BETWEEN a.ts + INTERVAL '{low}' SECOND AND a.ts + INTERVAL '{high}' SECOND"
    meets = f"a.k = b.k AND b.us - a.us BETWEEN {low * SECOND} AND {high * SECOND}"
    shown = "a.k AS ak, a.v AS av, b.k AS bk, b.v AS bv"
    parts = [f"SELECT {shown} FROM a JOIN b ON {meets}"]
    if "a" in pads:
        left = f"a.us + {max(high, 0) * SECOND} < $closed AND NOT EXISTS (SELECT 1 FROM b WHERE {meets})"
        parts.append(f"SELECT a.k, a.v, NULL, NULL FROM a WHERE {left}")
    if "b" in pads:
        left = f"b.us + {max(-low, 0) * SECOND} < $closed AND NOT EXISTS (SELECT 1 FROM a WHERE {meets})"
        parts.append(f"SELECT NULL, NULL, b.k, b.v FROM b WHERE {left}")
    query = f"SELECT {shown} FROM a {kind} JOIN b ON a.k = b.k AND {bound}"
    return Listed(name, query, " UNION ALL ".join(parts), timed=True)


def _windowed(name: str, kind: str, low: int, high: int) -> Listed:
    """A bounded join in windows of four seconds."""
    joined = _bounded(name, kind, low, high, "a" if kind else "")
    query = joined.query.replace("SELECT ", "SELECT a.ts AS at, ", 1)
    rows = joined.answer.replace("SELECT a.k", "SELECT a.us, a.k")
    behind = max(high, 0) * SECOND
    start = "us - ((us % 4000000 + 4000000) % 4000000)"
    return Listed(
        name,
        f"SELECT epoch_us(window_start) AS ws, count(*) AS n, count(bv) AS m FROM ({query})"
        " GROUP BY TUMBLE(at, INTERVAL '4' SECOND)",
        f"SELECT {start} AS ws, count(*) AS n, count(bv) AS m FROM ({rows})"
        f" WHERE {start} + 4000000 <= $closed - {behind} GROUP BY ws",
        timed=True,
    )


_SHOWN = "SELECT a.k AS ak, a.v AS av, b.k AS bk, b.v AS bv FROM a"
_COUNTS = "(SELECT k, count(*) AS n FROM a GROUP BY k) x"
_SUMS = "(SELECT k, sum(v)::BIGINT AS s, count(*) AS m FROM b GROUP BY k) y"
_LEFT = "SELECT a.k AS k, b.v AS bv FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v"

LISTED = (
    Listed("inner", f"{_SHOWN} JOIN b ON a.k = b.k"),
    Listed("inner, with a condition", f"{_SHOWN} JOIN b ON a.k = b.k AND a.v < b.v"),
    Listed("inner, two keys", f"{_SHOWN} JOIN b ON a.k = b.k AND a.v = b.v"),
    Listed("left", f"{_SHOWN} LEFT JOIN b ON a.k = b.k"),
    Listed("left, with a condition", f"{_SHOWN} LEFT JOIN b ON a.k = b.k AND a.v < b.v"),
    Listed("right", f"{_SHOWN} RIGHT JOIN b ON a.k = b.k"),
    Listed("full", f"{_SHOWN} FULL JOIN b ON a.k = b.k"),
    Listed("full, with a condition", f"{_SHOWN} FULL JOIN b ON a.k = b.k AND a.v <> b.v"),
    Listed("in a union, grouped", f"SELECT k, count(bv) AS n FROM ({_LEFT} UNION ALL SELECT k, v FROM b) GROUP BY k"),
    Listed("semi", "SELECT a.k, a.v FROM a SEMI JOIN b ON a.k = b.k"),
    Listed("semi, with a condition", "SELECT a.k, a.v FROM a SEMI JOIN b ON a.k = b.k AND a.v < b.v"),
    Listed("semi, of groups", f"SELECT a.k, a.v FROM a SEMI JOIN {_SUMS} ON a.k = y.k AND a.v < y.m AND y.m < 5"),
    Listed("anti", "SELECT a.k, a.v FROM a ANTI JOIN b ON a.k = b.k"),
    Listed("anti, with a condition", "SELECT a.k, a.v FROM a ANTI JOIN b ON a.k = b.k AND a.v < b.v"),
    Listed("anti, of groups", f"SELECT x.k, x.n FROM {_COUNTS} ANTI JOIN {_SUMS} ON x.k = y.k AND x.n < y.m"),
    Listed("in a query", "SELECT a.k, a.v FROM a WHERE a.k IN (SELECT k FROM b WHERE v > 0) AND a.v <> 3"),
    Listed("with itself", "SELECT l.k, l.v, r.v AS other FROM a l LEFT JOIN a r ON l.k = r.k AND r.v < l.v"),
    Listed("of aggregates", f"SELECT x.k, x.n, y.s FROM {_COUNTS} JOIN {_SUMS} ON x.k = y.k"),
    Listed("of aggregates, left", f"SELECT x.k, x.n, y.s FROM {_COUNTS} LEFT JOIN {_SUMS} ON x.k = y.k"),
    Listed("of aggregates, full", f"SELECT x.n, y.s FROM {_COUNTS} FULL JOIN {_SUMS} ON x.k = y.k AND x.n <= y.m"),
    Listed("of rows and an aggregate", f"SELECT a.v, y.m FROM a LEFT JOIN {_SUMS} ON a.k = y.k AND a.v < y.m"),
    Listed("grouped", f"SELECT k, count(*) AS n, sum(bv)::BIGINT AS s FROM ({_LEFT}) GROUP BY k"),
    Listed("grouped, values kept", f"SELECT k, max(bv) AS m, count(DISTINCT bv) AS d FROM ({_LEFT}) GROUP BY k"),
    Listed("grouped by nothing", f"SELECT count(bv) AS n, sum(bv)::BIGINT AS s FROM ({_LEFT}) HAVING count(*) > 0"),
    Listed("of groups", f"SELECT n, count(*) AS m FROM {_COUNTS} GROUP BY n"),
    Listed("of some groups", f"SELECT x.k, y.m FROM {_COUNTS} JOIN {_SUMS} ON x.k = y.k WHERE x.n > y.m"),
    Listed("groups that come and go", "SELECT k, sum(v)::BIGINT AS s FROM a GROUP BY k HAVING sum(v) BETWEEN 0 AND 4"),
    Listed("groups of groups that come and go", f"SELECT n, min(k) AS k FROM {_COUNTS} GROUP BY n HAVING count(*) > 1"),
    Listed(
        "of three",
        "SELECT a.v AS x, b.v AS y, c.v AS z FROM a LEFT JOIN b ON a.k = b.k AND a.v = b.v"
        " JOIN a c ON c.k = a.k AND c.v = a.v",
    ),
    Listed(
        "semi, bounded",
        "SELECT a.k, a.v FROM a SEMI JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts",
        "SELECT k, v FROM a WHERE EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND b.us - a.us BETWEEN -2000000 AND 0)",
        timed=True,
    ),
    Listed(
        "anti, bounded",
        "SELECT a.k, a.v FROM a ANTI JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '2' SECOND",
        "SELECT k, v FROM a WHERE us + 2000000 < $closed"
        " AND NOT EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND b.us - a.us BETWEEN 0 AND 2000000)",
        timed=True,
    ),
    _bounded("bounded", "", -2, 4, ""),
    _bounded("bounded, behind", "", 1, 4, ""),
    _bounded("bounded, left", "LEFT", -2, 4, "a"),
    _bounded("bounded, left, before", "LEFT", -4, -1, "a"),
    _bounded("bounded, right", "RIGHT", -2, 4, "b"),
    _bounded("bounded, full", "FULL", -2, 4, "ab"),
    _bounded("bounded, full, behind", "FULL", 1, 3, "ab"),
    Listed(
        "bounded, of three",
        "SELECT a.v AS x, b.v AS y, c.v AS z FROM a LEFT JOIN b ON a.k = b.k"
        " AND b.ts BETWEEN a.ts - INTERVAL '1' SECOND AND a.ts + INTERVAL '3' SECOND"
        " JOIN b c ON a.k = c.k AND c.ts BETWEEN a.ts AND a.ts + INTERVAL '2' SECOND",
        "SELECT m.v AS x, m.w AS y, c.v AS z FROM (SELECT a.k, a.v, a.us, b.v AS w FROM a JOIN b ON a.k = b.k"
        " AND b.us - a.us BETWEEN -1000000 AND 3000000 UNION ALL SELECT k, v, us, NULL FROM a"
        " WHERE us + 3000000 < $closed AND NOT EXISTS"
        " (SELECT 1 FROM b WHERE a.k = b.k AND b.us - a.us BETWEEN -1000000 AND 3000000)) m"
        " JOIN b c ON m.k = c.k AND c.us - m.us BETWEEN 0 AND 2000000",
        timed=True,
    ),
    _windowed("in windows", "", -2, 4),
    _windowed("in windows, left", "LEFT", -2, 4),
    _windowed("in windows, left, before", "LEFT", -4, -1),
)

Row = tuple[str | None, int | None, int]


@dataclass
class World:
    """What is so at a point of a run: of each stream the rows that were not late, and the folded output."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {"a": [], "b": []})
    seen_us: dict[str, int] = field(default_factory=lambda: {"a": NEVER_US, "b": NEVER_US})
    read: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    folded: Counter[tuple[object, ...]] = field(default_factory=Counter)
    closed_us: int = NEVER_US
    snapshot: Mapping[str, JsonValue] = field(default_factory=dict)

    def copy(self) -> World:
        return replace(
            self,
            rows={name: list(rows) for name, rows in self.rows.items()},
            seen_us=dict(self.seen_us),
            read=dict(self.read),
            folded=Counter(self.folded),
            snapshot=json.loads(json.dumps(self.snapshot)),
        )


class Run(OperatorRun):
    """One listed join over one state."""

    def __init__(self, listed: Listed, seed: int) -> None:
        super().__init__(listed, seed)
        self._clock = {"a": 0, "b": 0}

    # --- private ----------------------------------------------------------------------------------------------------

    def _world(self) -> World:
        return World()

    def _rows(self, name: str) -> list[Row]:
        chance, rows = self._chance, []
        for _ in range(chance.below(6)):
            self._clock[name] += chance.below(3)
            late = chance.pick((0, 0, 0, 1, 2, 5, 9))
            key = chance.pick((None, "a", "b", "c", f"k{chance.below(30)}"))
            rows.append((key, chance.pick((None, 1, 2, 3, -4)), (self._clock[name] - late) * SECOND))
            if chance.below(5) == 0:
                rows.append(rows[-1])
        return rows

    def _tick(self) -> None:
        names = [name for name in "ab" if name in self._blocks]
        name = self._chance.pick(names)
        rows, now, block = self._rows(name), self._now, self._blocks[name]
        lines = (json.dumps({"k": row[0], "v": row[1], "ts": text_of(row[2])}) for row in rows)
        block.write("".join(f"{line}\n" for line in lines).encode())
        read = now.read[name]
        key = name if len(names) > 1 else "p"
        for scan, source in enumerate(scan.source.name for scan in self._builder.graph.scans):
            if source == name:
                fetch = Fetch(partition=key, records=block, origin="p", offset=read, position=read)
                outcome = self._pipeline.process(fetch, BatchContext(now.seen_us[name], read), scan)
                assert not outcome.rejected
                self._fold([outcome])
        for row in rows:
            now.seen_us[name] = max(now.seen_us[name], row[2])
            closed_us = max(now.seen_us[name] - DELAY_S * SECOND, now.closed_us)
            if not self._is_late(name, row, closed_us):
                now.rows[name].append(row)
        now.read[name] += len(rows)

    def _is_late(self, name: str, row: Row, closed_us: int) -> bool:
        return self.listed.timed and row[2] < closed_us

    def _watermark_us(self) -> int:
        return min(self._now.seen_us[name] for name in self._blocks) - DELAY_S * SECOND

    def _batch_answer(self) -> list[tuple[object, ...]]:
        for name, rows in self._now.rows.items():
            columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(_KINDS)]
            self._oracle.register(name, pa.table(dict(zip(("k", "v", "us"), columns, strict=True))))
        answer = self.listed.answer or self.listed.query
        closed = {"closed": self._now.closed_us} if "$closed" in answer else {}
        return self._oracle.execute(answer, closed).fetchall()


_KINDS = (pa.string(), pa.int64(), pa.int64())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=2_000, help="ticks of each join")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="joins whose names begin so")
    arguments = parser.parse_args()
    for listed in LISTED:
        if listed.name.startswith(arguments.only):
            check(partial(Run, listed), arguments.ticks, arguments.seed)
            print(f"{listed.name}: {arguments.ticks} ticks", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
