from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlglot

from ferrisstreams.duck.engine import Engine, EngineSettings

DOCUMENT = (
    '{"a":1.10,"b":[1.50,2],"c":"1.10","d":12345678901234567890.123,"e":{"x":1.20,"a":1.1},"f":9007199254740993.0,'
    '"s":"a \\" 1.10, \x7fn","n":null,"w":1.5}'
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(EngineSettings())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("->> '$.a'", "1.10"),
        ("->> '/a'", "1.10"),
        ("->> '$.w'", "1.5"),
        ("->> '$.c'", "1.10"),
        ("->> '$.d'", "12345678901234567890.123"),
        ("->> '$.f'", "9007199254740993.0"),
        ("->> '$.b[0]'", "1.50"),
        ("->> '$.b'", "[1.50,2]"),
        ("->> '$.e'", '{"x":1.20,"a":1.1}'),
        ("-> '$.e' ->> '$.x'", "1.20"),
        ("-> '$.e' ->> '$.a'", "1.1"),
        ("-> '$.c'", '"1.10"'),
        ("->> '$.s'", 'a " 1.10, \x7fn'),
        ("->> '$.n'", None),
        ("->> '$.missing'", None),
    ],
)
def test_arrow_keeps_the_digits_of_numbers(engine: Engine, operation: str, expected: str | None) -> None:
    query = sqlglot.parse_one(f"SELECT CAST($j AS JSON) {operation}", dialect="duckdb")
    ((found,),) = engine.work.rows(query, {"j": DOCUMENT})
    assert found == expected


def test_arrow_without_a_document_is_null(engine: Engine) -> None:
    query = sqlglot.parse_one("SELECT NULL::JSON ->> '$.a', NULL::JSON -> '$.a'", dialect="duckdb")
    assert engine.work.rows(query) == [(None, None)]
