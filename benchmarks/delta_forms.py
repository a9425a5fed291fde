"""Which form the delta of an open epoch takes, and how a tick finds the state of its keys.

Ticks of random integer keys go through one, three or six grouped aggregates (count, sum) whose results change with
every tick; ten ticks are an epoch, which is committed to a state file. Figures are milliseconds of CPU per tick, commit
included, as medians of rounds in which the forms take turns. First each form is checked: its folded changes and its
state file equal the batch query, also after an epoch was rolled back and after a restart. `--passes` times optimizer
passes instead. Run it with `python -m benchmarks.delta_forms`; the slots need numpy.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

TICKS = 10
ROUNDS = 5
OPERATORS = (1, 3, 6)
TICK_ROWS = (100, 1_000, 10_000)
STATE_KEYS = (10_000, 1_000_000)

#: What the scans of a log need; all others are off, in every form. `--passes` shows what each is worth.
PASSES = "filter_pushdown projection_pullup unused_columns statistics_propagation join_order build_side_probe_side"
PASSES += " join_filter_pushdown column_lifetime row_group_pruner materialized_cte expression_rewriter"

PARTIALS = "SELECT k{i} AS k, sum(v)::BIGINT AS s, count(*) AS n FROM batch GROUP BY ALL"
#: Old and new value of each key, side by side. One aggregate over both is a quarter cheaper than a join of the two.
BOTH = (
    "SELECT k, (sum(s) FILTER (_old))::BIGINT AS s0, (sum(n) FILTER (_old))::BIGINT AS n0,"
    " sum(s)::BIGINT AS s, sum(n)::BIGINT AS n"
)
LOG = "(SELECT * FROM state.log{i} UNION ALL SELECT * FROM delta{i})"
STATE_COLUMNS = "k BIGINT, s BIGINT, n BIGINT, _t BIGINT"
CURRENT = "SELECT k, arg_max(s, _t) AS s, arg_max(n, _t) AS n FROM {log} GROUP BY k"


class Holder:
    """An Arrow table under a registered name; a statement over such names alone is planned once."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested: object = None) -> Any:
        return self.table.__arrow_c_stream__(requested)

    def __arrow_c_schema__(self) -> Any:
        return self.table.schema.__arrow_c_schema__()


def empty(*names: str) -> pa.Table:
    return pa.schema([(name, pa.int64()) for name in names]).empty_table()


class Form:
    """`tick` returns the changes of each operator: k, old sum and count, new sum and count."""

    title = ""
    current = False  # Rows of the log are current values, not partial results.

    def __init__(self, path: Path, operators: int) -> None:
        self.path, self.operators = path, range(operators)
        self.open()

    def open(self) -> None:
        self.work = duckdb.connect(config={"threads": 1})
        self.work.execute("SET force_compression = 'uncompressed'; SET checkpoint_threshold = '64MiB'")
        self.work.execute(f"SET disabled_optimizers = '{','.join(set(all_passes()) - set(PASSES.split()))}'")
        self.work.execute(f"ATTACH '{self.path}' AS state")
        self.state = self.work.cursor()
        self.number = self.work.execute("SELECT max(last_tick) FROM state.epochs").fetchall()[0][0]
        self.decided = self.number
        self.batch = Holder(empty(*[f"k{i}" for i in range(max(OPERATORS))], "v"))
        self.work.register("batch", self.batch)
        self.start()

    def restart(self) -> None:
        self.work.close()
        self.state.close()
        self.open()

    def prepare(self, name: str, sql: str) -> None:
        self.work.execute(f"PREPARE {name} AS {sql}")

    def run(self, name: str, *parameters: int) -> pa.Table:
        values = f"({', '.join(map(str, parameters))})" if parameters else ""
        return self.work.execute(f"EXECUTE {name}{values}").to_arrow_table()

    def tick(self, batch: pa.Table) -> list[pa.Table]:
        self.number += 1
        self.batch.table = batch
        return self.process()

    def commit(self) -> None:
        self.state.execute("BEGIN")
        for i in self.operators:
            self.state.execute(f"INSERT INTO state.log{i} SELECT * FROM delta{i}")
        self.state.execute(f"INSERT INTO state.epochs VALUES ({self.number})")
        self.state.execute("COMMIT")
        self.decided = self.number
        self.confirm()

    def rollback(self) -> None:
        self.number = self.decided
        self.forget()

    def start(self) -> None:
        raise NotImplementedError

    def process(self) -> list[pa.Table]:
        raise NotImplementedError

    def confirm(self) -> None:
        self.forget()

    def forget(self) -> None:
        raise NotImplementedError


