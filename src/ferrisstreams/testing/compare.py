"""Whether what a schedule gave is what the case expects, and a diff when it is not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from sqlglot import exp

from ferrisstreams.errors import FerrisError
from ferrisstreams.plan.nodes import Window, WindowKind
from ferrisstreams.plan.stages import cut
from ferrisstreams.testing.case import Table
from ferrisstreams.testing.cells import Cell, agrees, layout
from ferrisstreams.testing.execute import Letter, Prepared, Ran
from ferrisstreams.testing.parser import LEDGER_NAMES

Row = tuple[object, ...]

#: How a sink in memory shows a change when results can disappear: the first column.
_OP = "op"


def disagreement(prepared: Prepared, ran: Ran) -> str | None:
    """None, or what differs, for people."""
    expected = prepared.case.expected
    if expected.error or ran.error is not None:
        return error_disagreement(expected.error, ran.error)
    if expected.output is not None and (found := _output(prepared, ran, expected.output)):
        return found
    if found := lost_rows(prepared, ran):
        return found
    if expected.ledger is not None and (found := _ledger(prepared, expected.ledger, ran.ledger)):
        return found
    return _letters(expected.letters, ran.letters) if expected.letters is not None else None


def error_disagreement(expected: Sequence[str], error: FerrisError | None) -> str | None:
    """`expected` is a code and pieces of the message, none of them when no error is expected."""
    if error is None:
        return f"expected the error {' '.join(expected)}, but nothing failed"
    if not expected:
        return f"failed: {error}"
    text = str(error).lower()
    if error.code == expected[0] and all(piece.lower() in text for piece in expected[1:]):
        return None
    return f"expected the error {' '.join(expected)}\ngot {error.code}: {error}"


# -- output


def final_rows(prepared: Prepared, ran: Ran) -> tuple[tuple[str, ...], list[Row]]:
    """Columns and rows as a case shows them: folded by key when the result changes, unless its cut is fixed."""
    if not prepared.changes or prepared.case.batch_rows is not None:
        return ran.columns, list(ran.rows)
    if ran.columns[:1] == (_OP,):
        return ran.columns[1:], _fold_retractions(ran.rows)
    return ran.columns, fold_by_key(ran.columns, ran.rows, prepared.key or ())


def fold_by_key(columns: Sequence[str], rows: Sequence[Row], key: Sequence[str]) -> list[Row]:
    """The last row of each key, at the place of its first."""
    places = [columns.index(name) for name in key]
    last: dict[str, Row] = {}
    for row in rows:
        last[repr([row[place] for place in places])] = row
    return list(last.values())


def _fold_retractions(rows: Sequence[Row]) -> list[Row]:
    standing: list[Row] = []
    for op, *values in rows:
        if str(op).startswith("+"):
            standing.append(tuple(values))
        elif tuple(values) in standing:
            standing.remove(tuple(values))
        else:
            standing.append(("taken back, but never given:", *values))
    return standing


def _output(prepared: Prepared, ran: Ran, expected: Table) -> str | None:
    columns, rows = final_rows(prepared, ran)
    if columns != expected.columns:
        return f"expected the columns {', '.join(expected.columns)}\ngot {', '.join(columns)}"
    loose = (prepared.changes and prepared.case.batch_rows is None) or not prepared.ordered
    if loose:
        rows = _aligned(expected.rows, rows)
    same = len(rows) == len(expected.rows) and all(map(_row_agrees, expected.rows, rows))
    return None if same else "output:\n" + _diff(columns, expected.rows, rows)


def _row_agrees(cells: Sequence[Cell], row: Row) -> bool:
    return len(cells) == len(row) and all(map(agrees, cells, row))


def _aligned(expected: Sequence[Sequence[Cell]], rows: Sequence[Row]) -> list[Row]:
    """The rows in the order of the expected ones that they agree with; the others behind."""
    left = list(rows)
    aligned: list[Row] = []
    for cells in expected:
        found = next((row for row in left if _row_agrees(cells, row)), None)
        if found is not None:
            left.remove(found)
            aligned.append(found)
    return aligned + left


def _diff(columns: Sequence[str], expected: Sequence[Sequence[Cell]], rows: Sequence[Row]) -> str:
    """`-` lines are expected and missing, `+` lines came and are not expected."""
    wanted = layout(columns, [_shown(cells, rows) for cells in expected])
    got = layout(columns, rows)
    if wanted[0].split() == got[0].split():
        # One layout for both, so that equal rows are equal lines.
        both = layout(columns, [*(_shown(cells, rows) for cells in expected), *rows])
        wanted, got = both[: len(expected) + 1], [both[0], *both[len(expected) + 1 :]]
    lines = difflib.ndiff(wanted, got)
    return "\n".join("  " + line for line in lines if not line.startswith("?"))


def _shown(cells: Sequence[Cell], rows: Sequence[Row]) -> Sequence[object]:
    """A row that agrees, as it came; else the cells as they are written."""
    agreeing = next((row for row in rows if _row_agrees(cells, row)), None)
    return agreeing if agreeing is not None else [_Written(cell.text) for cell in cells]


class _Written(str):
    """The text of an expected cell, shown as it stands in the file."""

    __slots__ = ()


# -- ledger and letters


def _ledger(prepared: Prepared, expected: Mapping[str, int], got: Mapping[str, int]) -> str | None:
    """Counts that are not named are zero; of a result that changes, how often it was written depends on the cut."""
    free = ("produced", "written") if prepared.changes and prepared.case.batch_rows is None else ()
    names = [name for name in LEDGER_NAMES if name not in free]
    wrong = [f"  {name}: expected {expected.get(name, 0)}, got {got[name]}" for name in names if
             expected.get(name, 0) != got[name]]  # fmt: skip
    return "ledger:\n" + "\n".join(wrong) if wrong else None


def lost_rows(prepared: Prepared, ran: Ran) -> str | None:
    """Rows that were absorbed and are in no result, or in too many: a plain `count(*)` of every group says so. None:
    there are none, or nothing tells.

    The ledger adds up without them: what a window holds when it is emitted is not counted again.
    """
    graph = cut(prepared.plan.plan)
    aggregate = next(iter(graph.aggregates), None)
    if (
        aggregate is None
        or len(graph.outputs) > 1
        or len(graph.operators) > 1
        or graph.output.conjuncts
        or prepared.case.batch_rows is not None
        or ran.ledger["output_rejected"]
    ):
        return None
    counts = {call.name for call in aggregate.calls if call.expression == _COUNT}
    names = [named.name for named in graph.columns(graph.output) if named.expression.name in counts]
    windows = _windows_of_a_row(aggregate.window)
    if not names or windows is None:
        return None
    columns, rows = final_rows(prepared, ran)
    counted = sum(int(str(row[columns.index(names[0])])) for row in rows)
    kept = ran.ledger["absorbed"] * windows - ran.ledger["late_windows"]
    return None if counted == kept else f"{kept} rows were kept for the results, which hold {counted}"


_COUNT = exp.Count(this=exp.Star(), big_int=True)


def _windows_of_a_row(window: Window | None) -> int | None:
    """In how many windows every row is; None: it depends on the row."""
    if window is None or window.kind is WindowKind.SESSION:
        return 1
    whole = window.size_us % window.slide_us == 0 and window.kind is not WindowKind.CUMULATE
    return window.size_us // window.slide_us if whole else None


def _letters(expected: Table, letters: Sequence[Letter]) -> str | None:
    unknown = [name for name in expected.columns if name not in Letter.__dataclass_fields__]
    if unknown:
        return f"a dead letter has no {', '.join(unknown)}; it has {', '.join(Letter.__dataclass_fields__)}"
    rows: list[Row] = [tuple(letter.field(name) for name in expected.columns) for letter in letters]
    aligned = _aligned(expected.rows, rows)
    same = len(rows) == len(expected.rows) and all(map(_row_agrees, expected.rows, aligned))
    return None if same else "dead letters:\n" + _diff(expected.columns, expected.rows, aligned)
