from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.testing.cells import BASE_DAY, Cell, CellError, CellKind, agrees, json_text, layout, render, split


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("  a  b   c", ["a", "b", "c"]),
        ("a -- b", ["a"]),
        ("a--b -5", ["a--b", "-5"]),
        ('"a b" "" "\\n"', ["a b", "", "\n"]),
        ('[1, 2] {"a": [3]} x', ["[1, 2]", '{"a": [3]}', "x"]),
        ("", []),
        ("-- only a comment", []),
    ],
)
def test_line_splits_into_cells(line: str, texts: list[str]) -> None:
    assert [cell.text for cell in split(line)] == texts


@pytest.mark.parametrize(("line", "column"), [('a "b', 3), ("[1", 1), ("}", 1), ('"a"b', 4), ("a]", 2)])
def test_line_that_is_no_row_of_cells_names_the_column(line: str, column: int) -> None:
    with pytest.raises(CellError) as raised:
        split(line)
    assert raised.value.column == column


@pytest.mark.parametrize(
    ("cell", "type_name", "expected"),
    [
        ("00:01", "TIMESTAMP", '"2024-01-01T00:00:01Z"'),
        ("25:00:00.5", "TIMESTAMP", '"2024-01-02T01:00:00.500000Z"'),
        ("2020-02-03T04:05:06+01:00", "TIMESTAMP", '"2020-02-03T03:05:06Z"'),
        ("soon", "TIMESTAMP", '"soon"'),
        ("12", "BIGINT", "12"),
        ("12", "VARCHAR", '"12"'),
        ("1.50", "DECIMAL(4,2)", "1.50"),
        ("x", "BIGINT", '"x"'),
        ('"12"', "BIGINT", '"12"'),
        ("true", "BOOLEAN", "true"),
        ("NULL", "BIGINT", "null"),
        ('"NULL"', "VARCHAR", '"NULL"'),
        ("[1, null]", "BIGINT[]", "[1, null]"),
        ("2024-05-06", "DATE", '"2024-05-06"'),
    ],
)
def test_cell_becomes_json_of_its_column(cell: str, type_name: str, expected: str) -> None:
    assert json_text(split(cell)[0], type_name) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        ("NULL", '"NULL"'),
        ("", '""'),
        ("a b", '"a b"'),
        ("--x", '"--x"'),
        (True, "true"),
        (3, "3"),
        (2.0, "2.0"),
        (Decimal("1.10"), "1.10"),
        (BASE_DAY.replace(second=5), "00:05"),
        (BASE_DAY.replace(hour=1, minute=2, second=3, microsecond=4), "01:02:03.000004"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00"),
        (date(2024, 1, 1), "2024-01-01"),
        (b"\x00\xff", "AP8="),
        ([1, None, "a"], '[1, null, "a"]'),
        ({"a": BASE_DAY}, '{"a": "00:00"}'),
    ],
)
def test_value_becomes_a_cell_that_agrees_with_it(value: object, text: str) -> None:
    assert render(value) == text
    (cell,) = split(text)
    assert agrees(cell, value)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1", True), ("1.1", Decimal("1.10")), ("NULL", ""), ("1.000001", 1.0), ("[1]", [1, 2]), ("x", 1.0), ("1", None)],
)
def test_other_value_does_not_agree(cell: str, value: object) -> None:
    assert not agrees(split(cell)[0], value)


def test_floats_agree_to_a_billionth() -> None:
    assert agrees(Cell(CellKind.BARE, "0.3"), 0.1 + 0.2)
    assert agrees(Cell(CellKind.BARE, "3"), 3.0)


@given(st.text() | st.floats() | st.integers() | st.datetimes() | st.lists(st.text() | st.none() | st.integers()))
def test_every_value_agrees_with_its_own_cell(value: object) -> None:
    (cell,) = split(render(value))
    assert agrees(cell, value)


def test_layout_aligns_columns() -> None:
    assert layout(["a", "long"], [[1, None], ["word", 2.5]]) == ["a     long", "1     NULL", "word  2.5"]
