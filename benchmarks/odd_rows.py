"""What rows that fail, and valid ones of an odd kind, cost the others: each stream beside a clean one.

python -m benchmarks.odd_rows            all cells, three rounds; writes the table into docs/benchmarks.md
python -m benchmarks.odd_rows --quick    one round; prints the table
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import faults
from benchmarks.faults import COLUMNS, QUERY, Fault, Format, Record
from benchmarks.measure import Figures, ferris, median, run
from benchmarks.report import commit
from tests.broker import Broker
from tests.broker_jars import BrokerError

ROWS = 300_000
ROUNDS = 3
MEMORY_BAR = 1.3

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
TITLE = "## Rows that fail, and odd ones"

BATCHES = (1_000, 10_000, 100_000)
#: One row in so many fails.
SHARES = (1_000, 100, 1)
OVER = ("files", "Kafka")

#: Where not a single row is right, the job is to go on all the same.
_LETTERS = ("--set", "failure_strategy=SendToDLQ", "--set", f"dlq.max_consecutive={ROWS + 1}")


@dataclass(frozen=True, slots=True)
class OddRows:
    """Every `one_in`th row is made by `odd`, the others by `plain`; beside it a stream of `clean` ones alone.

    `bar`: how many times the CPU of the clean stream it may take. `batch` None: the default strategy.
    """

    title: str
    format: Format
    over: str
    one_in: int
    odd: Record
    plain: Record
    bar: float
    query: str = QUERY
    columns: str = COLUMNS
    clean_columns: str = COLUMNS
    clean: Record | None = None
    batch: int | None = None
    letters: bool = False

    @property
    def share(self) -> str:
        return "all" if self.one_in == 1 else f"1 in {self.one_in:,}"

    def rows(self, count: int) -> Iterator[str | None]:
        """The stream, of which every `one_in`th row is odd."""
        for row in range(count):
            yield (self.odd if row % self.one_in == self.one_in // 2 else self.plain)(row)

    @property
    def options(self) -> tuple[str, ...]:
        batch = ("--set", "batch.strategy=fixed_size", "--set", f"batch.size={self.batch}") if self.batch else ()
        return (*batch, *(_LETTERS if self.letters else ()))


@dataclass(frozen=True, slots=True)
class Compared:
    """The medians of the clean stream and of the odd one; `start_cpu` is what a job of one row takes."""

    cell: OddRows
    clean: Figures
    odd: Figures
    start_cpu: float

    @property
    def cpu_times(self) -> float:
        return self.odd.cpu_seconds / self.clean.cpu_seconds

    @property
    def work_times(self) -> float:
        """The same without what starting takes."""
        return (self.odd.cpu_seconds - self.start_cpu) / max(self.clean.cpu_seconds - self.start_cpu, 0.01)

    @property
    def memory_times(self) -> float:
        return self.odd.peak_mb / self.clean.peak_mb

    @property
    def is_met(self) -> bool:
        return self.cpu_times <= self.cell.bar and self.memory_times <= MEMORY_BAR


# --- the cells --------------------------------------------------------------------------------------------------------


def bar(one_in: int, batch: int, letters: bool) -> float:
    """How many times the CPU of the clean stream rows that fail may cost."""
    if one_in == 1:
        return 20.0 if letters and batch == 1_000 else 10.0
    return 1.5 if one_in == 1_000 and batch > 1_000 else 2.5


#: Measured whatever else is: the smallest batches, and those in which nothing is right.
_HARDEST = (
    (Fault.MALFORMED, Format.JSON, "files", False, 1_000, 1_000),
    (Fault.MALFORMED, Format.CSV, "files", False, 1_000, 1_000),
    (Fault.MALFORMED, Format.JSON, "files", False, 10_000, 1_000),
    (Fault.MALFORMED, Format.JSON, "Kafka", True, 1_000, 1),
    (Fault.RAGGED, Format.CSV, "Kafka", True, 1_000, 1),
    (Fault.CAST_IN_SELECT, Format.JSON, "Kafka", True, 1_000, 1),
    (Fault.CAST_IN_WHERE, Format.CSV, "files", True, 1_000, 1),
)


def failing_cells() -> list[OddRows]:
    """The hardest, and as few others as a greedy choice finds, so that any two values of different properties meet."""
    possible = [
        case
        for case in itertools.product(Fault, Format, OVER, (False, True), BATCHES, SHARES)
        if case[0].record(case[1]) is not None
    ]
    wanted = {pair for case in possible for pair in itertools.combinations(enumerate(case), 2)}
    cells, chosen = [], list(_HARDEST)
    while wanted:
        case = (
            chosen.pop(0)
            if chosen
            else max(possible, key=lambda one: len(wanted.intersection(itertools.combinations(enumerate(one), 2))))
        )
        wanted.difference_update(itertools.combinations(enumerate(case), 2))
        cells.append(_failing(*case))
    return sorted(cells, key=lambda cell: list(Fault).index(Fault(cell.title)))


def _failing(fault: Fault, format_: Format, over: str, letters: bool, batch: int, one_in: int) -> OddRows:
    odd = fault.record(format_)
    assert odd is not None
    plain = faults.json_record if format_ is Format.JSON else faults.csv_record
    limit = bar(one_in, batch, letters)
    return OddRows(fault.value, format_, over, one_in, odd, plain, limit, fault.query, batch=batch, letters=letters)


_NULLABLE = COLUMNS.replace(" NOT NULL", "")
_AMOUNTS = "SELECT id, amount FROM s WHERE id % 2 = 0"
_WIDE, _EXACT, _DOUBLE = (f"id BIGINT, amount {kind}" for kind in ("DECIMAL(30,10)", "DECIMAL(38,18)", "DOUBLE"))


def _on_one_line(row: int) -> str:
    return faults.pretty(row).replace("\n", " ")


def _valid_cells() -> list[OddRows]:
    cells = []
    for over in OVER:
        cells += [
            OddRows("heartbeats", Format.JSON, over, 2, faults.heartbeat, faults.json_record, 1.5,
                    columns=_NULLABLE, clean_columns=_NULLABLE),
            OddRows("a wide decimal", Format.JSON, over, 1_000, faults.wide_amount, faults.amount, 1.5,
                    _AMOUNTS, _WIDE, _WIDE),
            OddRows("DECIMAL(38,18)", Format.JSON, over, 1, faults.wide_amount, faults.wide_amount, 3.0,
                    _AMOUNTS, _EXACT, _DOUBLE),
        ]  # fmt: skip
    return [
        *cells,
        OddRows("CRLF among LF", Format.CSV, "files", 2, lambda row: faults.csv_record(row) + "\r",
                faults.csv_record, 1.5),
        OddRows("pretty-printed", Format.JSON, "Kafka", 1, faults.pretty, _on_one_line, 1.5),
        OddRows("a newline at the end", Format.JSON, "Kafka", 1, lambda row: faults.json_record(row) + "\n",
                faults.json_record, 1.5),
        OddRows("a newline at the end", Format.CSV, "Kafka", 1, lambda row: faults.csv_record(row) + "\n",
                faults.csv_record, 1.5),
        OddRows("tombstones, skipped", Format.JSON, "Kafka", 1_000, lambda _row: None, faults.json_record, 1.5),
    ]  # fmt: skip


FAILING, VALID = failing_cells(), _valid_cells()
CELLS = (*FAILING, *VALID)


# --- measuring --------------------------------------------------------------------------------------------------------


class Streams:
    """Files and topics of the benchmark; `broker` is None where only files are measured."""

    def __init__(self, folder: Path, broker: Broker | None, rows: int = ROWS) -> None:
        self._folder = folder
        self._broker = broker
        self._rows = rows
        self._clean: dict[tuple[str, Record], str] = {}
        self._starts: dict[tuple[str, Format], float] = {}

    @property
    def over(self) -> tuple[str, ...]:
        """What can be measured."""
        return OVER if self._broker is not None else OVER[:1]

    def compare(self, cell: OddRows, rounds: int) -> Compared:
        """The two streams in turn; in every second round the odd one first."""
        clean_rows = cell.clean or cell.plain
        clean = self._clean.get((cell.over, clean_rows))
        if clean is None:
            clean = self._clean[cell.over, clean_rows] = self._made(cell.over, map(clean_rows, range(self._rows)))
        odd = self._made(cell.over, cell.rows(self._rows))
        taken: dict[str, list[Figures]] = {clean: [], odd: []}
        for turn in range(rounds):
            for name in (clean, odd) if turn % 2 == 0 else (odd, clean):
                taken[name].append(self._run(cell, name, cell.clean_columns if name is clean else cell.columns))
        start = self._start(cell, rounds)
        self._remove(cell.over, odd)
        return Compared(cell, median(taken[clean]), median(taken[odd]), start)

    def _start(self, cell: OddRows, rounds: int) -> float:
        """The CPU that a job of one sound row takes."""
        key = cell.over, cell.format
        if key not in self._starts:
            name = self._made(cell.over, iter([(cell.clean or cell.plain)(0)]))
            runs = [self._run(cell, name, cell.clean_columns) for _ in range(rounds)]
            self._starts[key] = median(runs).cpu_seconds
            self._remove(cell.over, name)
        return self._starts[key]

    def _made(self, over: str, rows: Iterator[str | None]) -> str:
        """The path of a new file, or the name of a new topic, with these rows."""
        path = self._folder / f"rows-{uuid.uuid4().hex[:8]}"
        with path.open("w", newline="") as file:
            if over == "files":
                file.writelines(f"{row}\n" for row in rows)
                return str(path)
            file.writelines(json.dumps(row) + "\n" for row in rows)
        assert self._broker is not None
        self._broker.create_topic(path.name)
        filling = [sys.executable, "-m", "benchmarks.fill", self._broker.bootstrap_servers, path.name, path]
        run(filling, self._folder)
        path.unlink()
        return path.name

    def _remove(self, over: str, name: str) -> None:
        if over == "Kafka":
            assert self._broker is not None
            self._broker.topics.delete(name)
        else:
            Path(name).unlink()

    def _run(self, cell: OddRows, name: str, columns: str) -> Figures:
        # A name of its own for each run: group, transactions and topic of dead letters go by it.
        application, job = self._folder / "odd.sql", f"app-{uuid.uuid4().hex[:8]}"
        place = {"connector": "file", "path": name}
        if cell.over == "Kafka":
            assert self._broker is not None
            place = {"connector": "kafka", "bootstrap.servers": self._broker.bootstrap_servers, "topic": name}
        elif cell.format is Format.CSV:
            place["header"] = "false"
        place["format"] = cell.format.value
        application.write_text(_application(job, columns, place, cell.query), "utf-8")
        for letters in self._folder.glob("*.dlq.jsonl"):
            letters.unlink()
        try:
            return ferris(application, *(("--once",) if cell.over == "Kafka" else ()), *cell.options)
        finally:
            if cell.over == "Kafka" and self._broker is not None:
                for topic in self._broker.topics.names():
                    if topic.startswith(job):
                        self._broker.topics.delete(topic)


def _application(name: str, columns: str, place: Mapping[str, str], query: str) -> str:
    given = ", ".join(f"'{key}' = '{value}'" for key, value in place.items())
    return (
        f"-- @app: {name}\nCREATE STREAM s ({columns}) WITH ({given});\n"
        f"CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl') AS {query};\n"
    )


@contextmanager
def opened_streams(folder: Path, rows: int = ROWS) -> Iterator[Streams]:
    """Streams over files, and over a broker where one can be started: without Java the table says so."""
    broker: Broker | None = None
    try:
        broker = Broker(folder / "broker", measured=True)
        broker.start()
    except BrokerError as error:
        say(f"no cells over Kafka: {error}")
        broker = None
    try:
        yield Streams(folder, broker, rows)
    finally:
        if broker is not None:
            broker.stop()


def odd_rows_section(folder: Path, rounds: int = ROUNDS, cells: Sequence[OddRows] = CELLS, rows: int = ROWS) -> str:
    """Measure, and give the table with what it needs to be judged."""
    loads, compared = [], []
    with opened_streams(folder, rows) as streams:
        for number, cell in enumerate(cells, 1):
            loads.append(os.getloadavg()[0])
            say(f"{number} of {len(cells)}: {cell.title}, {cell.format.name} over {cell.over}")
            if cell.over in streams.over:
                compared.append(streams.compare(cell, rounds))
                say(_row(compared[-1]))
    return section(compared, len(cells) - len(compared), rounds, loads)


# --- the table --------------------------------------------------------------------------------------------------------


def section(compared: Sequence[Compared], left_out: int, rounds: int, loads: Sequence[float]) -> str:
    """The part of the page."""
    missed = [one for one in compared if not one.is_met]
    intro = (
        f"{ROWS:,} rows of six fields, some of which fail or are valid but odd, beside a clean stream: the two took "
        f"turns, {rounds} times. *CPU* is the whole process's, starting included, *work* the same without what a job "
        "of one row takes, *memory* the peak's ratio. Any two values of different properties of the first table meet "
        "in a cell. The clean stream of valid data has the same bytes, or nearly: DOUBLE for DECIMAL(38,18), one line "
        f"for several. **Bold**: over the bar for CPU (the last column), or over {MEMORY_BAR} for memory. Measured at "
        f"commit {commit()}, load average {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores."
    )
    by_work = sum(one.work_times <= one.cell.bar for one in compared)
    result = [
        f"{len(compared) - len(missed)} of {len(compared)} cells meet their bars; held to the work alone, {by_work} "
        "would meet the one for CPU."
    ]
    if left_out:
        result.append(f"{left_out} over Kafka were not measured: no broker could be started.")
    head = "| rows | share | input | batches | then | clean, CPU s | odd, CPU s | CPU | work | memory | bar |"
    lines = [TITLE, "", intro, "", " ".join(result), ""]
    for title, cells in (("Rows that fail", FAILING), ("Valid rows of an odd kind", VALID)):
        rows = [_row(one) for one in compared if one.cell in cells]
        lines += [f"### {title}", "", head, "| --- " * head.count(" | ") + "| --- |", *rows, ""]
    return "\n".join(lines)


def _row(one: Compared) -> str:
    cell = one.cell
    batches = "default" if cell.batch is None else f"{cell.batch:,}"
    return (
        f"| {cell.title} | {cell.share} | {cell.format.name}, {cell.over} | {batches} "
        f"| {'dead-lettered' if cell.letters else 'skipped' if cell in FAILING else ''} "
        f"| {one.clean.cpu_seconds:.2f} | {one.odd.cpu_seconds:.2f} | {_marked(one.cpu_times, cell.bar)} "
        f"| {one.work_times:.2f} | {_marked(one.memory_times, MEMORY_BAR)} | {cell.bar:g} |"
    )


def _marked(value: float, limit: float) -> str:
    return f"**{value:.2f}**" if value > limit else f"{value:.2f}"


def section_of(page: str) -> str:
    """This section of a page; empty where it has none."""
    begin = page.find(TITLE)
    return page[begin:].rstrip() + "\n" if begin >= 0 else ""


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, printed only")
    parser.add_argument("--only", metavar="TEXT", help="the cells whose row of the table holds this, printed only")
    given = parser.parse_args()
    cells = [cell for cell in CELLS if given.only is None or given.only in _words(cell)]
    with tempfile.TemporaryDirectory(prefix="ferris-bench-") as name:
        found = odd_rows_section(Path(name), 1 if given.quick else ROUNDS, cells)
    if not given.quick and given.only is None:
        page = PAGE.read_text("utf-8")
        PAGE.write_text(page.replace(section_of(page), "").rstrip() + "\n\n" + found, "utf-8")
    print(found)


def _words(cell: OddRows) -> str:
    letters = "dead-lettered" if cell.letters else "skipped"
    return f"{cell.title} {cell.share} {cell.format.name}, {cell.over} {cell.batch} {letters}"


if __name__ == "__main__":
    main()
