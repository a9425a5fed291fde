"""Statements out of the engine's own catalogue, asked four things: `check` and `run` agree, the answer is the engine's
own, `fmt` keeps it, and nothing ends in an internal error.

    python -m tests.properties.statements --first 1 --last 400

A seed is fifty expressions that the engine takes, in one kind of query (a SELECT, one that groups, one with a window),
and some that it refuses. What is found is printed with its seed, in the order of the seeds: a range can be split, and
taken up again.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa

from ferrisstreams.clock import ManualClock
from ferrisstreams.config.values import Property
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.errors import FerrisError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.sql.application import bind_script
from ferrisstreams.sql.catalog import Catalog
from ferrisstreams.sql.formatter import format_text
from ferrisstreams.sql.functions import APPROXIMATE, load_functions
from ferrisstreams.sql.statements import parse_statements
from ferrisstreams.testing.chance import Chance
from ferrisstreams.testing.doubles import CollectingSink, Cuts, Records, RecordSource
from tests.properties.catalogue import COLUMNS, ROWS, Expressions

#: Expressions of a seed that the engine takes; and of those that it refuses, how many are asked of.
EXPRESSIONS, REFUSED = 50, 4

#: After how many seeds the command says how far it is.
PROGRESS = 10

#: How many expressions are planned at once until it is known which are refused: each refusal plans the others again.
PLANNED = 10

#: The line of the first expression of a query, behind the declaration.
FIRST_LINE = 3


def declaration(names: Collection[str]) -> str:
    """The stream with these columns, on one line."""
    columns = ", ".join(f"{name} {COLUMNS[name][0]}" for name in names)
    return (
        f"CREATE STREAM s ({columns}, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)"
        " WITH ('connector' = 'file', 'path' = 'records', 'format' = 'json');\n"
    )


def named_columns(expressions: Sequence[str]) -> Collection[str]:
    """The columns that a query of these can read: a stream of few is read faster."""
    words = set(re.findall(r"\w+", " ".join(expressions).lower()))
    return [name for name in COLUMNS if name in words or name in ("k", "ts")]


@dataclass(frozen=True)
class Kind:
    """A kind of query: its first column and what stands behind FROM, here and in the engine."""

    name: str
    first: str
    behind: str
    engine_first: str
    engine_behind: str
    batch: int


MINUTE = "time_bucket(INTERVAL '1 minute', ts, TIMESTAMP '1970-01-01')"
KINDS = (
    Kind("select", "ts AS c0", "", "ts AS c0", "", 50),
    Kind("group", "k AS c0", "GROUP BY k EMIT FINAL", "k AS c0", "GROUP BY k", 25),
    Kind(
        "window",
        "window_start AS c0",
        "GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
        f"{MINUTE} AS c0",
        f"GROUP BY {MINUTE}",
        25,
    ),
)


@dataclass(frozen=True)
class Fault:
    kind: str
    query: str
    expression: str
    message: str


#: Calls whose values grow with a number: billions of bits or letters cost the engine minutes, and say nothing.
_GROWING = re.compile(r"\bbitstring\(|\b([lr]pad|repeat|(list|array)_resize)\((?=.*(\b[inu]\b|\d{7}))")

#: A compensated sum of infinities is one in the engine, or no number: constants are not computed as columns are.
_COMPENSATED = re.compile(r"\b(kahan_sum|sumkahan|fsum|favg)\(.*'inf'", re.I)

#: Aggregates whose value depends on the order of their rows.
_ORDERED = "list|array_agg|string_agg|group_concat|first|last|any_value|arbitrary|arg|max_by|min_by|mode|histogram"


class Unequal(Exception):  # noqa: N818 - not an error of anything
    """What the engine and we make of the same expressions differs."""


@dataclass
class Verdict:
    """What a seed came to: faults, and how many expressions ended in which way."""

    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Oracle:
    """The engine itself, with the rows of the stream."""

    def __init__(self) -> None:
        self.con = duckdb.connect()
        for setting in (
            "ieee_floating_point_ops = false",
            "error_on_division_by_zero = false",
            "threads = 1",
            "TimeZone = 'UTC'",
            "autoload_known_extensions = false",
            "enable_external_access = false",
        ):
            self.con.execute(f"SET {setting}")
        columns = ", ".join(f"{_quoted(name)} {type_}" for name, (type_, _) in COLUMNS.items())
        self.con.execute(f"CREATE TABLE s ({columns})")
        for row in range(ROWS):
            self.con.execute(f"INSERT INTO s VALUES ({', '.join(values[row] for _, values in COLUMNS.values())})")

    @cached_property
    def volatile(self) -> frozenset[str]:
        engine = Engine(EngineSettings())
        try:
            return load_functions(engine.work).volatile
        finally:
            engine.close()

    def varies(self, item: str) -> bool:
        """Whether the expression depends on the clock, on chance, on an approximation, or on the order of distinct
        values, of which the engine promises none."""
        if re.search(rf"({_ORDERED})\w*\(DISTINCT", item) or _COMPENSATED.search(item):
            return True
        names = re.findall(r"([a-z_][a-z0-9_]*)\s*\(", item.lower())
        return any(name in APPROXIMATE or name == "age" or name in self.volatile for name in names)

    def records(self) -> tuple[bytes, ...]:
        """The rows as JSON."""
        fields = ", ".join(f"{_quoted(name)} := {_quoted(name)}" for name in COLUMNS)
        return tuple(
            str(row[0]).encode() for row in self.con.execute(f"SELECT to_json(struct_pack({fields})) FROM s").fetchall()
        )

    def knows(self, kind: Kind, expression: str) -> bool:
        """Whether the engine takes the expression."""
        try:
            self.con.execute(f"DESCRIBE {self.query(kind, [expression])}").fetchall()
        except (duckdb.Error, UnicodeDecodeError):  # The engine cuts a message within a character.
            return False
        return True

    def answer(self, kind: Kind, expressions: Sequence[str], where: str = "") -> list[tuple[object, ...]]:
        """Raises `duckdb.Error` where a row fails."""
        try:
            return _rows(self.con.sql(self.query(kind, expressions, where)).to_arrow_table())
        except UnicodeDecodeError as error:
            raise duckdb.Error(str(error)) from error

    def query(self, kind: Kind, expressions: Sequence[str], where: str = "") -> str:
        return f"SELECT {kind.engine_first}{_items(expressions)} FROM s {where} {kind.engine_behind}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _items(expressions: Sequence[str]) -> str:
    return "".join(f",\n{expression} AS c{number}" for number, expression in enumerate(expressions, start=1))


def _rows(table: object) -> list[tuple[object, ...]]:
    columns = [_values(column) for column in table.columns]  # type: ignore[attr-defined]
    return sorted(zip(*columns, strict=True), key=lambda row: str(row[0]))


def _values(column: pa.ChunkedArray) -> list[object]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # A time that Python has not: one with nanoseconds, or beyond its years.
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return pa.array([scalar]).to_string()


@dataclass(frozen=True)
class Came:
    rows: list[tuple[object, ...]]
    failed: int


class Streams:
    """The streaming side."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self._records = Records({"p": tuple(records)})
        self._engine = Engine(EngineSettings())

    def text(self, kind: Kind, expressions: Sequence[str]) -> str:
        """Each expression stands in a line of its own, the first one in line `FIRST_LINE`."""
        return f"{declaration(named_columns(expressions))}SELECT {kind.first}{_items(expressions)} FROM s {kind.behind}"

    def plan(self, text: str) -> JobPlan:
        script = parse_statements(text, "app.sql")
        return bind_script(script, self._engine.work, Catalog(None, None, None)).jobs[0]

    def check(self, plan: JobPlan) -> None:
        self._job(plan, "memory", CollectingSink(), CollectingSink()).check()

    def run(self, plan: JobPlan, connector: str = "memory") -> Came:
        """Raises the error that the job ends with."""
        sink, letters = CollectingSink(), CollectingSink()
        result: JobResult = self._job(plan, connector, sink, letters).run()
        if result.error is not None:
            raise result.error
        return Came(
            sorted((row for table in sink.tables for row in _rows(table)), key=lambda row: str(row[0])),
            len(letters.lines),
        )

    def _job(self, plan: JobPlan, connector: str, sink: CollectingSink, letters: CollectingSink) -> Job:
        spec = plan.plan.spec
        properties = (
            {"connector": Property(connector), "path": Property("out.jsonl")}
            if connector == "file"
            else {"connector": Property(connector)}
        )
        named = replace(plan, plan=replace(plan.plan, spec=replace(spec, properties=properties, anonymous=False)))
        clock = ManualClock(1_704_067_200_000_000)
        stand_ins = StandIns(lambda _, block: RecordSource(self._records, Cuts(), block, clock), sink, letters)
        overrides = {"failure_strategy": Property("SendToDLQ", origin="with")}
        return Job(named, Environment("test", Path(), overrides=overrides, clock=clock, stand_ins=stand_ins))


