from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal

import pytest
from sqlglot import exp

from ferrisstreams.duck.engine import DataError
from ferrisstreams.errors import SqlError
from ferrisstreams.formats.json_columns import Form, json_columns
from ferrisstreams.formats.json_judge import JsonJudge
from ferrisstreams.formats.settings import DecodeSettings
from tests.unit.formats.conftest import Bench, schema

JSON = DecodeSettings("json")

#: Type, value as written in JSON, and what is read: a value, or the code of the rejection.
VALUES: list[tuple[str, str, object]] = [
    ("BIGINT", "12", 12),
    ("BIGINT", '"12"', 12),
    ("BIGINT", "1.5", "E2104"),
    ("BIGINT", '"1.5"', "E2104"),
    ("BIGINT", "1.0", 1),
    ("BIGINT", '"1.0"', 1),
    ("BIGINT", "1e3", 1000),
    ("BIGINT", "15e-1", "E2104"),
    ("BIGINT", "-0.0", 0),
    ("BIGINT", "9007199254740993.0", 9007199254740993),
    ("BIGINT", "9.007199254740993e15", 9007199254740993),
    ("BIGINT", "9007199254740993.1", "E2104"),
    ("BIGINT", "1.00000000000000000001", "E2104"),
    ("BIGINT", '"1.00000000000000000001"', "E2104"),
    ("BIGINT", "0.99999999999999999999", "E2104"),
    ("BIGINT", "1700000000000.00001", "E2104"),
    ("BIGINT", "1700000000000.00000", 1700000000000),
    ("INTEGER", "2147483646.9999999", "E2104"),
    ("INTEGER", "-2147483647.0000001", "E2104"),
    ("INTEGER", "2147483646.00000000", 2147483646),
    ("BIGINT[]", "[2, 1.00000000000000000001]", "E2104"),
    ("STRUCT(n INTEGER)", '{"n": 1.00000000000000000001}', "E2104"),
    ("BIGINT", "true", "E2104"),
    ("BIGINT", "false", "E2104"),
    ("BIGINT", '"0x10"', "E2104"),
    ("BIGINT", '""', "E2104"),
    ("TINYINT", "127.0", 127),
    ("TINYINT", "128", "E2104"),
    ("TINYINT", "1.5", "E2104"),
    ("UTINYINT", "-1", "E2104"),
    ("UBIGINT", "18446744073709551615.0", 18446744073709551615),
    ("BIGINT", "null", None),
    ("BIGINT", "9007199254740993", 9007199254740993),
    ("BIGINT", '"9007199254740993"', 9007199254740993),
    ("BIGINT", "9223372036854775808", "E2104"),
    ("BIGINT", '"x"', "E2104"),
    ("BIGINT", "[1]", "E2104"),
    ("HUGEINT", "123456789012345678901234567890", Decimal("123456789012345678901234567890")),
    ("UBIGINT", "18446744073709551615", 18446744073709551615),
    ("DOUBLE", "0.1", 0.1),
    ("DOUBLE", "1e999", "E2104"),
    ("DOUBLE", "NaN", "E2104"),
    ("DOUBLE", '"-inf"', "E2104"),
    ("DOUBLE[]", "[1, NaN]", "E2104"),
    ("DOUBLE", "true", "E2104"),
    ("DOUBLE", '"1e3"', 1000.0),
    ("FLOAT", "false", "E2104"),
    ("BOOLEAN", "1", "E2104"),
    ("BOOLEAN", "0", "E2104"),
    ("BOOLEAN", '"1"', "E2104"),
    ("BOOLEAN", "1.0", "E2104"),
    ("BOOLEAN", "true", True),
    ("BOOLEAN", "false", False),
    ("BOOLEAN", '"TRUE"', True),
    ("BOOLEAN", '"no"', False),
    ("BOOLEAN", "[]", "E2104"),
    ("VARCHAR", "7", "7"),
    ("VARCHAR", "1.10", "1.10"),
    ("VARCHAR", "1E+2", "1E+2"),
    ("VARCHAR", "12345678901234567890.123456789", "12345678901234567890.123456789"),
    ("VARCHAR", '"1.10"', "1.10"),
    ("VARCHAR", '"1.1"', "1.1"),
    ("VARCHAR", '"NaN"', "NaN"),
    ("VARCHAR", "NaN", "E2104"),
    ("VARCHAR", "-Infinity", "E2104"),
    ("VARCHAR", "true", "true"),
    ("VARCHAR", '"\x7fn1.5"', "\x7fn1.5"),
    ("VARCHAR", '{"a": [1.10, "x: 2.50, y", 1e3]}', '{"a":[1.10,"x: 2.50, y",1e3]}'),
    ("VARCHAR", '{"a": [1, NaN]}', "E2104"),
    ("JSON", "1.10", "1.10"),
    ("JSON", '"1.10"', '"1.10"'),
    ("JSON", '{"b": 1.10, "c": "a \\" 1.10"}', '{"b":1.10,"c":"a \\" 1.10"}'),
    ("JSON", "[0.1000000000000000055511151231257827, 1e400]", "[0.1000000000000000055511151231257827,1e400]"),
    ("JSON", '{"temp": NaN}', "E2104"),
    ("JSON", r'{"a": 1.10, "t": "\u007fn\u007f\\\u007F"}', r'{"a":1.10,"t":"' + "\x7fn\x7f\\\\\x7f" + '"}'),
    ("JSON", '["NaN", "Infinity"]', '["NaN","Infinity"]'),
    ("JSON", "[-inf]", "E2104"),
    ("JSON[]", "[1.50, NaN]", "E2104"),
    ("JSON[]", '[1.50, null, "NaN"]', ["1.50", None, '"NaN"']),
    ("MAP(VARCHAR, JSON)", '{"a": Infinity}', "E2104"),
    ("MAP(VARCHAR, JSON)", '{"a": 1.50}', [("a", "1.50")]),
    ("MAP(VARCHAR, BIGINT)", '{"a": 1.5}', "E2104"),
    ("MAP(VARCHAR, BIGINT)", '{"a": 1, "a": 2}', "E2104"),
    ("MAP(VARCHAR, BIGINT)", "5", "E2104"),
    ("VARCHAR", '{"a": [1]}', '{"a":[1]}'),
    ("VARCHAR", '"\\u0000"', "\x00"),
    ("VARCHAR", '"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    ("VARCHAR", '"\\ud83d"', "E2101"),
    ("DECIMAL(10,2)", "1.10", Decimal("1.10")),
    ("DECIMAL(10,2)", '"1.005"', Decimal("1.01")),
    ("DECIMAL(10,2)", "1.005", Decimal("1.01")),
    ("DECIMAL(10,2)", "-1.005", Decimal("-1.01")),
    ("DECIMAL(10,2)", "1.00499999999999999999", Decimal("1.00")),
    ("DECIMAL(10,2)", "8.165", Decimal("8.17")),
    ("DECIMAL(10,2)", "0.285", Decimal("0.29")),
    ("DECIMAL(10,2)", "100500e-5", Decimal("1.01")),
    ("DECIMAL(10,2)", "true", "E2104"),
    ("DECIMAL(10,2)", '"true"', "E2104"),
    ("DECIMAL(10,2)", "12345678.00", Decimal("12345678.00")),
    ("DECIMAL(4,2)", "99.999", "E2104"),
    ("DECIMAL(18,2)[]", "[9007199254740993.12, 1.005]", [Decimal("9007199254740993.12"), Decimal("1.01")]),
    ("STRUCT(d DECIMAL(10,2), t VARCHAR)", '{"d": 1.005, "t": 1.10}', {"d": Decimal("1.01"), "t": "1.10"}),
    ("BIGINT[]", "[1, 1.5]", "E2104"),
    ("BIGINT[]", "[true]", "E2104"),
    ("BIGINT[]", "[9007199254740993.0, null]", [9007199254740993, None]),
    ("BOOLEAN[]", "[true, 1]", "E2104"),
    ("BIGINT[][]", "[[1], [2, null], null]", [[1], [2, None], None]),
    ("BIGINT[][]", '[[1], ["x"]]', "E2104"),
    ("STRUCT(n BIGINT)", "5", "E2104"),
    ("STRUCT(n BIGINT)", "[]", "E2104"),
    ("STRUCT(s STRUCT(n BIGINT))", '{"s": {"n": 1, "n": 2}}', "E2104"),
    ("STRUCT(s STRUCT(n BIGINT)[])", '{"s": [{"n": 1}, {"n": 2, "n": 2}]}', "E2104"),
    ("STRUCT(s STRUCT(n BIGINT)[])", '{"s": [{"n": 1}, {}]}', {"s": [{"n": 1}, {"n": None}]}),
    ("DECIMAL(4,2)", "100", "E2104"),
    ("DECIMAL(18,2)", "9007199254740993.12", Decimal("9007199254740993.12")),
    ("DECIMAL(18,2)", '"9007199254740993.12"', Decimal("9007199254740993.12")),
    ("DECIMAL(18,2)", "9999999999999999.99", Decimal("9999999999999999.99")),
    ("DECIMAL(18,2)", "99999999999999999", "E2104"),
    ("DECIMAL(38,18)", "12345.678901234567890123", Decimal("12345.678901234567890123")),
    ("DECIMAL(38,0)", "-12345678901234567890123456789012345678", Decimal("-12345678901234567890123456789012345678")),
    ("DECIMAL(38,18)", '"1e400"', "E2104"),
    ("BLOB", '"eHl6"', b"xyz"),
    ("BLOB", '"not base64"', "E2104"),
    ("DATE", '"2024-02-29"', date(2024, 2, 29)),
    ("DATE", '"2023-02-29"', "E2104"),
    ("DATE", '"infinity"', "E2104"),
    ("TIME", '"10:00:00.5"', time(10, 0, 0, 500_000)),
    ("TIMESTAMP", '"2024-01-01T00:00:00+02:00"', datetime(2023, 12, 31, 22)),
    ("TIMESTAMP", '"2024-01-01T00:00:00Z"', datetime(2024, 1, 1)),
    ("TIMESTAMP", '"2024-01-01 00:00:00.000001"', datetime(2024, 1, 1, 0, 0, 0, 1)),
    ("TIMESTAMP", '"2024-01-01"', datetime(2024, 1, 1)),
    ("TIMESTAMP", "1704067200", "E2104"),
    ("TIMESTAMP", '"1704067200"', "E2104"),
    ("TIMESTAMP", '"infinity"', "E2104"),
    ("TIMESTAMP[]", '["2024-01-01T00:00:00+01:00", null]', [datetime(2023, 12, 31, 23), None]),
    ("TIMESTAMP[]", '["2024-01-01", 5]', "E2104"),
    (
        "STRUCT(t TIMESTAMP, n BIGINT)",
        '{"t": "2024-01-01T00:00:00+01:00"}',
        {"t": datetime(2023, 12, 31, 23), "n": None},
    ),
    ("STRUCT(t TIMESTAMP, n BIGINT)", '{"n": 1, "n": 2}', "E2104"),
    ("STRUCT(t TIMESTAMP, n BIGINT)[]", '[{}, null, {"x": 1}]', [{"t": None, "n": None}, None, {"t": None, "n": None}]),
    ("STRUCT(t TIMESTAMP, n BIGINT)[]", '[{"n": "x"}]', "E2104"),
    ("MAP(VARCHAR, TIMESTAMP)", '{"a": "2024-01-01T00:00:00+01:00"}', [("a", datetime(2023, 12, 31, 23))]),
    ("ENUM('a', 'b')", '"b"', "b"),
    ("ENUM('a', 'b')", '"c"', "E2104"),
    ("INTEGER[2]", "[1, 2]", [1, 2]),
    ("INTEGER[2]", "[1]", "E2104"),
]


@pytest.mark.parametrize(("kind", "written", "expected"), VALUES, ids=lambda value: str(value)[:30])
def test_value_is_read_or_rejected(bench: Bench, kind: str, written: str, expected: object) -> None:
    reader = bench.decoder(schema(**{"a 'b\"": kind}), JSON)
    lines = [json.dumps("a 'b\"") + ":" + written, '"x":1']
    rows, rejected = bench.decode(reader, bench.fetch("".join(f"{{{line}}}\n" for line in lines).encode()))
    found = [bad.code for bad in rejected] or [row["a 'b\""] for row in rows[:1]]
    assert found == [expected]
    assert rows[-1] == {"a 'b\"": None}
    if rejected:
        assert rejected[0].row == 0
        assert len(rejected[0].message) < 200


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("TIMESTAMP_NS", "declare TIMESTAMP"),
        ("BIT", "declare VARCHAR"),
        ("UNION(a INTEGER, b VARCHAR)", "declare VARCHAR"),
        ("MAP(INTEGER, VARCHAR)", "MAP(VARCHAR"),
    ],
)
def test_type_that_json_cannot_hold_is_refused(bench: Bench, kind: str, hint: str) -> None:
    with pytest.raises(SqlError) as caught:
        bench.decoder(schema(a=kind), JSON)
    assert caught.value.code == "E1102"
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "bad", ['{"a":1,"b":"x"}', '{"a":1}', '{"a":1,"b":2,"t":"never"}', "null", '{"a":1,"b":2,"f":NaN}']
)
def test_unused_columns_and_filtered_rows_are_checked(bench: Bench, bad: str) -> None:
    reader = bench.decoder(schema(a="BIGINT", b="BIGINT NOT NULL", t="TIMESTAMP", f="DOUBLE"), JSON)
    scan = reader.scan(bench.fetch(f'{{"a":0,"b":1}}\n{bad}\n'.encode()))
    with pytest.raises(DataError):
        bench.engine.work.table(exp.select("a").from_(scan.subquery("s")).where("a < 1"))


