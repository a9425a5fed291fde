"""What records that fail, and valid ones of an odd kind, cost the others: each file beside a clean one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Figures, ferris, median

ROWS = 300_000

_COLUMNS = "id BIGINT NOT NULL, name TEXT, price DOUBLE, qty INTEGER, ts TIMESTAMP"
_QUERY = "SELECT id, name, price FROM s WHERE qty > 3"
_AMOUNTS = "SELECT id, amount FROM s WHERE id % 2 = 0"


def _trade(row: int) -> str:
    return (
        f'{{"id":{row},"name":"user{row % 1000}","price":{row % 500}.25,"qty":{row % 7 + 1},'
        f'"ts":"2024-01-01T00:{row // 60 % 60:02}:{row % 60:02}Z"}}'
    )


def _amount(row: int) -> str:
    return f'{{"id":{row},"amount":{row % 1000}.{row * 7919 % 100:02}}}'


def _wide_amount(row: int) -> str:
    return f'{{"id":{row},"amount":{row % 1000}.{row * 7919:018}}}'


@dataclass(frozen=True, slots=True)
class OddRows:
    """Every `one_in`th row is made by `odd`, the others by `plain`; `columns` are read, beside a clean file's."""

    title: str
    one_in: int
    odd: Callable[[int], str]
    plain: Callable[[int], str] = _trade
    columns: str = _COLUMNS
    clean_columns: str = _COLUMNS
    query: str = _QUERY
    options: tuple[str, ...] = ()


def _malformed(row: int) -> str:
    return _trade(row)[:20]


def _wrong_type(row: int) -> str:
    return _trade(row).replace('"qty":', '"qty":"x')[:-1].replace(',"ts"', '","ts"') + "}"


def _missing(row: int) -> str:
    return _trade(row).replace('"id"', '"no"')


def _overflow(row: int) -> str:
    return _trade(row).replace('"qty":', '"qty":99999999999')


def _twice(row: int) -> str:
    return _trade(row)[:-1] + ',"qty":1}'


def _heartbeat(row: int) -> str:
    return f'{{"beat":{row},"at":"2024-01-01T00:00:00Z","host":"machine-{row % 10}","load":0.5,"state":"fine"}}'


_NULLABLE = _COLUMNS.replace(" NOT NULL", "")
_THOUSAND = ("--set", "batch.strategy=fixed_size", "--set", "batch.size=1000")
_HUNDRED_THOUSAND = ("--set", "batch.strategy=fixed_size", "--set", "batch.size=100000")
_LETTERS = ("--set", "failure_strategy=SendToDLQ", "--set", "dlq.path=letters.jsonl")
_NARROW, _WIDE = "id BIGINT, amount DECIMAL(18,2)", "id BIGINT, amount DECIMAL(38,18)"

CELLS = (
    OddRows("malformed, 1 in 1,000", 1000, _malformed),
    OddRows("malformed, 1 in 1,000, batches of 1,000", 1000, _malformed, options=_THOUSAND),
    OddRows("malformed, 1 in 1,000, batches of 100,000", 1000, _malformed, options=_HUNDRED_THOUSAND),
    OddRows("malformed, 1 in 1,000, dead-lettered", 1000, _malformed, options=_LETTERS),
    OddRows("malformed, 1 in 100", 100, _malformed),
    OddRows("malformed, all", 1, _malformed),
    OddRows("wrong type, 1 in 1,000", 1000, _wrong_type),
    OddRows("missing NOT NULL, 1 in 1,000", 1000, _missing),
    OddRows("overflow, 1 in 1,000", 1000, _overflow),
    OddRows("overflow, 1 in 100", 100, _overflow),
    OddRows("duplicate key, 1 in 1,000", 1000, _twice),
    OddRows("valid: heartbeats, 1 in 2", 2, _heartbeat, columns=_NULLABLE, clean_columns=_NULLABLE),
    OddRows("valid: a wide decimal, 1 in 1,000", 1000, _wide_amount, _amount, _WIDE, _NARROW, _AMOUNTS),
    OddRows("valid: DECIMAL(38,18)", 1, _wide_amount, _amount, _WIDE, "id BIGINT, amount DOUBLE", _AMOUNTS),
)


def compare_odd_rows(
    folder: Path, rounds: int, cells: Sequence[OddRows] = CELLS, rows: int = ROWS
) -> list[tuple[OddRows, Figures, Figures]]:
    """Of each cell the figures of the clean file and of the odd one, the medians of the rounds, which take turns."""
    return [(cell, *_compare(cell, folder, rounds, rows)) for cell in cells]


def _compare(cell: OddRows, folder: Path, rounds: int, rows: int) -> tuple[Figures, Figures]:
    clean, odd = folder / "clean.jsonl", folder / "odd.jsonl"
    with clean.open("w") as clean_lines, odd.open("w") as odd_lines:
        for row in range(rows):
            clean_lines.write(cell.plain(row) + "\n")
            odd_lines.write((cell.odd if row % cell.one_in == cell.one_in // 2 else cell.plain)(row) + "\n")
    turns = [
        (_run(folder, clean, cell.clean_columns, cell), _run(folder, odd, cell.columns, cell)) for _ in range(rounds)
    ]
    clean.unlink()
    odd.unlink()
    return median([figures for figures, _ in turns]), median([figures for _, figures in turns])


def _run(folder: Path, path: Path, columns: str, cell: OddRows) -> Figures:
    application = folder / "odd.sql"
    application.write_text(
        f"CREATE STREAM s ({columns}) WITH ('connector' = 'file', 'path' = '{path}', 'format' = 'json');\n"
        f"CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl') AS {cell.query};\n",
        "utf-8",
    )
    (folder / "letters.jsonl").unlink(missing_ok=True)
    return ferris(application, *cell.options)


def odd_rows_section(compared: Sequence[tuple[OddRows, Figures, Figures]]) -> list[str]:
    """The table of the page."""
    lines = [
        f"| {cell.title} | {clean.cpu_seconds:.2f} | {odd.cpu_seconds:.2f} | {odd.cpu_seconds / clean.cpu_seconds:.2f} "
        f"| {odd.seconds / clean.seconds:.2f} | {odd.peak_mb / clean.peak_mb:.2f} |"
        for cell, clean, odd in compared
    ]
    intro = (
        f"{ROWS:,} rows of JSON, some of which fail (skipped unless it says otherwise) or are valid but odd, beside a "
        "clean file in turn. CPU is the whole process's, starting included; seconds are the work alone."
    )
    head = "| rows | clean, CPU s | odd, CPU s | CPU, times | seconds, times | memory, times |"
    return ["## Rows that fail, and odd ones", "", intro, "", head, "| --- " * 6 + "|", *lines, ""]