class Asking:
    """Asks the four things of the expressions of one seed."""

    def __init__(self) -> None:
        self._oracle = Oracle()
        self._streams = Streams(self._oracle.records())

    def run(self, seed: int) -> Verdict:
        verdict = Verdict()
        kind = KINDS[seed % len(KINDS)]
        drawn = Expressions(Chance("statements", seed))
        draw = drawn.scalar if kind.name == "select" else drawn.aggregate
        taken: list[str] = []
        refused: list[str] = []
        while len(taken) < EXPRESSIONS:
            item = draw()
            if _GROWING.search(item):
                continue
            (taken if self._oracle.knows(kind, item) else refused).append(item)
        for item in refused[:REFUSED]:
            verdict.counts["refused by the engine too"] += 1
            self._refused(kind, item, verdict)
        self.ask(kind, sorted(taken, key=is_holistic), verdict)
        return verdict

    def ask(self, kind: Kind, taken: Sequence[str], verdict: Verdict) -> None:
        parsed = [
            found
            for start in range(0, len(taken), PLANNED)
            for found in self._split(taken[start : start + PLANNED], lambda items: self._plan(kind, items), Exception)
        ]
        for item, error in parsed:
            if error is not None:
                self._refusal(kind, item, error, verdict)
        ours = [item for item, error in parsed if error is None]
        raising = self._split(ours, lambda items: self._oracle.answer(kind, items), duckdb.Error)
        for item, error in raising:
            if error is not None:
                verdict.counts["a row fails"] += 1
                with self._faults(kind, item, verdict):
                    self._failing(kind, item)
        sound = [item for item, error in raising if error is None]
        for start in range(0, len(sound), kind.batch):
            for item, error in self._split(
                sound[start : start + kind.batch], lambda items: self._sound(kind, items), Exception
            ):
                if error is None:
                    verdict.counts["answered"] += 1
                    continue
                with self._faults(kind, item, verdict):
                    raise error

    def _split(
        self, items: Sequence[str], ask: Callable[[list[str]], object], errors: type[Exception]
    ) -> list[tuple[str, Exception | None]]:
        """Each item with what `ask` raises for it alone, found by the place of the error, or by halves."""
        pending = [list(items)] if items else []
        results: list[tuple[str, Exception | None]] = []
        while pending:
            group = pending.pop()
            try:
                ask(group)
            except errors as error:
                blamed = _blamed(error, len(group))
                if len(group) == 1:
                    results.append((group[0], error))
                elif blamed is not None:
                    pending += [group[:blamed] + group[blamed + 1 :], [group[blamed]]]
                else:
                    middle = len(group) // 2
                    pending += [group[middle:], group[:middle]]
            else:
                results += [(item, None) for item in group]
        return results

    @contextmanager
    def _faults(self, kind: Kind, item: str, verdict: Verdict) -> Iterator[None]:
        try:
            yield
        except Unequal as unequal:
            verdict.faults.append(Fault("unequal", kind.name, item, str(unequal)))
        except FerrisError as error:
            name = "internal" if error.code == "E9001" else f"refused late {error.code}"
            verdict.faults.append(Fault(name, kind.name, item, error.message))
        except Exception as error:
            verdict.faults.append(Fault(f"raw {type(error).__name__}", kind.name, item, str(error)))

    def _refused(self, kind: Kind, item: str, verdict: Verdict) -> None:
        """What the engine refuses is refused with a place, or is ours and runs."""
        with self._faults(kind, item, verdict):
            try:
                plan = self._plan(kind, [item])
                self._streams.check(plan)
            except FerrisError as error:
                if error.code == "E9001" or error.position is None:
                    raise
                return
            verdict.counts["ours alone"] += 1
            self._streams.run(plan)

    def _refusal(self, kind: Kind, item: str, error: Exception, verdict: Verdict) -> None:
        if not isinstance(error, FerrisError):
            verdict.faults.append(Fault(f"raw {type(error).__name__}", kind.name, item, str(error)))
            return
        verdict.counts[f"refused {error.code}"] += 1
        if error.code == "E9001" or error.position is None:
            verdict.faults.append(Fault("internal", kind.name, item, error.message))
        elif error.code not in ("E1201", "E1202") and not self._fails_in_engine(kind, item, error):
            verdict.faults.append(Fault(f"refused {error.code}", kind.name, item, error.message))

    def _fails_in_engine(self, kind: Kind, item: str, refusal: FerrisError) -> bool:
        """Whether it fails, or would: what fails for every value is refused, also where all rows give NULL."""
        try:
            rows = self._oracle.answer(kind, [item])
        except duckdb.Error:
            return True
        return "whatever the row" in (refusal.hint or "") and all(row[1] is None for row in rows)

    def _plan(self, kind: Kind, items: Sequence[str]) -> JobPlan:
        return self._streams.plan(self._streams.text(kind, items))

    def _sound(self, kind: Kind, items: Sequence[str]) -> None:
        text = self._streams.text(kind, items)
        plan = self._streams.plan(text)
        self._streams.check(plan)
        came = self._streams.run(plan)
        if came.failed:
            raise Unequal(f"{came.failed} rows fail here and none in the engine")
        if not any(map(self._oracle.varies, items)):
            _compare(came.rows, self._oracle.answer(kind, items), any("json" in item.lower() for item in items))
        again = self._streams.plan(format_text(text, "app.sql"))
        if _meaning(again) != _meaning(plan):
            raise Unequal("fmt changes what it means")
        try:
            self._streams.run(plan, "file")
        except FerrisError as error:
            if not (error.position and "cannot be written as JSON" in error.message):
                raise

    def _failing(self, kind: Kind, item: str) -> None:
        """A row fails in the engine: with us it is refused before the run, or those rows fail and no others."""
        plan = self._plan(kind, [item])
        try:
            self._streams.check(plan)
        except FerrisError as error:
            if error.code == "E9001" or error.position is None:
                raise
            return
        try:
            came = self._streams.run(plan)
        except FerrisError as error:
            if error.code == "E2402" or "to Parquet VARIANT" in error.message:
                return  # The value has no form outside of the engine.
            raise
        if kind.name != "select":
            return
        expected = []
        for row in range(ROWS):
            try:
                expected += self._oracle.answer(kind, [item], f"WHERE rowid = {row}")
            except duckdb.Error:
                continue
        _compare(came.rows, expected, "json" in item.lower())
        if came.failed != ROWS - len(came.rows):
            raise Unequal(f"{came.failed} letters for {ROWS - len(came.rows)} rows")