def test_statement_is_the_same_for_like_fetches(bench: Bench) -> None:
    reader = bench.decoder(schema(a="BIGINT"), JSON)
    assert reader.scan(bench.fetch(b'{"a":1}\n')) is reader.scan(bench.fetch(b'{"a":2}\n{"a":3}\n'))


def test_long_line_is_read(bench: Bench) -> None:
    reader = bench.decoder(schema(a="VARCHAR"), JSON)
    length = 17 * 1024 * 1024
    rows, rejected = bench.decode(reader, bench.fetch(b'{"a":"' + b"x" * length + b'"}\n{"a":"y"}\n'))
    assert not rejected
    assert [len(str(row["a"])) for row in rows] == [length, 1]


def test_message_names_column_text_and_way_out(bench: Bench) -> None:
    reader = bench.decoder(
        schema(ts="TIMESTAMP", at="TIMESTAMP", n="BIGINT NOT NULL"), DecodeSettings("json", event_time="ts")
    )
    lines = [
        '{"ts":1704067200,"n":1}',
        '{"ts":"2024-01-01","at":5,"n":1}',
        '{"n":1}',
        '{"ts":"2024-01-01"}',
        '{"ts":"2024-01-01","n":"' + "x" * 500 + '"}',
        '{"ts":"2024-01-01","n":"\\u001b[31m"}',
        '{"ts":"2024-01-01","n":1,"n":2}',
        "[" * 200,
        '{"ts":"2024-01-01","n":1}',
    ]
    rows, rejected = bench.decode(reader, bench.fetch("\n".join(lines).encode()))
    assert len(rows) == 1
    assert [(bad.code, bad.message) for bad in rejected] == [
        (
            "E2104",
            'column "ts": 1704067200 is not an ISO 8601 timestamp '
            "(set event.time.format to read numbers or other texts)",
        ),
        ("E2104", 'column "at": 5 is not an ISO 8601 timestamp (set timestamp.format to read numbers or other texts)'),
        ("E2109", 'column "ts" holds the event time, but it is missing or null'),
        ("E2105", 'column "n" is missing or null, but it is declared NOT NULL'),
        ("E2104", f'column "n": "{"x" * 78}… is not of type BIGINT'),
        ("E2104", 'column "n": "\\u001B[31m" is not of type BIGINT'),
        ("E2103", 'duplicate key "n"'),
        ("E2101", f"malformed JSON: {'[' * 79}…"),
    ]
    assert [bad.position for bad in rejected][:2] == ["file byte 0", "file byte 24"]


