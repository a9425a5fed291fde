from __future__ import annotations

import io
import json

import pytest

from ferrisstreams.cli.row_table import RowTable

ROWS: list[dict[str, object]] = [
    {"symbol": "AAA", "trades": 2, "high": 12.0, "note": None},
    {"symbol": "BBBB", "trades": 10, "high": None, "note": "two\nlines"},
]


def lines(*rows: dict[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def printed(columns: int | None, *pieces: bytes) -> str:
    out = io.StringIO()
    table = RowTable(out, columns)
    for piece in pieces:
        table.write(piece)
        table.flush()
    return out.getvalue()


def test_numbers_are_to_the_right_and_texts_to_the_left() -> None:
    assert (
        printed(None, lines(*ROWS))
        == """\
symbol  trades  high  note
──────  ──────  ────  ────────────
AAA          2  12.0  NULL
BBBB        10  NULL  "two\\nlines"
"""
    )


def test_row_may_come_in_pieces() -> None:
    data = lines(*ROWS)
    assert printed(None, data[:10], data[10:]) == printed(None, data)


def test_later_rows_have_no_second_head_unless_they_need_wider_columns() -> None:
    shown = printed(None, lines({"a": 100}), lines({"a": 7}), lines({"a": 1_000_000}))
    assert shown == "  a\n───\n100\n  7\n\n      a\n───────\n1000000\n"


@pytest.mark.parametrize("columns", [24, 40, 80])
def test_widest_cells_are_cut_to_the_terminal(columns: int) -> None:
    shown = printed(columns, lines({"id": 1, "text": "x" * 200, "other": "y" * 9}))
    assert max(map(len, shown.splitlines())) == columns
    assert "…" in shown
    assert "y" * 9 in shown or columns < 40


def test_row_of_too_many_columns_is_a_block() -> None:
    row: dict[str, object] = {f"column_{n}": n for n in range(12)}
    shown = printed(60, lines(row, row))
    assert shown.splitlines()[:2] == ["column_0   0", "column_1   1"]
    assert shown.splitlines()[12:14] == ["", "column_0   0"]


def test_nothing_is_printed_of_no_rows() -> None:
    assert printed(80, b"") == ""