CHANGES = (
    "SELECT k, (sum(s) FILTER (_t < $1))::BIGINT AS s0, (sum(n) FILTER (_t < $1))::BIGINT AS n0,"
    f" sum(s)::BIGINT AS s, sum(n)::BIGINT AS n FROM {LOG}"
    " SEMI JOIN (SELECT k FROM delta{i} WHERE _t = $1) USING (k) GROUP BY k"
)


class TableDelta(Form):
    title = "(a) table in memory, scan"

    def start(self) -> None:
        self.forget()
        for i in self.operators:
            append = f"INSERT INTO delta{i} SELECT k, s, n, $1 FROM ({PARTIALS.format(i=i)})"
            self.prepare(f"append{i}", append)
            self.prepare(f"changes{i}", CHANGES.format(i=i))

    def process(self) -> list[pa.Table]:
        for i in self.operators:
            self.run(f"append{i}", self.number)
        return [self.run(f"changes{i}", self.number) for i in self.operators]

    def forget(self) -> None:
        for i in self.operators:
            self.work.execute(f"CREATE OR REPLACE TABLE delta{i}({STATE_COLUMNS})")


class ArrowDelta(Form):
    title = "(b) Arrow, two statements, scan"

    def start(self) -> None:
        self.tables: list[list[pa.Table]] = [[] for _ in self.operators]
        self.deltas = [Holder(empty("k", "s", "n", "_t")) for _ in self.operators]
        for i in self.operators:
            self.work.register(f"delta{i}", self.deltas[i])
            self.state.register(f"delta{i}", self.deltas[i])
            self.define(i)

    def define(self, i: int) -> None:
        self.prepare(f"append{i}", f"SELECT k, s, n, $1::BIGINT AS _t FROM ({PARTIALS.format(i=i)})")
        self.prepare(f"changes{i}", CHANGES.format(i=i))

    def append(self, i: int, rows: pa.Table) -> None:
        self.tables[i].append(rows)
        self.deltas[i].table = pa.concat_tables(self.tables[i])

    def process(self) -> list[pa.Table]:
        for i in self.operators:
            self.append(i, self.run(f"append{i}", self.number))
        return [self.run(f"changes{i}", self.number) for i in self.operators]

    def forget(self) -> None:
        for i in self.operators:
            self.tables[i].clear()
            self.deltas[i].table = empty("k", "s", "n", "_t")


class OneStatement(ArrowDelta):
    title = "(c) Arrow, one statement, scan"
    log = LOG
    rows = "coalesce(s0, 0)", "coalesce(n0, 0)"  # What is appended: the new value less these.

    def define(self, i: int) -> None:
        old = f"SELECT k, s, n, true FROM {self.log} SEMI JOIN d USING (k)"
        if self.current:
            old = f"SELECT *, true FROM ({CURRENT.format(log=f'(SELECT * FROM {LOG} SEMI JOIN d USING (k))')})"
        both = f"{BOTH} FROM (SELECT k, s, n, false AS _old FROM d UNION ALL {old}) GROUP BY k"
        made = both if self.current else f"SELECT *, s - {self.rows[0]} AS ds, n - {self.rows[1]} AS dn FROM ({both})"
        sql = f"WITH d AS MATERIALIZED ({PARTIALS}) SELECT *, $1::BIGINT AS _t FROM ({made})"
        self.prepare(f"tick{i}", sql.format(i=i))

    def process(self) -> list[pa.Table]:
        changes = [self.run(f"tick{i}", self.number) for i in self.operators]
        appended = ["k", "s", "n", "_t"] if self.current else ["k", "ds", "dn", "_t"]
        for i, rows in enumerate(changes):
            self.append(i, rows.select(appended).rename_columns(["k", "s", "n", "_t"]))
        return [rows.select(["k", "s0", "n0", "s", "n"]) for rows in changes]


