"""What a small tick costs: 100 rows through one, three and six grouped aggregates whose results change with every tick.

A job reads a file of JSON lines in batches of 100 rows and writes its changes to a file; ten batches are an epoch,
which is committed to a state file. Figures are milliseconds of CPU per tick, all of the loop included (decoding,
ledger, encoding, state, commit), beside a prepared one-row INSERT into a table in memory in the same run: both take
turns, and the medians are told. Run it with `python -m benchmarks.small_ticks`, or as part of `make bench`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ferrisstreams.config.values import Property
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.job import Job
from ferrisstreams.sql.application import parse_application

TICK_ROWS = 100
TICKS_PER_EPOCH = 10
ROUNDS = 15
STATE_KEYS = (10_000, 1_000_000)

#: A query over the stream, and how many times an INSERT its tick may cost.
QUERIES = {
    "count and sum by a number": "SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k EMIT CHANGES",
    "count, sum, max by a text": "SELECT t, count(*) n, sum(v) s, max(v) m FROM events GROUP BY t EMIT CHANGES",
}

#: Groups of one stream side by side, by UNION ALL.
_GROUPS = [
    *("SELECT k, count(*) AS n FROM events GROUP BY k", "SELECT k, sum(v) AS n FROM events GROUP BY k"),
    *("SELECT k % 1000, count(*) FROM events GROUP BY k % 1000", "SELECT v, sum(k) FROM events GROUP BY v"),
    *("SELECT k, max(v) FROM events GROUP BY k", "SELECT k // 2, min(v) FROM events GROUP BY k // 2"),
]
QUERIES |= {
    "three aggregates, UNION ALL": " UNION ALL ".join(_GROUPS[:3]) + " EMIT CHANGES",
    "six aggregates, UNION ALL": " UNION ALL ".join(_GROUPS) + " EMIT CHANGES",
}

_DECLARED = """CREATE STREAM events (k BIGINT, t TEXT, v BIGINT)
    WITH ('connector' = 'file', 'path' = '{path}', 'format' = 'json');
CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl'{changelog}) AS {query};
"""


@dataclass(frozen=True, slots=True)
class Small:
    """Milliseconds of CPU of a tick and of a one-row INSERT in the same run."""

    title: str
    keys: int
    tick_ms: float
    insert_ms: float

    @property
    def inserts(self) -> float:
        return self.tick_ms / self.insert_ms


def make(path: Path, keys: int, ticks: int) -> None:
    """Every key once, then ticks of random keys, half of them new."""
    first = f"SELECT 2 * i AS k, 't' || 2 * i AS t, i % 1000 AS v FROM range({keys}) AS r(i)"
    spread = f"(hash(i) % {2 * keys})::BIGINT"
    then = f"SELECT {spread} AS k, 't' || {spread} AS t, i % 1000 AS v FROM range({ticks * TICK_ROWS}) AS r(i)"
    form = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\\x01'"
    with duckdb.connect(config={"threads": 1}) as made:
        made.execute(f"COPY (SELECT to_json(e) FROM ({first} UNION ALL {then}) AS e) TO '{path}' ({form})")


def job(text: str, folder: Path, rows_max: int, batch: int) -> Job:
    settings = {"batch.strategy": "fixed_size", "batch.size": batch, "commit.rows": batch * TICKS_PER_EPOCH,
                "commit.interval": "1 hour"}  # fmt: skip
    overrides = {name: Property(str(value), origin="with") for name, value in settings.items()}
    plan = parse_application(text, "app.sql").jobs[0]
    return Job(plan, Environment("app", folder, folder / "state", overrides, rows_max=rows_max))


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def measure(title: str, query: str, keys: int, rounds: int = ROUNDS) -> Small:
    """A round is an epoch; the first two are for warming up."""
    rounds += 2
    with tempfile.TemporaryDirectory(prefix="ferris-small-") as name:
        folder = Path(name)
        make(folder / "in.jsonl", keys, rounds * TICKS_PER_EPOCH)
        scans = query.count("FROM events")
        changelog = ", 'changelog' = 'retract'" if scans > 1 else ""
        text = _DECLARED.format(path=folder / "in.jsonl", query=query, changelog=changelog)
        failed = job(text, folder, keys * scans, 100_000).run().error
        if failed is not None:
            raise failed
        memory = duckdb.connect(config={"threads": 1})
        memory.execute("CREATE TABLE one(a BIGINT); PREPARE one_row AS INSERT INTO one VALUES ($1)")
        running = job(text, folder, rounds * TICKS_PER_EPOCH * TICK_ROWS * scans, TICK_ROWS)
        running.open()
        spent, inserts = [], []
        for _ in range(rounds):
            inserts.append(statistics.median(_one_insert(memory) for _ in range(100)))
            spent.append(cpu_ms(lambda: [running.task.run_once() for _ in range(TICKS_PER_EPOCH)]) / TICKS_PER_EPOCH)
        running.close()
    return Small(title, keys, statistics.median(spent[2:]), statistics.median(inserts[2:]))


def _one_insert(memory: duckdb.DuckDBPyConnection) -> float:
    return cpu_ms(lambda: memory.execute("EXECUTE one_row(1)").fetchall())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--keys", type=int, nargs="*", default=STATE_KEYS)
    chosen = options.parse_args()
    print(f"{'query':30} {'keys':>10} {'ms/tick':>8} {'INSERT':>7} {'times':>6}")
    for title, query in QUERIES.items():
        for keys in chosen.keys:
            small = measure(title, query, keys, chosen.rounds)
            print(
                f"{title:30} {keys:>10,} {small.tick_ms:8.2f} {small.insert_ms:7.3f} {small.inserts:6.1f}", flush=True
            )


if __name__ == "__main__":
    main()
