from __future__ import annotations

import pytest
from sqlglot import exp

from ferrisstreams.errors import SqlError
from ferrisstreams.formats.json_text import JsonLinesEncoder
from ferrisstreams.schema import Column, Schema
from tests.unit.formats.conftest import Bench

#: An SQL expression and its JSON text, or None when the row cannot be encoded.
TEXTS: list[tuple[str, str | None]] = [
    ("1::HUGEINT << 100", "1267650600228229401496703205376"),
    ("1.10::DECIMAL(10,2)", "1.10"),
    ("-0.5::DECIMAL(38,10)", "-0.5000000000"),
    ("0.1::FLOAT", "0.1"),
    ("1e20::DOUBLE", "100000000000000000000.0"),
    ("'inf'::DOUBLE", None),
    ("'nan'::FLOAT", None),
    ("true", "true"),
    ("NULL", "null"),
    ("NULL::TIMESTAMP", "null"),
    ("'a\"\\\n\x01é'", '"a\\"\\\\\\n\\u0001é"'),
    ("TIMESTAMP '2024-01-01'", '"2024-01-01T00:00:00Z"'),
    ("TIMESTAMP '2024-01-01 00:00:00.1'", '"2024-01-01T00:00:00.100000Z"'),
    ("TIMESTAMP '1969-12-31 23:59:59.999999'", '"1969-12-31T23:59:59.999999Z"'),
    ("TIMESTAMPTZ '2024-01-01 00:00:00+02'", '"2023-12-31T22:00:00Z"'),
    ("'infinity'::TIMESTAMP", None),
    ("DATE '2024-01-01'", '"2024-01-01"'),
    ("TIME '10:00:00.5'", '"10:00:00.5"'),
    ("INTERVAL '1 day 2 hours'", '"1 day 02:00:00"'),
    ("'\\xFF\\x00'::BLOB", '"/wA="'),
    ("'6f9619ff-8b86-d011-b42d-00c04fc964ff'::UUID", '"6f9619ff-8b86-d011-b42d-00c04fc964ff"'),
    ("'{\"a\":  [1]}'::JSON", '{"a":[1]}'),
    ('\'{"a":  [1.10, 1e3, "1.10, NaN"]}\'::JSON', '{"a":[1.10,1e3,"1.10, NaN"]}'),
    ("'[12345678901234567890.123,]'::JSON", "[12345678901234567890.123]"),
    ("'{\"a\": NaN}'::JSON", None),
    ("'[1, -inf]'::JSON", None),
    ("['[nan]'::JSON]", None),
    ("MAP {'a': 'Infinity'::JSON}", None),
    ("NULL::JSON", "null"),
    ("'x'::ENUM('x', 'y')", '"x"'),
    ("[1.10::DECIMAL(3,2), NULL]", "[1.10,null]"),
    ("[]::INTEGER[]", "[]"),
    ("[[TIMESTAMP '2024-01-01'], NULL]", '[["2024-01-01T00:00:00Z"],null]'),
    ("[1.0::DOUBLE, 'inf']", None),
    ("{'a \"b': 1, 'c': {'d': 'x'::BLOB}}", '{"a \\"b":1,"c":{"d":"eA=="}}'),
    ("{'a': 'nan'::DOUBLE}", None),
    ("MAP {'k\"': DATE '2024-01-01', 'l': NULL}", '{"k\\"":"2024-01-01","l":null}'),
    ("MAP {1: [2]}", '{"1":[2]}'),
    ("MAP {'a': 'inf'::DOUBLE}", None),
    ("NULL", "null"),
    ("[]", "[]"),
    ("[[NULL], []]", "[[null],[]]"),
    ("MAP {}", "{}"),
    ("{'NULL': NULL}", '{"NULL":null}'),
    ("'2024-01-01 00:00:01'::TIMESTAMP_S", '"2024-01-01T00:00:01Z"'),
    ("'2024-01-01 00:00:01.5'::TIMESTAMP_MS", '"2024-01-01T00:00:01.500000Z"'),
]


@pytest.mark.parametrize(("expression", "expected"), TEXTS)
def test_value_is_written_as_json(bench: Bench, expression: str, expected: str | None) -> None:
    ((name, kind),) = bench.engine.work.types(f"SELECT {expression} AS value")
    line = JsonLinesEncoder().line(Schema((Column(name, kind),)))
    bench.engine.work.execute(f"CREATE OR REPLACE TEMP TABLE given AS SELECT {expression} AS value")
    ((text,),) = bench.engine.work.rows(exp.select(line).from_("given"))
    assert text == (None if expected is None else f'{{"value":{expected}}}')


def test_keys_stand_in_the_order_of_the_columns(bench: Bench) -> None:
    columns = Schema((Column("b", "INTEGER"), Column('a "x"', "INTEGER")))
    query = exp.select(JsonLinesEncoder().line(columns)).from_('(SELECT 1 AS "a ""x""", 2 AS b)')
    assert bench.engine.work.rows(query) == [('{"b":2,"a \\"x\\"":1}',)]


@pytest.mark.parametrize(
    "kind", ["UNION(a INTEGER, b VARCHAR)", "TIMESTAMP_NS", "TUPLE(INTEGER, VARCHAR)", "STRUCT(a UNION(x INTEGER))[]"]
)
def test_type_that_json_has_no_text_for_is_refused(kind: str) -> None:
    with pytest.raises(SqlError) as caught:
        JsonLinesEncoder().line(Schema((Column("a", kind),)))
    assert caught.value.code == "E1102"