class CurrentScan(OneStatement):
    title = "(d) current values, scan"
    current = True


class Runs:
    """Current values of an operator as sorted runs, newest last. No run is ever changed, so rolling back means
    returning to the runs of the decided epoch."""

    FAN = 4

    def __init__(self, rows: pa.Table) -> None:
        self.runs = self.settled = [self._run(rows.sort_by("k"))]

    @staticmethod
    def _run(rows: pa.Table) -> tuple[pa.Array, pa.Table]:
        rows = rows.combine_chunks()
        return (rows["k"].chunk(0) if rows.num_rows else pa.array([], pa.int64())), rows

    def find(self, keys: pa.Array) -> pa.Table:
        """The current rows of the keys that there are."""
        parts = [empty("k", "s", "n")]
        for index, rows in reversed(self.runs):
            if len(index) and len(keys):
                place = pc.min_element_wise(pc.search_sorted(index, keys), pa.scalar(len(index) - 1, pa.uint64()))
                found = pc.equal(index.take(place), keys)
                parts.append(rows.take(place.filter(found)))
                keys = keys.filter(pc.invert(found))
        return pa.concat_tables(parts)

    def put(self, rows: pa.Table) -> None:
        self.runs = [*self.runs, self._run(rows.take(pc.sort_indices(rows["k"])))]
        while len(self.runs) >= self.FAN:
            sizes = [len(index) for index, _ in self.runs[-self.FAN :]]
            if max(sizes) > 2 * min(sizes):
                break
            self.runs[-self.FAN :] = [self._merge([rows for _, rows in reversed(self.runs[-self.FAN :])])]

    def _merge(self, newest_first: list[pa.Table]) -> tuple[pa.Array, pa.Table]:
        rows = pa.concat_tables(newest_first)
        rows = rows.take(pc.sort_indices(rows["k"])).combine_chunks()  # A stable sort: the newest row of a key first.
        keys = rows["k"].chunk(0)
        first = pa.concat_arrays([pa.array([True]), pc.not_equal(keys[1:], keys[:-1])])
        return self._run(rows.filter(first))

    def settle(self) -> None:
        self.settled = self.runs

    def undo(self) -> None:
        self.runs = self.settled


