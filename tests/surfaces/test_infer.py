"""`ferris infer`, and sources without columns."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.surfaces.conftest import Ferris

ROWS = [
    {"id": n, "at": f"2024-01-01T00:00:0{n}Z", "place": "Köln", "deep": {"x": [n]}, "order": None} for n in range(3)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
JOB = "CREATE STREAM out WITH (connector='file', path='out.jsonl') AS SELECT * FROM {name};\n"


def test_declaration_of_a_file_can_be_run_as_it_is(ferris: Ferris) -> None:
    ferris.write(rows__jsonl=LINES)
    ran = ferris("infer", "rows.jsonl")
    assert ran.code == 0
    assert "-- , WATERMARK FOR at AS at - INTERVAL '5' SECOND" in ran.out
    ferris.write(app__sql=ran.out + JOB.format(name="rows"))
    assert ferris("run", "app.sql").code == 0
    assert ferris.lines("out.jsonl") == ROWS


@pytest.mark.parametrize("enveloped", [False, True])
def test_records_of_debezium_are_declared_as_a_table(ferris: Ferris, enveloped: bool) -> None:
    changes = [
        {"before": None, "after": {"id": 1, "at": "2024-01-01T00:00:00Z"}, "op": "c", "ts_ms": 1},
        {"before": None, "after": {"id": 2, "at": "2024-01-01T00:00:01Z"}, "op": "c", "ts_ms": 2},
        {"before": {"id": 1, "at": "2024-01-01T00:00:00Z"}, "after": None, "op": "d", "ts_ms": 3},
    ]
    given = [{"schema": {"type": "struct"}, "payload": each} for each in changes] if enveloped else changes
    ferris.write(rows__jsonl="".join(json.dumps(each) + "\n" for each in given))
    ran = ferris("infer", "rows.jsonl")
    assert ran.code == 0
    assert "'format' = 'debezium_json'" in ran.out
    assert "PRIMARY KEY (id)   -- if id tells its rows apart\n    -- , WATERMARK FOR at" in ran.out
    ferris.write(app__sql=ran.out + JOB.format(name="rows"))
    assert ferris("run", "app.sql").code == 0
    assert ferris.lines("out.jsonl") == [{"op": "+I", "id": 2, "at": "2024-01-01T00:00:01Z"}]


#: File, content, and lines that its declaration has.
FILES = [
    (
        "m.txt",
        b"Hamburg;12.5\nBulawayo;8.9\n",
        ["column0 VARCHAR", "column1 DOUBLE", "'delimiter' = ';'", "'header' = false"],
    ),
    ("p.csv", b"id,day\n1,2024-01-01\n2,2024-01-02\n", ["id BIGINT", "day DATE"]),
    ("p.csv", b"id,day\n1,01/02/2024\n2,02/02/2024\n", ["day VARCHAR"]),
    (
        "a.json",
        json.dumps(ROWS, indent=1).encode(),
        ["'format' = 'json_array'", "deep STRUCT(x BIGINT[])", '"order" VARCHAR'],
    ),
    ("r.jsonl.gz", gzip.compress(LINES.encode()), ["at TIMESTAMP", "'path' = 'r.jsonl.gz'"]),
]


@pytest.mark.parametrize(("name", "content", "expected"), FILES)
def test_columns_are_found_in_every_form(ferris: Ferris, name: str, content: bytes, expected: list[str]) -> None:
    (ferris.folder / name).write_bytes(content)
    ran = ferris("infer", name)
    assert ran.code == 0, ran.err
    assert [line for line in expected if line not in ran.out] == []


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("in.csv", b",city,temp\n0,Ulm,1.5\n1,Bonn,2.5\n", ["city", "temp"]),
        ("in.csv", b"_row,x,_which,_value,_k0\n1,2,3,4,5\n6,7,8,9,10\n", ["x"]),
        ("in.jsonl", b'{"_row":1,"x":2,"_line":3}\n', ["x"]),
    ],
)
def test_column_that_nothing_could_name_is_left_out(
    ferris: Ferris, name: str, content: bytes, columns: list[str]
) -> None:
    (ferris.folder / name).write_bytes(content)
    declared = ferris("infer", name)
    assert declared.code == 0, declared.err
    ferris.write(app__sql=declared.out + JOB.format(name='"in"'), other__sql=JOB.format(name=f"'{name}'"))
    for application in ("app.sql", "other.sql"):
        assert ferris("run", application, "--overwrite", "--yes").code == 0
        assert list(ferris.lines("out.jsonl")[0]) == columns


@pytest.mark.parametrize(
    ("name", "content"), [("in.csv", b"a,A,b\n1,2,3\n"), ("in.csv", b"a,a\n1,2\n"), ("in.jsonl", b'{"id":1,"ID":2}\n')]
)
def test_names_that_cannot_be_told_apart_are_refused(ferris: Ferris, name: str, content: bytes) -> None:
    (ferris.folder / name).write_bytes(content)
    ferris.write(app__sql=JOB.format(name=f"'{name}'"))
    for ran in (ferris("infer", name), ferris("run", "app.sql")):
        assert ran.code != 0
        assert "cannot tell apart" in ran.err
        assert "declare the columns" in ran.err


@pytest.mark.parametrize(
    ("name", "content", "warning", "column"),
    [
        (
            "in.csv",
            b"id,name,v\n1,a,2\n2,b\n3,c,4,5\n5,d,6\n",
            "2 records of the sample cannot be read, the first in "
            "line 3 (in.csv byte 16): 2 columns, where 3 are expected",
            "v BIGINT",
        ),
        (
            "in.jsonl",
            b'{"id":1}\n{"id":2,\n[1]\n{"id":3}\n',
            "2 records of the sample cannot be read, the first in line 2 (in.jsonl byte 9): malformed JSON",
            "id BIGINT",
        ),
        ("in.csv", b",x\n1,2\n", "left out column number 1, which has no name", "x BIGINT"),
        ("in.jsonl", b'{"_row":1,"x":2}\n', 'left out column "_row", a name that is reserved', "x BIGINT"),
    ],
)
def test_what_a_declaration_leaves_out_is_said(
    ferris: Ferris, name: str, content: bytes, warning: str, column: str
) -> None:
    (ferris.folder / name).write_bytes(content)
    declared = ferris("infer", name)
    assert declared.code == 0, declared.err
    assert declared.err.startswith(f"warning: {warning}")
    assert column in declared.out
    ferris.write(app__sql=declared.out + JOB.format(name='"in"'))
    ran = ferris("run", "app.sql", "-o", "json", "--overwrite", "--yes")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["skipped"] == (2 if "2 records" in warning else 0)


def test_column_that_a_run_leaves_out_is_logged(ferris: Ferris) -> None:
    ferris.write(in__csv=",x\n1,2\n", app__sql=JOB.format(name="'in.csv'"))
    assert '"left_out": "number 1, which has no name"' in ferris("run", "app.sql").err


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("in.jsonl", b'{"":1}\n', "left out column number 1, which has no name"),
        ("in.jsonl", b'{"x":1}\n{"":2}\n', "which has no name"),
        ("in.jsonl", b'{"_row":1}\n', 'left out column "_row"'),
        ("in.jsonl", b"[1]\n", "holds no records"),
        ("in.csv", b"a,b\n", "holds no records"),
        ("in.csv", b"a,b\n1\n2\n", "2 records of the sample cannot be read, the first in line 2"),
    ],
)
def test_file_without_a_usable_column_says_why(ferris: Ferris, name: str, content: bytes, why: str) -> None:
    (ferris.folder / name).write_bytes(content)
    ran = ferris("infer", name)
    assert ran.code == 1
    assert "[E4001]" in ran.err
    assert why in ran.err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no records"),
        (b"\xff\xfe\x00" * 50, "is not UTF-8 text"),
        (None, "does not exist"),
    ],
)
def test_file_that_gives_no_columns_is_an_error(ferris: Ferris, content: bytes | None, why: str) -> None:
    if content is not None:
        (ferris.folder / "a.jsonl").write_bytes(content)
    ran = ferris("infer", "a.jsonl")
    assert ran.code == 1
    assert why in ran.err
    assert "hint:" in ran.err


def test_inferred_columns_are_said_kept_and_held_to(ferris: Ferris) -> None:
    ferris.write(
        rows__jsonl=LINES,
        app__sql="CREATE STREAM rows WITH (connector='file', path='rows.jsonl');\n" + JOB.format(name="rows"),
    )
    first = ferris("run", "app.sql", "-o", "json")
    assert first.job["ledger"]["emitted"] == 3
    assert "columns_inferred" in first.err
    with (ferris.folder / "rows.jsonl").open("a") as file:
        file.write('{"id":"not a number","at":"2024-01-01T00:00:09Z"}\n{"id":4,"new":1}\n')
    again = ferris("run", "app.sql", "-o", "json")
    assert "columns_inferred" not in again.err
    assert again.job["ledger"] | {"emitted": 4, "skipped": 1} == again.job["ledger"]
    assert set(ferris.lines("out.jsonl")[-1]) == {"id", "at", "place", "deep", "order"}
    anew = ferris("run", "app.sql", "-o", "json", "--overwrite", "--yes")
    assert "columns_inferred" in anew.err
    assert anew.job["ledger"]["skipped"] == 0
    assert ferris.lines("out.jsonl")[-1]["new"] == 1


def test_file_is_read_by_its_name_alone(ferris: Ferris) -> None:
    ferris.write(rows__jsonl=LINES, app__sql="SELECT id, deep.x AS x FROM 'rows.jsonl' WHERE id > 0;")
    ran = ferris("run", "app.sql")
    assert [json.loads(line) for line in ran.out.splitlines()[:2]] == [{"id": 1, "x": [1]}, {"id": 2, "x": [2]}]
    assert not (ferris.folder / ".ferris").exists(), "a SELECT alone keeps nothing"
