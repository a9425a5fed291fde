from __future__ import annotations

import pytest
from sqlglot import exp

from ferrisstreams.errors import ConfigError, FatalConnectorError, SqlError
from ferrisstreams.formats.csv import CsvEncoder
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.schema import Column, Schema
from tests.unit.formats.conftest import Bench, schema

AB = schema(a="BIGINT", b="VARCHAR")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (b"a,b", b'1,"x"'),
        (b'"b",skipped,A', b"x,\xe9?,1"),
        (b" b , a ", b"x,1"),
    ],
)
def test_columns_are_found_by_the_names_of_the_header(bench: Bench, header: bytes, row: bytes) -> None:
    reader = bench.decoder(AB, DecodeSettings("csv"))
    assert bench.decode(reader, bench.fetch(row.replace(b"\xe9", b"e") + b"\n", header)) == ([{"a": 1, "b": "x"}], [])


@pytest.mark.parametrize(
    ("header", "why"), [(b"a,c", 'no column "b"'), (b"a,b,B,b", "more than one"), (b"", "no column")]
)
def test_header_that_does_not_fit_is_refused(bench: Bench, header: bytes, why: str) -> None:
    reader = bench.decoder(AB, DecodeSettings("csv"))
    with pytest.raises(FatalConnectorError, match=why) as caught:
        reader.scan(bench.fetch(b"1,2\n", header))
    assert caught.value.code == "E4005"


@pytest.mark.parametrize(
    ("settings", "row", "expected"),
    [
        (DecodeSettings("csv", header=False), b"1,", None),
        (DecodeSettings("csv", header=False), b'1,""', ""),
        (DecodeSettings("csv", header=False, nulls=("NA",)), b"1,NA", None),
        (DecodeSettings("csv", header=False, nulls=("NA", "-")), b"1,-", None),
        (DecodeSettings("csv", header=False, nulls=("NA",)), b'1,"NA"', "NA"),
        (DecodeSettings("csv", header=False, nulls=("NA",)), b"1,", None),
        (DecodeSettings("csv", header=False, delimiter="\t"), b"1\ta,b", "a,b"),
        (DecodeSettings("csv", header=False, delimiter=";", quote="'"), b"1;'it''s;'", "it's;"),
        (DecodeSettings("csv", header=False), b'1,"a ""b""\n\r\nc"', 'a "b"\n\r\nc'),
    ],
)
def test_field_is_read_by_the_settings(
    bench: Bench, settings: DecodeSettings, row: bytes, expected: str | None
) -> None:
    rows, rejected = bench.decode(bench.decoder(AB, settings), bench.fetch(row + b"\n"))
    assert (rows, rejected) == ([{"a": 1, "b": expected}], [])


def test_long_record_is_read(bench: Bench) -> None:
    reader = bench.decoder(AB, DecodeSettings("csv", header=False))
    rows, _ = bench.decode(reader, bench.fetch(b'1,"' + b"x\n" * 5_000_000 + b'"\n2,y\n'))
    assert [len(str(row["b"])) for row in rows] == [10_000_000, 1]


@pytest.mark.parametrize(
    ("delimiter", "quote", "code"),
    [("", '"', "E3002"), ("||", '"', "E3002"), ("\n", '"', "E3002"), (",", ",", "E3003")],
)
def test_marks_that_cannot_be_are_refused(bench: Bench, delimiter: str, quote: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.decoder(AB, DecodeSettings("csv", delimiter=delimiter, quote=quote))
    assert caught.value.code == code


def test_nested_column_is_refused(bench: Bench) -> None:
    with pytest.raises(SqlError, match="cannot hold INT"):
        bench.decoder(schema(a="INTEGER[]"), DecodeSettings("csv"))


@pytest.mark.parametrize(
    ("expression", "settings", "line"),
    [
        ("'plain text'", EncodeSettings("csv"), "plain text,1"),
        ("'a,b'", EncodeSettings("csv"), '"a,b",1'),
        ("'say \"hi\"'", EncodeSettings("csv"), '"say ""hi""",1'),
        ("'a\nb'", EncodeSettings("csv"), '"a\nb",1'),
        ("' a'", EncodeSettings("csv"), '" a",1'),
        ("''", EncodeSettings("csv"), '"",1'),
        ("NULL::VARCHAR", EncodeSettings("csv"), ",1"),
        ("NULL", EncodeSettings("csv", null="NA"), "NA,1"),
        ("'NA'", EncodeSettings("csv", null="NA"), '"NA",1'),
        ("1.5::DECIMAL(3,2)", EncodeSettings("csv", delimiter="."), '"1.50".1'),
        ("TIMESTAMP '2024-01-01'", EncodeSettings("csv"), "2024-01-01T00:00:00Z,1"),
        ("['a', NULL]", EncodeSettings("csv"), '"[""a"",null]",1'),
        ("NULL::INTEGER[]", EncodeSettings("csv"), ",1"),
        ("'inf'::DOUBLE", EncodeSettings("csv"), None),
    ],
)
def test_field_is_quoted_where_it_must_be(
    bench: Bench, expression: str, settings: EncodeSettings, line: str | None
) -> None:
    query = f"SELECT {expression} AS a, 1 AS b"
    columns = Schema(tuple(Column(name, kind) for name, kind in bench.engine.work.types(query)))
    written = exp.select(CsvEncoder(settings).line(columns)).from_(f"({query})")
    assert bench.engine.work.rows(written) == [(line,)]


def test_header_line_names_the_columns() -> None:
    columns = Schema((Column("a", "BIGINT"), Column('b "x", y', "BIGINT")))
    assert CsvEncoder(EncodeSettings("csv")).header(columns) == b'a,"b ""x"", y"\n'
    assert CsvEncoder(EncodeSettings("csv", header=False)).header(columns) == b""