class Slots:
    """Current values of an operator in arrays updated in place; sorted runs of (key, slot) find a key's slot."""

    def __init__(self, rows: pa.Table) -> None:
        import numpy  # Not a dependency of the package: see the decision.

        self.np = numpy
        rows = rows.sort_by("k").combine_chunks()
        self.columns = [rows[name].to_numpy().copy() for name in ("k", "s", "n")]
        self.used = rows.num_rows
        self.runs = [(self.columns[0].copy(), numpy.arange(self.used))]
        self.settle()

    def find(self, keys: pa.Array) -> pa.Table:
        np = self.np
        self.keys = np.sort(keys.to_numpy())
        self.slots = np.full(len(self.keys), -1, np.int64)
        rest = np.arange(len(self.keys))
        for index, slots in self.runs:
            if len(index) and len(rest):
                place = np.minimum(np.searchsorted(index, self.keys[rest]), len(index) - 1)
                found = index[place] == self.keys[rest]
                self.slots[rest[found]] = slots[place[found]]
                rest = rest[~found]
        known = self.slots[self.slots >= 0]
        return pa.table(dict(zip("ksn", (column[known] for column in self.columns), strict=True)))

    def put(self, rows: pa.Table) -> None:
        np = self.np
        order = np.argsort(rows["k"].to_numpy())
        new = self.slots < 0
        count = int(new.sum())
        if self.used + count > len(self.columns[0]):
            grown = np.zeros(len(self.columns[0]) + count, np.int64)
            self.columns = [np.concatenate([column, grown]) for column in self.columns]
        if count:
            self.slots[new] = np.arange(self.used, self.used + count)
            self.columns[0][self.slots[new]] = self.keys[new]
            self._index(self.keys[new], self.slots[new])
            self.used += count
        self.undone.append((self.slots, [column[self.slots] for column in self.columns[1:]]))
        for column, name in zip(self.columns[1:], "sn", strict=True):
            column[self.slots] = rows[name].to_numpy()[order]

    def _index(self, keys: Any, slots: Any) -> None:
        np = self.np
        self.runs = [*self.runs, (keys, slots)]
        while len(self.runs) >= Runs.FAN:
            group = self.runs[-Runs.FAN :]
            if max(len(k) for k, _ in group) > 2 * min(len(k) for k, _ in group):
                break
            keys, slots = (np.concatenate(part) for part in zip(*group, strict=True))
            order = np.argsort(keys)
            self.runs[-Runs.FAN :] = [(keys[order], slots[order])]

    def settle(self) -> None:
        self.undone: list[tuple[Any, list[Any]]] = []
        self.decided = self.runs, self.used

    def undo(self) -> None:
        for slots, old in reversed(self.undone):
            for column, values in zip(self.columns[1:], old, strict=True):
                column[slots] = values
        self.runs, self.used = self.decided
        self.undone = []


class Arranged(ArrowDelta):
    """Old rows come from the arrangement, so the merge is a statement over Arrow alone, both changes and append.

    `fused`: one statement for all operators, whose results are told apart by the number of their keys."""

    current = True
    arrangement: type[Runs] | type[Slots] = Runs
    fused = False

    def start(self) -> None:
        super().start()
        kept = [self.work.execute(CURRENT.format(log=f"state.log{i}")).to_arrow_table() for i in self.operators]
        self.arranged = [self.arrangement(rows) for rows in kept]
        self.old = [Holder(empty("k", "s", "n")) for _ in self.operators]
        for i in self.operators:
            self.work.register(f"old{i}", self.old[i])
        merges = [self.merge(i) for i in self.operators]
        if self.fused:
            self.prepare("tick", " UNION ALL ".join(f"({merge})" for merge in merges))
        else:
            for i, merge in enumerate(merges):
                self.prepare(f"tick{i}", merge)

    def define(self, i: int) -> None:
        """Nothing over tables."""

    @staticmethod
    def merge(i: int) -> str:
        rows = f"SELECT k{i} AS k, v AS s, 1::BIGINT AS n, false AS _old FROM batch"
        return f"{BOTH} FROM ({rows} UNION ALL SELECT k, s, n, true FROM old{i}) GROUP BY k"

    def process(self) -> list[pa.Table]:
        counts = []
        for i in self.operators:
            keys = pc.unique(self.batch.table[f"k{i}"])
            counts.append(len(keys))
            self.old[i].table = self.arranged[i].find(keys)
        if self.fused:
            rows = self.run("tick")
            changes = [rows.slice(start, stop - start) for start, stop in pairwise(accumulate(counts, initial=0))]
        else:
            changes = [self.run(f"tick{i}") for i in self.operators]
        for i, rows in enumerate(changes):
            new = rows.select(["k", "s", "n"])
            self.arranged[i].put(new)
            tick = pa.repeat(pa.scalar(self.number, pa.int64()), rows.num_rows)
            self.append(i, new.append_column("_t", tick))
        return changes

    def confirm(self) -> None:
        for arranged in self.arranged:
            arranged.settle()
        super().forget()

    def forget(self) -> None:
        for arranged in self.arranged:
            arranged.undo()
        super().forget()


class RunsOnce(Arranged):
    title = "(d) current values, sorted runs"


class RunsFused(Arranged):
    title = "(d) the same, one statement for all"
    fused = True


