"""The harness of operators: random ticks, and after each the changes so far, folded, equal the batch query of DuckDB.

Rows come in order and out of order, twice, with NULLs, with keys that grow and keys at random. In every run epochs are
rolled back, before they are prepared and after, the job is started again, and what is closed is given back and merged.
An operator gets all of it by a line in `LISTED`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from ferrisstreams.batch import Fetch, JsonValue, Payload, integer
from ferrisstreams.compile.pipeline import BatchContext, Pipeline
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.sizes import TINY_SIZES, USUAL_SIZES
from ferrisstreams.config.values import Property
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.duck.state_log import delete_after
from ferrisstreams.operators.windows import NEVER_US
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.chance import Chance

#: Ticks of one run, over one state.
TICKS = 40
DELAY_S = 3
SECOND = 1_000_000

_STREAM = (
    "CREATE STREAM s (k TEXT, o BIGINT, v BIGINT, ts TIMESTAMP,"
    f" WATERMARK FOR ts AS ts - INTERVAL '{DELAY_S}' SECOND)"
    " WITH ('connector' = 'file', 'path' = 'in.jsonl', 'format' = 'json');\n"
    "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl', 'changelog' = 'retract') AS "
)
_CALLS = "count(*) AS n, count(v) AS c, sum(v)::BIGINT AS s, min(v) AS lo, max(v) AS hi"


@dataclass(frozen=True)
class Listed:
    """An operator in a job. `window` is a call, its kind and its lengths in seconds (size, slide); None without one."""

    name: str
    keys: tuple[str, ...] = ("k",)
    window: tuple[str, str, int, int] | None = None
    final: bool = False
    calls: str = _CALLS

    @property
    def job(self) -> str:
        bounds = ["epoch_us(window_start) AS ws", "epoch_us(window_end) AS we"] if self.window else []
        shown = [*bounds, *(f"{key} AS key{at}" for at, key in enumerate(self.keys)), self.calls]
        groups = [*([self.window[0]] if self.window else []), *self.keys]
        grouped = f" GROUP BY {', '.join(groups)}" if groups else ""
        return f"{_STREAM}SELECT {', '.join(shown)} FROM s{grouped} EMIT {'FINAL' if self.final else 'CHANGES'};"

    @property
    def answer(self) -> str:
        """Over the table `kept` of rows in their windows."""
        bounds = ["ws", "we"] if self.window else []
        shown = [*bounds, *(f"{key} AS key{at}" for at, key in enumerate(self.keys)), self.calls]
        groups = [*bounds, *self.keys]
        grouped = f" GROUP BY {', '.join(groups)}" if groups else " HAVING count(*) > 0"
        return f"SELECT {', '.join(shown)} FROM kept{' WHERE we <= $given' if self.final else ''}{grouped}"


_TUMBLE = ("TUMBLE(ts, INTERVAL '4' SECOND)", "tumble", 4, 4)
_HOP = ("HOP(ts, INTERVAL '2' SECOND, INTERVAL '6' SECOND)", "hop", 6, 2)
_CUMULATE = ("CUMULATE(ts, INTERVAL '2' SECOND, INTERVAL '6' SECOND)", "cumulate", 6, 2)
_SESSION = ("SESSION(ts, INTERVAL '3' SECOND)", "session", 3, 3)

LISTED = (
    Listed("grouped"),
    Listed("grouped by a key that grows", ("o",)),
    Listed("grouped by two", ("k", "o % 3")),
    Listed("grouped by nothing", ()),
    Listed("grouped, values kept", calls="count(DISTINCT v) AS d, sum(v)::BIGINT AS s"),
    Listed("tumbling", window=_TUMBLE),
    Listed("tumbling, final", window=_TUMBLE, final=True),
    Listed("hopping", window=_HOP),
    Listed("hopping, final", window=_HOP, final=True),
    Listed("cumulating", window=_CUMULATE),
    Listed("cumulating, final", window=_CUMULATE, final=True),
    Listed("sessions", window=_SESSION),
    Listed("sessions, final", window=_SESSION, final=True),
    Listed("sessions, values kept, final", window=_SESSION, final=True, calls="count(DISTINCT v) AS d, count(*) AS n"),
)

Row = tuple[str | None, int, int | None, int]


@dataclass
class World:
    """What is so at a point of a run: rows that were not late with the closed bound of each, the folded output."""

    rows: list[tuple[Row, int]] = field(default_factory=list)
    folded: Counter[tuple[object, ...]] = field(default_factory=Counter)
    seen_us: int = NEVER_US
    closed_us: int = NEVER_US
    read: int = 0
    snapshot: Mapping[str, JsonValue] = field(default_factory=dict)

    def copy(self) -> World:
        kept = json.loads(json.dumps(self.snapshot))
        return replace(self, rows=list(self.rows), folded=Counter(self.folded), snapshot=kept)


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Another value in the place of an attribute, as a fault that is planted."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


class DifferenceError(AssertionError):
    """The folded changes are not the batch answer."""


class Run:
    """One listed operator over one state."""

    def __init__(self, listed: Listed, seed: int) -> None:
        self.listed = listed
        self._chance = Chance(listed.name, seed)
        self._sizes = TINY_SIZES if self._chance.below(2) else USUAL_SIZES
        self._plan = parse_application(listed.job, "app.sql").jobs[0]
        overrides = {"failure_strategy": Property("LogAndContinue", origin="with")}
        self._builder = JobBuilder(self._plan, Environment("app", Path(), overrides=overrides, sizes=self._sizes))
        self._blocks = self._builder.blocks
        self._block = next(iter(self._blocks.values()))
        self._engine = Engine(EngineSettings(allowed_paths=tuple(block.path for block in self._blocks.values())))
        self._oracle = duckdb.connect(config={"threads": 1})
        self._pipeline = self._start({})
        self._now, self._decided = self._world(), self._world()
        self._grown = 0

    def close(self) -> None:
        self._engine.close()
        self._builder.close()
        self._oracle.close()

    def ticks(self, count: int) -> Iterator[int]:
        """Run so many ticks; gives the number of each after it was found right. Raises DifferenceError."""
        for tick in range(count):
            try:
                self._tick()
                self._compare()
                self._act()
            except Exception as error:
                raise DifferenceError(f"{self.listed.name}, tick {tick}: {type(error).__name__}: {error}") from error
            yield tick

    # --- private ----------------------------------------------------------------------------------------------------

    def _world(self) -> World:
        return World()

    def _start(self, snapshot: Mapping[str, JsonValue]) -> Pipeline:
        pipeline = self._builder.pipeline(self._engine, self._plan.plan)
        pipeline.restore(snapshot)
        return pipeline

    def _rows(self) -> list[Row]:
        chance, rows = self._chance, []
        for _ in range(1 + chance.below(6)):
            self._grown += 1
            late = chance.pick((0, 0, 0, 1, 2, 5, 9))
            time = self._grown // 3 - late
            key = chance.pick((None, "a", "b", "c", "d", f"k{chance.below(50)}"))
            order = self._grown // 4 if chance.below(3) else chance.below(9)
            rows.append((key, order, chance.pick((None, 1, 2, 3, -4)), time * SECOND))
            if chance.below(5) == 0:
                rows.append(rows[-1])
        return rows

    def _tick(self) -> None:
        rows, now = self._rows(), self._now
        lines = (json.dumps(dict(zip(("k", "o", "v", "ts"), (*row[:3], text_of(row[3])), strict=True))) for row in rows)
        self._block.write("".join(f"{line}\n" for line in lines).encode())
        fetch = Fetch(partition="p", records=self._block, origin="p", offset=now.read, position=now.read)
        outcome = self._pipeline.process(fetch, BatchContext(now.seen_us, now.read))
        assert not outcome.rejected
        self._fold([outcome])
        for row in rows:
            now.seen_us = max(now.seen_us, row[3])
            now.rows.append((row, max(now.seen_us - DELAY_S * SECOND, now.closed_us)))
        now.read += len(rows)

    def _act(self) -> None:
        """What happens between two ticks: mostly nothing, else the epoch ends, is taken back, or the job is killed."""
        match self._chance.below(8):
            case 0 | 1 | 2:
                self._end_epoch()
            case 3:
                self._take_back()
            case 4:
                self._pipeline = self._start(self._decided.snapshot)
                self._now = self._decided.copy()
                self._compare()

    def _end_epoch(self) -> None:
        now, state = self._now, self._engine.state
        watermark = self._watermark_us()
        if watermark > now.closed_us:
            self._fold(self._pipeline.advance(watermark))
            now.closed_us = watermark
            self._compare()
        now.snapshot = self._pipeline.snapshot()
        state.execute("BEGIN TRANSACTION")
        self._pipeline.prepare(0)
        state.execute("COMMIT")
        if self._chance.below(5) == 0:
            delete_after(state, integer(now.snapshot["decided_tick"]))
            self._take_back()
            return
        self._decided = now.copy()
        self._pipeline.confirm()
        if self._chance.below(2):
            state.execute("BEGIN TRANSACTION")
            self._pipeline.reclaim()
            state.execute("COMMIT")

    def _watermark_us(self) -> int:
        return self._now.seen_us - DELAY_S * SECOND

    def _take_back(self) -> None:
        self._pipeline.restore(self._decided.snapshot)
        self._now = self._decided.copy()
        self._compare()

    def _fold(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            assert not outcome.output_rejected
            for payload in outcome.payloads:
                self._fold_payload(payload)

    def _fold_payload(self, payload: Payload) -> None:
        assert isinstance(payload.data, bytes)
        for line in payload.data.splitlines():
            row = json.loads(line)
            op = row.pop("op")
            key = tuple(row.values())
            self._now.folded[key] += 1 if op.startswith("+") else -1
            if self._now.folded[key] < 0:
                raise DifferenceError(f"{key} is taken back and was not there")

    def _compare(self) -> None:
        got = {row: count for row, count in self._now.folded.items() if count}
        expected = Counter(self._batch_answer())
        if got != expected:
            missing, wrong = expected - Counter(got), {row for row in got if got[row] != expected.get(row)}
            raise DifferenceError(f"missing {dict(missing)}, wrong {[(row, got[row]) for row in wrong]}")

    def _batch_answer(self) -> list[tuple[object, ...]]:
        kept = list(self._kept())
        columns = [pa.array([row[at] for row in kept], kind) for at, kind in enumerate(_KINDS)]
        table = pa.table(dict(zip(("ws", "we", "k", "o", "v"), columns, strict=True)))
        self._oracle.register("kept", table)
        given = {"given": self._now.closed_us} if self.listed.final else {}
        return self._oracle.execute(self.listed.answer, given).fetchall()

    def _kept(self) -> Iterator[tuple[int, int, str | None, int, int | None]]:
        """The rows that count, once for each of their windows."""
        if self.listed.window is None:
            yield from ((0, 0, *row[:3]) for row, _ in self._now.rows)
            return
        _, kind, size, slide = self.listed.window
        if kind == "session":
            yield from self._sessions(size * SECOND)
            return
        for row, closed in self._now.rows:
            for start, stop in _windows(kind, size * SECOND, slide * SECOND, row[3]):
                if stop > closed:
                    yield (start, stop, *row[:3])

    def _sessions(self, gap: int) -> Iterator[tuple[int, int, str | None, int, int | None]]:
        by_key: dict[str | None, list[Row]] = {}
        for row, closed in self._now.rows:
            if row[3] >= closed:
                by_key.setdefault(row[0], []).append(row)
        for rows in by_key.values():
            sessions: list[list[Row]] = []
            for row in sorted(rows, key=lambda row: row[3]):
                if sessions and row[3] - sessions[-1][-1][3] < gap:
                    sessions[-1].append(row)
                else:
                    sessions.append([row])
            for session in sessions:
                yield from ((session[0][3], session[-1][3] + gap, *row[:3]) for row in session)


_KINDS = (pa.int64(), pa.int64(), pa.string(), pa.int64(), pa.int64())


def _windows(kind: str, size: int, slide: int, time: int) -> Iterator[tuple[int, int]]:
    if kind == "cumulate":
        start = time // size * size
        yield from ((start, stop) for stop in range(start + slide, start + size + 1, slide) if stop > time)
        return
    start = time // slide * slide
    while start + size > time:
        yield start, start + size
        start -= slide


def text_of(time_us: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(microseconds=time_us)).isoformat() + "Z"


def check(make: Callable[[int], Run], ticks: int, seed: int = 0) -> None:
    """So many ticks, in runs that follow one another; `make` begins that of a seed. Raises DifferenceError."""
    done = 0
    while done < ticks:
        run = make(seed)
        try:
            for _ in run.ticks(min(TICKS, ticks - done)):
                done += 1
        except DifferenceError as error:
            raise DifferenceError(f"seed {seed}: {error}") from error
        finally:
            run.close()
        seed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=2_000, help="ticks of each operator")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for listed in LISTED:
        check(partial(Run, listed), arguments.ticks, arguments.seed)
        print(f"{listed.name}: {arguments.ticks} ticks", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
