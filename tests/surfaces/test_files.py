"""Files of all forms through the command: settings that contradict, broken files, one job reading another's parts."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from tests.surfaces.conftest import Ferris

LINES = "".join(f'{{"id":{n}}}\n' for n in range(100))


def application(source: str = "path='in.jsonl'", sink: str = "path='out.jsonl'") -> str:
    return (
        f"CREATE STREAM rows (id BIGINT) WITH (connector='file', {source});\n"
        f"CREATE STREAM out WITH (connector='file', {sink}) AS SELECT * FROM rows;\n"
    )


#: Source, sink, the line of the error, its code and a part of what it says.
WRONG = [
    ("path='in.jsonl.gz', mmap=true", "path='o'", 1, "E3005", "a compressed file is not read as it is"),
    ("path='in', mmap=true, format='json_array'", "path='o'", 1, "E3005", "a JSON array is not read as it is"),
    ("path='in', watch=true, format='json_array'", "path='o'", 1, "E3005", "it cannot be followed"),
    ("path='in', encoding='klingon'", "path='o'", 1, "E3002", "expected one of utf_8, latin_1"),
    ("path='in', compression='lz4'", "path='o'", 1, "E3002", "expected one of none, gzip, zstd"),
    ("path='in', format='yaml'", "path='o'", 1, "E3002", "unknown format 'yaml' of a source"),
    ("path='in'", "path='o', format='json_array'", 2, "E3002", "unknown format 'json_array' of a sink"),
    ("path='in'", "path='o', 'rotate.rows'=5", 2, "E3002", "has {n} in it once"),
    ("path='in'", "path='o-%Q-{n}', 'rotate.rows'=5", 2, "E3002", "%Q is not known"),
    ("path='in'", "path='o-{n}'", 2, "E3004", "nothing says when another file begins"),
    ("path='in'", "path='o-{n}', 'rotate.bytes'='5'", 2, "E3002", "a size with its unit"),
    ("path='in', 'rotate.rows'=5", "path='o'", 1, "E3001", "unknown setting 'rotate.rows'"),
    ("path='in-{n}.jsonl'", "path='o'", 1, "E3005", "would not be read in the order of their numbers"),
]


@pytest.mark.parametrize(("source", "sink", "line", "code", "why"), WRONG)
def test_settings_that_do_not_go_together_are_refused_where_they_stand(
    ferris: Ferris, source: str, sink: str, line: int, code: str, why: str
) -> None:
    ferris.write(app__sql=application(source, sink))
    ran = ferris("check", "app.sql")
    assert ran.code == 1
    assert re.match(rf"app\.sql:{line}:\d+: ", ran.err), ran.err
    assert f"[{code}]" in ran.err
    assert why in ran.err
    assert "hint: " in ran.err


def test_broken_file_keeps_what_was_committed_before_it(ferris: Ferris) -> None:
    whole = gzip.compress(LINES.encode(), mtime=0)
    (ferris.folder / "in.jsonl.gz").write_bytes(whole + whole[:-20])
    settings = "path='out.jsonl', 'batch.strategy'='fixed_size', 'batch.size'=10, 'commit.policy'='per_batch'"
    ferris.write(app__sql=application("path='in.jsonl.gz'", settings))
    ran = ferris("run", "app.sql", "-o", "json")
    assert ran.code == 1
    assert ran.job["state"] == "failed"
    assert "in.jsonl.gz is cut off: it ends within its gzip data [E4007]" in ran.err
    kept = ran.job["ledger"]["written"]
    assert 100 <= kept < 200
    assert len(ferris.lines("out.jsonl")) == kept
    (ferris.folder / "in.jsonl.gz").write_bytes(whole + whole)
    again = ferris("run", "app.sql", "-o", "json")
    assert again.job["ledger"]["read"] == 200
    assert [row["id"] for row in ferris.lines("out.jsonl")] == [*range(100), *range(100)]
    assert ferris("audit", "app.sql").code == 0


def test_job_reads_the_packed_parts_of_another(ferris: Ferris) -> None:
    ferris.write(
        in__jsonl=LINES,
        app__sql=application(sink="path='parts/{n:03}.jsonl.zst', 'rotate.rows'=30")
        + "CREATE STREAM total WITH (connector='file', path='total.jsonl') AS "
        "SELECT count(*) AS n, sum(id) AS ids, last(id) AS newest FROM out EMIT FINAL;\n",
    )
    ran = ferris("run", "app.sql", "-o", "json")
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in (ferris.folder / "parts").iterdir()) == [
        f"00{n}.jsonl.zst" for n in range(1, 5)
    ]
    assert ferris.lines("total.jsonl") == [{"n": 100, "ids": 4950, "newest": 99}]
    assert ferris("audit", "app.sql").code == 0


def test_finished_job_goes_on_in_new_parts_and_overwrite_begins_anew(ferris: Ferris) -> None:
    ferris.write(in__jsonl=LINES, app__sql=application(sink="path='out-{n}.jsonl', 'rotate.rows'=60"))
    assert ferris("run", "app.sql").code == 0
    with (ferris.folder / "in.jsonl").open("a") as file:
        file.write('{"id":100}\n')
    assert ferris("run", "app.sql").code == 0
    assert [len(ferris.lines(f"out-{n}.jsonl")) for n in (1, 2, 3)] == [60, 40, 1]
    assert ferris("audit", "app.sql").code == 0
    assert ferris("run", "app.sql", "--overwrite", "--yes").code == 0
    assert [len(ferris.lines(f"out-{n}.jsonl")) for n in (1, 2)] == [60, 41]
    assert not (ferris.folder / "out-3.jsonl").exists()


def test_old_part_gets_its_name_although_no_more_rows_come(ferris: Ferris) -> None:
    ferris.write(
        in__jsonl=LINES,
        app__sql=application("path='in.jsonl', watch=true", "path='out-{n}.jsonl', 'rotate.interval'='200ms'"),
    )
    process = ferris.start("run", "app.sql")
    ferris.wait_for(process, "out-1.jsonl", 100)
    process.kill()
    process.communicate()
    assert ferris("run", "app.sql", "--once").code == 0
    assert sorted(path.name for path in ferris.folder.glob("out*")) == ["out-1.jsonl"]
    assert ferris("audit", "app.sql").code == 0


def test_audit_sees_what_is_missing_from_packed_parts(ferris: Ferris) -> None:
    ferris.write(in__jsonl=LINES, app__sql=application(sink="path='out-{n}.jsonl.gz', 'rotate.rows'=60"))
    assert ferris("run", "app.sql").code == 0
    (ferris.folder / "out-2.jsonl.gz").write_bytes(gzip.compress(b'{"id":1}\n'))
    ran = ferris("audit", "app.sql")
    assert ran.code == 1
    assert re.search(r"rows in the sink = written +100 +61", ran.out)


def test_dead_letter_of_another_encoding_holds_the_original_bytes(ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_bytes("id;name\nx;Zoë\n2;Ann\n".encode("latin-1"))
    ferris.write(
        app__sql="CREATE STREAM rows (id BIGINT, name TEXT) WITH (connector='file', path='in.csv', format='csv', "
        "delimiter=';', encoding='latin-1');\nCREATE STREAM out WITH (connector='file', path='out.jsonl', "
        "failure_strategy='SendToDLQ') AS SELECT * FROM rows;\n"
    )
    ran = ferris("run", "app.sql", "-o", "json")
    assert ran.job["ledger"]["dead_lettered"] == 1
    letter = json.loads((ferris.folder / "app.out.dlq.jsonl").read_text())
    assert letter["value"] == "eDtab+s=", "x;Zoë in Latin-1"
    assert ferris("audit", "app.sql").code == 0


@pytest.mark.parametrize("name", ["in.jsonl.gz", "file://in.JSONL.GZ"])
def test_packed_file_needs_no_declaration(ferris: Ferris, name: str) -> None:
    (ferris.folder / name.removeprefix("file://")).write_bytes(gzip.compress(LINES.encode()))
    ferris.write(app__sql=f"SELECT id FROM '{name}' WHERE id > 97;")
    ran = ferris("run", "--once", "app.sql")
    assert ran.code == 0, ran.err
    assert ran.out == '{"id":98}\n{"id":99}\n'


def test_packed_json_of_the_inline_form_is_no_csv(ferris: Ferris) -> None:
    (ferris.folder / "in.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    ferris.write(
        app__sql="CREATE STREAM o AS SELECT id FROM r WITH ('r.type' = 'file_source', 'r.path' = 'in.jsonl.gz',"
        " 'o.type' = 'file_sink', 'o.path' = 'out.jsonl');"
    )
    ran = ferris("run", "--once", "app.sql")
    assert ran.code == 0, ran.err
    assert len(ferris.lines("out.jsonl")) == 100


@pytest.mark.parametrize("text", ['[{"id": 1}]', '\ufeff [{"id": 1},\n{"id": 2}]', "[\n]"])
@pytest.mark.parametrize("strategy", ["log_and_continue", "fail_batch"])
def test_array_that_is_read_as_lines_is_told_its_format(ferris: Ferris, text: str, strategy: str) -> None:
    ferris.write(app__sql=application(sink=f"path='out.jsonl', failure_strategy='{strategy}'"), in__jsonl=text)
    ran = ferris("run", "--once", "app.sql", "-o", "json")
    assert ran.job["state"] == ("failed" if strategy == "fail_batch" else "finished")
    first = next(line for line in map(json.loads, ran.err.splitlines()) if line["event"] == "row_rejected")
    assert first["hint"] == "a file that is one array has 'format' = 'json_array'"
    if strategy == "fail_batch":
        assert ran.job["error"]["hint"] == first["hint"]


def test_array_behind_other_lines_is_a_row_error_like_others(ferris: Ferris) -> None:
    ferris.write(app__sql=application(), in__jsonl='{"id": 1}\n[{"id": 2}]\n')
    ran = ferris("run", "--once", "app.sql")
    assert "row_rejected" in ran.err
    assert "hint" not in ran.err