class SlotsOnce(Arranged):
    title = "(e) slots (numpy)"
    arrangement = Slots


class SlotsFused(SlotsOnce):
    title = "(e) the same, one statement for all"
    fused = True


FORMS = (TableDelta, ArrowDelta, OneStatement, CurrentScan, RunsOnce, RunsFused, SlotsOnce, SlotsFused)


def all_passes() -> list[str]:
    return [row[0] for row in duckdb.execute("SELECT name FROM duckdb_optimizers()").fetchall()]


def make_state(path: Path, operators: int, keys: int) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{path}' AS state; SET force_compression = 'uncompressed'")
        con.execute("CREATE TABLE state.epochs AS SELECT 0::BIGINT AS last_tick")
        for i in range(operators):
            rows = f"SELECT 2 * range AS k, range % 1000 AS s, 1 + range % 3 AS n, 0::BIGINT AS _t FROM range({keys})"
            con.execute(f"CREATE TABLE state.log{i} AS {rows} ORDER BY hash(range)")


class Batches:
    """Ticks of random keys: half of them are in the state to begin with."""

    def __init__(self, keys: int) -> None:
        self.con = duckdb.connect(config={"threads": 1})
        self.con.execute("SELECT setseed(0.5)")
        self.columns = ", ".join(f"(random() * {2 * keys})::BIGINT AS k{i}" for i in range(max(OPERATORS)))

    def draw(self, rows: int) -> pa.Table:
        query = f"SELECT {self.columns}, (random() * 100)::BIGINT AS v FROM range({rows})"
        return self.con.execute(query).to_arrow_table().combine_chunks()


def assert_answer(form: Form, base: Path, batches: list[pa.Table], changes: list[list[pa.Table]]) -> None:
    """Base and changes, folded, and the state file equal the batch query over base and batches, for each operator."""
    state = CURRENT if form.current else "SELECT k, sum(s)::BIGINT AS s, sum(n)::BIGINT AS n FROM {log} GROUP BY k"
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{base}' AS base (READ_ONLY)")
        con.register("batches", pa.concat_tables(batches))
        for i in form.operators:
            con.register("changed", pa.concat_tables([tick[i] for tick in changes]))
            con.register("kept", form.work.execute(state.format(log=f"state.log{i}")).to_arrow_table())
            rows = f"SELECT k, s, n FROM base.log{i} UNION ALL SELECT k{i}, v, 1 FROM batches"
            con.execute(
                f"CREATE OR REPLACE TABLE expected AS SELECT k, sum(s) AS s, sum(n) AS n FROM ({rows}) GROUP BY k"
            )
            fold = (
                "SELECT k, s, n, 1 AS _w FROM changed UNION ALL SELECT k, s0, n0, -1 FROM changed WHERE n0 IS NOT NULL"
            )
            fold = f"SELECT k, s, n, 1 AS _w FROM base.log{i} UNION ALL {fold}"
            folded = f"SELECT k, s, n FROM ({fold}) GROUP BY ALL HAVING sum(_w) <> 0"
            for answer in (folded, "SELECT k, s, n FROM kept"):
                for one, other in ((answer, "FROM expected"), ("FROM expected", answer)):
                    odd = con.execute(f"{one} EXCEPT ALL {other}").fetchall()
                    assert not odd, f"{form.title}: operator {i} has another answer: {odd[:3]}"