def _blamed(error: Exception, count: int) -> int | None:
    """Which of the expressions an error points at."""
    if not isinstance(error, FerrisError) or error.position is None:
        return None
    number = error.position.line - FIRST_LINE
    return number if 0 <= number < count else None


def _meaning(plan: JobPlan) -> object:
    graph = cut(plan.plan)
    calls = [named for aggregate in graph.aggregates for named in (*aggregate.keys, *aggregate.calls)]
    return (
        [(named.name, named.expression.sql("duckdb")) for named in (*graph.columns(graph.output), *calls)],
        plan.plan.schema,
        [aggregate.window for aggregate in graph.aggregates],
    )


def is_holistic(item: str) -> bool:
    """Whether an aggregate, or its arguments, keep the values of all rows: one such call makes all of a query do so."""
    return re.match(r"(count|sum|avg|min|max|first|last|arg|bool|bit_|var|std|cov|regr|product)", item) is None or bool(
        re.search("DISTINCT|ORDER BY", item)
    )


#: The zeros at the end of a fraction, which the engine drops where it makes JSON of decimals.
_ZEROS = re.compile(r"(?<=\.\d)(\d*?)0+(?!\d)")


def _compare(ours: Sequence[tuple[object, ...]], engine: Sequence[tuple[object, ...]], is_json: bool) -> None:
    """`is_json`: texts may be of JSON, whose decimals keep all their digits here."""
    if len(ours) != len(engine):
        raise Unequal(f"{len(ours)} rows and not {len(engine)}")
    for one, other in zip(ours, engine, strict=True):
        for number, (value, expected) in enumerate(zip(one, other, strict=True)):
            if not _same(value, expected) and not (is_json and _plain(value) == _plain(expected)):
                raise Unequal(f"c{number} is {value!r:.300} and not {expected!r:.300}")


def _plain(value: object) -> object:
    return _ZEROS.sub(r"\1", value) if isinstance(value, str) else value


def _same(one: object, other: object) -> bool:
    match one, other:
        case float(), float():
            return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
        case Decimal(), float():  # The average of decimals is one here.
            return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
        case (list() | tuple(), list() | tuple()):
            return len(one) == len(other) and all(map(_same, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    return type(one) is type(other) and one == other


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--last", type=int, default=400, help="the last seed")
    arguments = parser.parse_args()
    asking, counts, faults = Asking(), Counter[str](), 0
    for seed in range(arguments.first, arguments.last + 1):
        verdict = asking.run(seed)
        counts += verdict.counts
        faults += len(verdict.faults)
        if seed % PROGRESS == 0:
            print(f"drawn up to seed {seed}, {faults} faults", file=sys.stderr, flush=True)
        for fault in verdict.faults:
            print(f"seed {seed} {fault.kind} ({fault.query}): {fault.expression}\n    {fault.message}", flush=True)
    seeds = arguments.last - arguments.first + 1
    print(
        f"{seeds * EXPRESSIONS} expressions of seeds {arguments.first} to {arguments.last}: {dict(counts)}",
        file=sys.stderr,
    )
    print(f"{faults} faults", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
