"""Lengths that are constants are small where only types are asked for, and nothing else is."""

from __future__ import annotations

import pytest

from ferrisstreams.duck.growth import with_short_constants
from ferrisstreams.sql.statements import StreamAs, parse_statements


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("repeat('x', 4000000000)", "REPEAT('x', 1)"),
        ("lpad('12', 2 * 1000000000, 'x')", "LPAD('12', 1, 'x')"),
        ("repeat(CAST(substring(CAST(NULL AS TEXT), 2, 1) AS BLOB), 3)", None),
        ("lpad(k, 0, CAST(1 AS TEXT))", None),
        ("list_resize(l, 4000000000, 4000000000)", "LIST_RESIZE(l, 1, 4000000000)"),
        ("range(CAST('2024-01-31' AS DATE), CAST('2024-02-01' AS DATE), to_hours(2))", None),
        ("range(1, 4000000000, 2 + 1)", "RANGE(1, 1, 1)"),
        ("range(n, 4000000000)", "RANGE(n, 1)"),
    ],
)
def test_only_what_is_a_length_is_shortened(written: str, asked: str | None) -> None:
    (statement,) = parse_statements(f"SELECT {written} FROM s", "app.sql").statements
    assert isinstance(statement, StreamAs)
    item = statement.query.expressions[0]
    assert with_short_constants(item).sql("duckdb") == (asked or item.sql("duckdb"))