def check(folder: Path) -> None:
    """Each form through commits, an epoch that is rolled back, and a restart that loses an open epoch."""
    base = folder / "check.db"
    make_state(base, 3, 1_000)
    for kind in FORMS:
        form = kind(Path(shutil.copy(base, folder / "checked.db")), 3)
        source = Batches(1_000)
        batches, changes = [], []
        for end in (form.commit, form.rollback, form.commit, form.restart, form.commit, form.restart, form.commit):
            ticks = [source.draw(rows) for rows in (50, 400, 1, 300, 60)]
            results = [form.tick(batch) for batch in ticks]
            if end == form.restart:
                form.restart()
            elif end == form.rollback:
                form.rollback()
            else:
                form.commit()
                batches += ticks
                changes += results
        assert_answer(form, base, batches, changes)
        form.work.close()
        form.state.close()
        (folder / "checked.db").unlink()


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def measure(folder: Path, operators: int, keys: int, rounds: int) -> None:
    base = folder / f"base-{operators}-{keys}.db"
    make_state(base, operators, keys)
    forms = [kind(Path(shutil.copy(base, folder / f"{kind.__name__}.db")), operators) for kind in FORMS]
    memory = duckdb.connect(config={"threads": 1})
    memory.execute("CREATE TABLE one(a BIGINT); PREPARE one_row AS INSERT INTO one VALUES ($1)")
    source = Batches(keys)
    batches: list[pa.Table] = []
    changes: dict[Form, list[list[pa.Table]]] = {form: [] for form in forms}
    for rows in TICK_ROWS:
        spent: dict[object, list[float]] = {form: [] for form in [*forms, memory]}
        for number in range(rounds + 1):
            ticks = [source.draw(rows) for _ in range(TICKS)]
            batches += ticks
            inserts = [cpu_ms(lambda: memory.execute("EXECUTE one_row(1)").fetchall()) for _ in range(100)]
            spent[memory].append(statistics.median(inserts))
            for form in forms if number % 2 else forms[::-1]:
                epoch = cpu_ms(lambda: (changes[form].extend(map(form.tick, ticks)), form.commit()))  # noqa: B023
                spent[form].append(epoch / TICKS)
        insert = statistics.median(spent[memory][1:])
        for form in forms:
            tick = statistics.median(spent[form][1:])
            print(f"{keys:>9,} {operators} {rows:>6,} {form.title:38} {tick:8.2f} {tick / insert:7.1f}", flush=True)
    for form in forms:
        assert_answer(form, base, batches, changes[form])
        form.work.close()
        form.state.close()
        form.path.unlink()
    base.unlink()


def measure_passes(folder: Path, keys: int, rows: int) -> None:
    """One statement by scan, one over Arrow alone, with all passes but one; medians of 30 runs."""
    base = folder / "passes.db"
    make_state(base, 1, keys)
    scan, arranged = OneStatement(base, 1), RunsOnce(Path(shutil.copy(base, folder / "other.db")), 1)
    source = Batches(keys)
    none, needed = set(all_passes()), set(PASSES.split())
    sets = {"all": set(), "all off": none, "those of this benchmark": none - needed}
    sets |= {f"  without {name}": none - needed | {name} for name in sorted(needed)}
    for title, off in sets.items():
        figures = []
        for form, name in ((scan, "tick0"), (arranged, "tick0")):
            form.work.execute(f"SET disabled_optimizers = '{','.join(sorted(off))}'")
            spent = []
            for _ in range(30):
                form.batch.table = source.draw(rows)
                arguments = (1,) if form is scan else ()
                spent.append(cpu_ms(lambda: form.run(name, *arguments)))  # noqa: B023
            figures.append(statistics.median(spent))
        print(f"{title:45} scan {figures[0]:7.2f}   Arrow alone {figures[1]:7.2f}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--keys", type=int, nargs="*", default=STATE_KEYS)
    options.add_argument("--passes", action="store_true")
    chosen = options.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory(prefix="ferris-forms-") as name:
        folder = Path(name)
        if chosen.passes:
            for keys in chosen.keys:
                print(f"{keys:,} keys, ticks of 1,000 rows, ms of CPU")
                measure_passes(Path(tempfile.mkdtemp(dir=folder)), keys, 1_000)
            return
        check(folder)
        print(f"{'keys':>9} o {'rows':>6} {'form':38} {'ms/tick':>8} {'inserts':>7}")
        for keys in chosen.keys:
            for operators in OPERATORS:
                measure(folder, operators, keys, chosen.rounds)


if __name__ == "__main__":
    main()