def test_many_bad_rows_among_many_good_ones_keep_their_ordinals(bench: Bench) -> None:
    reader = bench.decoder(schema(a="BIGINT"), JSON)
    lines = [b'{"a":%d}' % i if i % 3 else b'{"a":"x"}' for i in range(10_000)]
    fetch = bench.fetch(b"\n".join(lines) + b"\n")
    diagnosis = reader.diagnose(fetch)
    good = bench.engine.work.table(exp.select("*").from_(diagnosis.relation)).to_pydict()
    assert good["_row"] == good["a"] == [i for i in range(10_000) if i % 3]
    assert [bad.row for bad in diagnosis.rejected] == list(range(0, 10_000, 3))


def test_records_are_given_back_as_they_came(bench: Bench) -> None:
    reader = bench.decoder(schema(a="BIGINT"), JSON)
    records = reader.raw(bench.fetch(b'{"a":1}\r\n\n {"a": 2} \n\xff'), [1, 2])
    assert [(r.value, r.offset, r.position) for r in records] == [
        (b' {"a": 2} ', 10, "file byte 10"),
        (b"\xff", 21, "file byte 21"),
    ]


def test_valid_records_of_an_odd_kind_seldom_make_the_scan_raise(bench: Bench) -> None:
    reader = bench.decoder(schema(t="VARCHAR"), JSON)
    raised = 0
    for _ in range(100):
        fetch = bench.fetch(b'{"t":"1.5"}\n')
        try:
            bench.engine.work.table(reader.scan(fetch))
        except DataError:
            raised += 1
            assert not reader.diagnose(fetch).rejected
    assert raised <= 7


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("TINYINT", -128, 127),
        ("SMALLINT", -(1 << 15), (1 << 15) - 1),
        ("INTEGER", -(1 << 31), (1 << 31) - 1),
        ("UTINYINT", 0, 255),
        ("UINTEGER", 0, (1 << 32) - 1),
        ("BIGINT", -(1 << 63), (1 << 63) - 1),
    ],
)
def test_whole_number_is_rejected_beyond_the_bounds_of_its_type_with_the_text_that_it_was_written_with(
    bench: Bench, kind: str, low: int, high: int
) -> None:
    reader = bench.decoder(schema(a=kind), JSON)
    inside = [str(low), f"{high}", f'"{high}"', f"{low}.0"]
    beyond = [
        f"{low - 1}",
        f"{high + 1}",
        f"{low - 2}",
        f"{high + 2}",
        f"{high + 2}.50",
        f"{high * 1000}",
        f'"{high + 5}"',
    ]
    data = "".join(f'{{"a":{number}}}\n' for number in [*inside, *beyond]).encode()
    rows, rejected = bench.decode(reader, bench.fetch(data))
    assert [row["a"] for row in rows] == [low, high, high, low]
    assert [bad.code for bad in rejected] == ["E2104"] * len(beyond)
    assert [bad.message for bad in rejected] == [f'column "a": {number} is not of type {kind}' for number in beyond]


def test_number_far_beyond_its_type_needs_no_second_reading(bench: Bench) -> None:
    judge = JsonJudge(bench.engine.work, json_columns(schema(a="INTEGER"), JSON, bench.engine.work))
    bench.block.write(b'{"a":1}\n{"a":99999999999}\n')
    verdict = judge.judge(bench.block.path, 1 << 24, Form.WIDE)
    assert (len(verdict.failed), verdict.doubtful) == (1, 0)
