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


def outcomes(bench: Bench, data: bytes, **types: str) -> list[object]:
    """The values of every good record, and the codes of the others, after them."""
    reader = bench.decoder(schema(**types), DecodeSettings("csv", header=False))
    rows, rejected = bench.decode(reader, bench.fetch(data))
    return [*(tuple(row.values()) for row in rows), *((bad.row, bad.code) for bad in rejected)]


@pytest.mark.parametrize("beside", [b"", b"9\n", b'9,"x"y\n', b"x,y\n"])
@pytest.mark.parametrize(
    ("record", "passes"), [(b"1,x,", True), (b"1,x,,,", True), (b"1,x, ", False), (b'1,x,""', False)]
)
def test_delimiters_at_the_end_pass_whatever_stands_beside(
    bench: Bench, record: bytes, passes: bool, beside: bytes
) -> None:
    found = outcomes(bench, record + b"\n2,ok\n" + beside, a="INT", b="TEXT")
    others = [] if not beside else [(2, "E2104" if beside == b"x,y\n" else "E2101" if b'"' in beside else "E2106")]
    assert found == ([(1, "x"), (2, "ok"), *others] if passes else [(2, "ok"), (0, "E2106"), *others])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "INTEGER",
            {"12": 12, "1.0": 1, "1e3": 1000, "10e-1": 1, " 7 ": 7, "-0.0": 0},
            "1.5 15e-1 1e-1 2147483648 true x",
        ),
        ("BIGINT", {"9007199254740993.0": 9007199254740993, "15e1": 150, "0.0e5": 0}, "0.0000000000000000000001 1e99"),
        ("DECIMAL(10,2)", {"1.005": "1.01", "-1.005": "-1.01", "1005e-3": "1.01"}, "123456789.5 true x"),
        ("DOUBLE", {"1.5": 1.5, "1e3": 1000.0}, "NaN Infinity 1e999 true"),
        ("BOOLEAN", {"true": True, "F": False, "yes": True}, "1 0 2 x"),
        ("DATE", {"2024-02-29": "2024-02-29"}, "2023-02-29 20240229 infinity"),
    ],
)
def test_number_is_read_as_it_is_written_or_not_at_all(
    bench: Bench, kind: str, good: dict[str, object], bad: str
) -> None:
    values = [*good, *bad.split()]
    found = outcomes(bench, "".join(f"{value},x\n" for value in values).encode(), a=kind, b="TEXT")
    read = [row[0] if isinstance(row[0], int | float) else str(row[0]) for row in found[: len(good)]]
    assert read == list(good.values())
    assert found[len(good) :] == [(len(good) + place, "E2104") for place in range(len(bad.split()))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1,x\r\n2,y\n3,z\r\n", [(1, "x"), (2, "y"), (3, "z")]),
        (b'1,"x\r\ny"\r\n2,"y"\n', [(1, "x\r\ny"), (2, "y")]),
        (b"1,x\n2,y\r3,z\n4,w\n", [(1, "x"), (4, "w"), (1, "E2101")]),
        (b"1,x\r2,y\r", [(0, "E2101")]),
        (b'1,"x" "y\n2,ok\n', [(2, "ok"), (0, "E2101")]),
        (b'1,"x"y\n\n2,ok\n3\n', [(2, "ok"), (0, "E2101"), (2, "E2106")]),
        (b'1,"x\ny"\n2,"x"y\n3\n4,"z"\n', [(1, "x\ny"), (4, "z"), (1, "E2101"), (2, "E2106")]),
        (b'1,x\n2,"y', [(1, "x"), (1, "E2101")]),
        (b"1,x\n\n\n2\n\n3,y\nz,w\n", [(1, "x"), (3, "y"), (1, "E2106"), (3, "E2104")]),
        (b"\xef\xbb\xbf1,x\n2,y\n", [(2, "y"), (0, "E2104")]),
    ],
)
def test_record_takes_no_neighbour_with_it(bench: Bench, data: bytes, expected: list[object]) -> None:
    assert outcomes(bench, data, a="INT", b="TEXT") == expected


def test_many_records_fail_and_the_others_keep_their_places(bench: Bench) -> None:
    lines = [b"%d,x" % row if row % 3 else b"%d" % row if row % 2 else b'%d,"x"y' % row for row in range(30_000)]
    reader = bench.decoder(AB, DecodeSettings("csv", header=False))
    fetch = bench.fetch(b"\n".join(lines) + b"\n")
    diagnosis = reader.diagnose(fetch)
    rows = bench.engine.work.rows(f"SELECT _row, a FROM {diagnosis.relation}")
    assert rows == [(row, row) for row in range(30_000) if row % 3]
    assert [(bad.row, bad.value) for bad in diagnosis.rejected] == [(row, lines[row]) for row in range(0, 30_000, 3)]
    assert [raw.value for raw in reader.raw(fetch, [1, 2, 29_999])] == [lines[1], lines[2], lines[29_999]]


def test_null_of_one_column_is_a_record(bench: Bench) -> None:
    one = schema(a="INTEGER")
    query = exp.select(CsvEncoder(EncodeSettings("csv")).line(one)).from_("(VALUES (1), (NULL), (2)) AS t(a)")
    lines = [str(row[0]) for row in bench.engine.work.rows(query)]
    assert lines == ["1", '""', "2"]
    assert outcomes(bench, "\n".join(lines).encode(), a="INTEGER") == [(1,), (None,), (2,)]


def test_header_of_carriage_returns_alone_is_refused(bench: Bench) -> None:
    with pytest.raises(FatalConnectorError, match="carriage return") as caught:
        bench.decoder(AB, DecodeSettings("csv")).scan(bench.fetch(b"", b"a,b\r1,x\r2,y"))
    assert caught.value.code == "E4005"


@pytest.mark.parametrize("null", ["a,b", '"', "\n"])
def test_null_that_no_field_can_be_is_refused(bench: Bench, null: str) -> None:
    for make in (
        lambda: bench.decoder(AB, DecodeSettings("csv", nulls=(null,))),
        lambda: CsvEncoder(EncodeSettings("csv", null=null)),
    ):
        with pytest.raises(ConfigError, match="nulls") as caught:
            make()
        assert caught.value.code == "E3003"


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
