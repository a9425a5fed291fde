"""What DuckDB does that one would not expect, and that the engine relies on. An upgrade that changes one fails here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ferrisstreams.memory_file import MemoryFile

Connection = duckdb.DuckDBPyConnection


@pytest.fixture
def con() -> Iterator[Connection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        yield connection


def value(con: Connection, sql: str) -> object:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


# -- transactions


@pytest.mark.parametrize("error", ["SELECT no_such_column", "SELECT 'x'::INT"])
@pytest.mark.parametrize("by_method", [True, False])
def test_commit_after_an_error_in_a_transaction_keeps_nothing_and_is_silent(
    con: Connection, error: str, by_method: bool
) -> None:
    con.execute("CREATE TABLE t (a INT); BEGIN; INSERT INTO t VALUES (1)")
    with pytest.raises(duckdb.Error):
        con.execute(error)
    with pytest.raises(duckdb.TransactionException, match="aborted"):
        con.execute("INSERT INTO t VALUES (2)")
    if by_method:
        con.commit()
    else:
        con.execute("COMMIT")
    assert value(con, "SELECT count(*) FROM t") == 0


def test_cursor_has_a_transaction_of_its_own_and_sees_commits_only_in_a_new_one(con: Connection) -> None:
    con.execute("CREATE TABLE t (a INT)")
    other = con.cursor()
    other.execute("BEGIN")
    assert value(other, "SELECT count(*) FROM t") == 0
    con.execute("INSERT INTO t VALUES (1)")
    assert value(other, "SELECT count(*) FROM t") == 0
    other.execute("COMMIT; BEGIN")
    assert value(other, "SELECT count(*) FROM t") == 1


def test_now_stands_still_inside_a_transaction(con: Connection) -> None:
    con.execute("BEGIN")
    first = value(con, "SELECT now()::TIMESTAMP")
    con.execute("SELECT sum(i) FROM range(1000000) t(i)")
    assert value(con, "SELECT now()::TIMESTAMP") == first


# -- time


def test_cast_to_timestamp_drops_the_offset_and_through_timestamptz_applies_it(con: Connection) -> None:
    text = "'2024-01-01T00:00:00+02:00'"
    assert value(con, f"SELECT {text}::TIMESTAMP") == datetime(2024, 1, 1)
    assert value(con, f"SELECT {text}::TIMESTAMPTZ::TIMESTAMP") == datetime(2023, 12, 31, 22)
    inside = """SELECT from_json('{"a":"2024-01-01T00:00:00+02:00"}', '{"a":"TIMESTAMP"}')"""
    assert value(con, inside) == {"a": datetime(2024, 1, 1)}


def test_timestamptz_goes_through_arrow_without_another_library(con: Connection) -> None:
    table = con.sql("SELECT '2024-01-01T00:00:00+02:00'::TIMESTAMPTZ AS at").to_arrow_table()
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert table.column("at").cast(pa.int64())[0].as_py() == 1_704_060_000_000_000


def test_time_bucket_of_weeks_counts_from_a_monday_unless_told(con: Connection) -> None:
    bucket = "SELECT time_bucket(INTERVAL '7 days', TIMESTAMP '1970-01-08'{})"
    assert value(con, bucket.format("")) == datetime(1970, 1, 5)
    assert value(con, bucket.format(", TIMESTAMP '1970-01-01'")) == datetime(1970, 1, 8)


def test_time_bucket_of_a_time_before_the_origin_rounds_down(con: Connection) -> None:
    bucket = "SELECT time_bucket(INTERVAL '10 seconds', TIMESTAMP '1969-12-31 23:59:59', TIMESTAMP '1970-01-01')"
    assert value(con, bucket) == datetime(1969, 12, 31, 23, 59, 50)


# -- numbers


def test_division_by_zero_is_infinite_or_raises_unless_both_settings_are_off(con: Connection) -> None:
    assert value(con, "SELECT 1/0") == float("inf")
    for expression in ("1 // 0", "1 % 0"):
        with pytest.raises(duckdb.InvalidInputException, match="Division by zero"):
            con.execute(f"SELECT {expression}")
    con.execute("SET error_on_division_by_zero = false")
    assert value(con, "SELECT 1/0, 1//0, 1%0") == (float("inf"), None, None)
    con.execute("SET ieee_floating_point_ops = false")
    assert value(con, "SELECT 1/0, 1//0, 1%0, 1.0/0") == (None, None, None, None)


@pytest.mark.parametrize(
    ("expression", "type_name"),
    [
        ("avg(1::DECIMAL(10,2))", "DOUBLE"),
        ("1::DECIMAL(10,2) / 2", "DOUBLE"),
        ("sum(1::DECIMAL(10,2))", "DECIMAL(38,2)"),
        ("sum(1::BIGINT)", "HUGEINT"),
        ("count(*)", "BIGINT"),
    ],
)
def test_type_of_number(con: Connection, expression: str, type_name: str) -> None:
    assert con.execute(f"DESCRIBE SELECT {expression}").fetchall()[0][1] == type_name


def test_hugeint_is_a_decimal_in_arrow(con: Connection) -> None:
    assert con.sql("SELECT sum(1::BIGINT) AS s").to_arrow_table().schema.field("s").type == pa.decimal128(38, 0)


# -- JSON in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1,"b":2}', {"a": 1}),
        ("null", None),
        ('{"a":null}', {"a": None}),
        ('{"a":1.5}', {"a": 2}),
        ('{"a":true}', {"a": 1}),
        ('{"a":"12"}', {"a": 12}),
    ],
)
def test_strict_json_passes(con: Connection, text: str, expected: object) -> None:
    assert value(con, f"""SELECT from_json_strict('{text}', '{{"a":"BIGINT"}}')""") == expected


@pytest.mark.parametrize("text", ["{}", '{"a":1,"a":2}', "[1]", '{"a":"x"}', '{"a":NaN}'])
def test_strict_json_raises(con: Connection, text: str) -> None:
    with pytest.raises(duckdb.InvalidInputException):
        con.execute(f"""SELECT from_json_strict('{text}', '{{"a":"BIGINT"}}')""")


def test_strict_json_passes_not_a_number_for_a_double(con: Connection) -> None:
    got = value(con, """SELECT isnan(from_json_strict('{"a":NaN}', '{"a":"DOUBLE"}').a)""")
    assert got is True


def test_plain_json_turns_a_wrong_type_into_null(con: Connection) -> None:
    assert value(con, """SELECT from_json('{"a":"x"}', '{"a":"BIGINT"}')""") == {"a": None}


def test_strict_json_over_a_merge_patch_gives_null_for_a_missing_key(con: Connection) -> None:
    patched = """SELECT from_json_strict(json_merge_patch('{"a":null}', '%s'), '{"a":"BIGINT"}')"""
    assert value(con, patched % "{}") == {"a": None}
    with pytest.raises(duckdb.InvalidInputException):
        con.execute(patched % '{"a":"x"}')


# -- the door for bytes


@pytest.fixture
def door(con: Connection) -> Iterator[MemoryFile]:
    memory = MemoryFile()
    con.execute("SET allowed_paths = $paths", {"paths": [memory.path]})
    con.execute("SET enable_external_access = false")
    yield memory
    memory.close()


def read_json(memory: MemoryFile, *options: str) -> str:
    extra = "".join(f", {option}" for option in options)
    return f"SELECT a FROM read_json('{memory.path}', format='newline_delimited', columns={{a: 'BIGINT'}}{extra})"


def test_memory_file_is_the_only_path_that_a_locked_engine_reads(
    con: Connection, door: MemoryFile, tmp_path: Path
) -> None:
    door.write(b'{"a":1}\n{}\n{"a":3,"b":0}\n')
    assert con.execute(read_json(door)).fetchall() == [(1,), (None,), (3,)]
    other = tmp_path / "other.json"
    other.write_bytes(b'{"a":1}\n')
    for source in (f"read_json('{other}')", f"read_csv('{other}')", f"'{other}'", "read_text('/etc/hostname')"):
        with pytest.raises(duckdb.Error):
            con.execute(f"FROM {source}")


@pytest.mark.parametrize(
    "line", [b'{"a":"x"}', b'{"a":1,"a":2}', b"[1]", b"7", b'{"a":1', b'{"a":"\xff"}', b'{"a":NaN}', b"junk"]
)
def test_reader_of_json_raises_for_a_bad_line(con: Connection, door: MemoryFile, line: bytes) -> None:
    door.write(b'{"a":1}\n' + line + b"\n")
    with pytest.raises(duckdb.Error):
        con.execute(read_json(door))


def test_reader_of_json_reads_a_decimal_as_a_float(con: Connection, door: MemoryFile) -> None:
    door.write(b'{"d":12345678901234567890.0123456789}\n')
    read = f"FROM read_json('{door.path}', format='newline_delimited', columns={{d: 'DECIMAL(30,10)'}})"
    assert str(value(con, read)) != "12345678901234567890.0123456789"


def test_reader_of_json_reads_a_null_line_as_a_row_of_nulls_and_skips_empty_lines(
    con: Connection, door: MemoryFile
) -> None:
    door.write(b'null\n\n{"a":1}\n')
    assert con.execute(read_json(door)).fetchall() == [(None,), (1,)]


def test_reader_of_json_that_ignores_errors_passes_a_duplicate_key(con: Connection, door: MemoryFile) -> None:
    door.write(b'{"a":1,"a":2}\njunk\n')
    rows = con.execute(read_json(door, "ignore_errors=true")).fetchall()
    assert len(rows) == 2
    assert rows[0][0] is not None
    assert rows[1] == (None,)


def test_reader_of_csv_reads_the_memory_file(con: Connection, door: MemoryFile) -> None:
    door.write(b'1,"two\nlines"\n2,\n')
    columns = "{a: 'BIGINT', b: 'VARCHAR'}"
    csv = f"FROM read_csv('{door.path}', auto_detect=false, parallel=false, header=false, columns={columns})"
    assert con.execute(csv).fetchall() == [(1, "two\nlines"), (2, None)]


def test_prepared_statement_reads_the_memory_file_anew_each_time(con: Connection, door: MemoryFile) -> None:
    door.write(b'{"a":1}\n')
    con.execute(f"PREPARE kept AS {read_json(door)}")
    for rows in (1, 3, 200_000, 2):
        door.write(b'{"a":%d}\n' % rows * rows)
        assert con.execute("EXECUTE kept").fetchall() == [(rows,)] * rows
    door.write(b'{"a":"x"}\n')
    with pytest.raises(duckdb.Error):
        con.execute("EXECUTE kept")
    door.write(b'{"a":4}\n')
    assert con.execute("EXECUTE kept").fetchall() == [(4,)]


def test_execute_takes_literals_and_no_parameters(con: Connection) -> None:
    con.execute("PREPARE added AS SELECT CAST($x AS BIGINT) + 1")
    assert con.execute("EXECUTE added(x := 41)").fetchall() == [(42,)]
    with pytest.raises(duckdb.Error, match="prepared parameter"):
        con.execute("EXECUTE added(x := $x)", {"x": 41})


def test_copy_to_the_memory_file_needs_no_temporary_file(con: Connection, door: MemoryFile) -> None:
    con.execute(f"COPY (SELECT 1 AS a) TO '{door.path}' (FORMAT json, USE_TMP_FILE false)")
    assert door.read(0, os.stat(door.path).st_size) == b'{"a":1}\n'


def test_bad_byte_fails_a_cast_of_the_batch_and_under_try_only_its_row(con: Connection) -> None:
    con.register("bytes", pa.table({"v": pa.array([b"a", b"\xff", b"c"])}))
    with pytest.raises(duckdb.Error):
        con.execute("SELECT decode(v) FROM bytes")
    assert con.execute("SELECT TRY(decode(v)) FROM bytes").fetchall() == [("a",), (None,), ("c",)]


# -- JSON out


def test_to_json_writes_infinity_cuts_decimals_and_escapes_bytes(con: Connection) -> None:
    struct = "{'a': 'inf'::DOUBLE, 'b': 1.10::DECIMAL(4,2), 'c': '\\xFF'::BLOB}"
    assert value(con, f"SELECT to_json({struct})::VARCHAR") == '{"a":Infinity,"b":1.1,"c":"\\\\xFF"}'


# -- TRY


@pytest.mark.parametrize("expression", ["1 // 0", "'x'::INT", "9223372036854775807 + i", "strptime('x', '%Y')"])
def test_try_gives_null_where_evaluation_raises(con: Connection, expression: str) -> None:
    assert value(con, f"SELECT TRY({expression}) FROM (VALUES (1::BIGINT)) t(i)") is None


@pytest.mark.parametrize("expression", ["random()", "(SELECT 1)", "sum('1'::INT)"])
def test_try_is_refused_around_volatile_functions_subqueries_and_aggregates(con: Connection, expression: str) -> None:
    with pytest.raises(duckdb.BinderException):
        con.execute(f"SELECT TRY({expression})")


def test_optimizer_takes_a_common_expression_out_of_try(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT * FROM (VALUES ('1'), ('x')) v(a)")
    twice = "SELECT TRY(a::BIGINT), TRY(a::BIGINT + 1) FROM t"
    with pytest.raises(duckdb.ConversionException):
        con.execute(twice)
    con.execute("SET disabled_optimizers = 'common_subexpressions'")
    assert con.execute(twice).fetchall() == [(1, 2), (None, None)]


# -- closed in


def test_locked_engine_reads_no_python_variable_but_a_registered_table(con: Connection) -> None:
    con.execute("SET enable_external_access = false")
    variable = pa.table({"a": [1]})
    with pytest.raises(duckdb.CatalogException):
        con.execute("FROM variable")
    con.register("given", variable)
    assert con.execute("FROM given").fetchall() == [(1,)]


def test_locked_configuration_stays(con: Connection) -> None:
    con.execute("SET enable_external_access = false; SET lock_configuration = true")
    for statement in ("SET threads = 4", "SET enable_external_access = true", "INSTALL json", "ATTACH 'x.db'"):
        with pytest.raises(duckdb.Error):
            con.execute(statement)


# -- order, on one thread


def test_streaming_window_function_follows_the_order_of_insertion(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT (i * 7919) % 100003 AS x FROM range(300000) r(i)")
    got = [row[0] for row in con.execute("SELECT max(x) OVER (ROWS UNBOUNDED PRECEDING) FROM t").fetchall()]
    expected, seen = [], -1
    for i in range(300_000):
        seen = max(seen, (i * 7919) % 100003)
        expected.append(seen)
    assert got == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("string_agg(x, ',')", "c,a,b,a"),
        ("list(x)", ["c", "a", "b", "a"]),
        ("first(x)", "c"),
        ("last(x)", "a"),
        ("arg_min(x, 1)", "c"),
        ("arg_max(x, 1)", "c"),
        ("mode(y)", 2),
        ("first(n)", None),
        ("arg_min(n, y)", 5),
    ],
)
def test_aggregate_without_order_by_follows_the_order_of_its_input(
    con: Connection, expression: str, expected: object
) -> None:
    rows = "(VALUES ('c', 2, NULL), ('a', 1, NULL), ('b', 1, 5), ('a', 2, 6)) t(x, y, n)"
    assert value(con, f"SELECT {expression} FROM {rows}") == expected


def test_mode_of_a_table_needs_an_order_for_its_ties(con: Connection) -> None:
    """The optimizer turns it into a grouping that forgets which value came first."""
    con.execute("CREATE TABLE t AS SELECT * FROM (VALUES (10, 1), (10, 2), (2, 3), (2, 4)) v(x, n)")
    assert value(con, "SELECT mode(x) FROM t") == 2
    assert value(con, "SELECT mode(x ORDER BY n) FROM t") == 10
    assert value(con, "SELECT mode(x) FROM (SELECT unnest([10, 10, 2, 2]) AS x)") == 10


def test_nulls_come_last_in_an_ascending_order(con: Connection) -> None:
    assert con.execute("FROM (VALUES (2), (NULL), (1)) t(x) ORDER BY ALL").fetchall() == [(1,), (2,), (None,)]


def test_fetching_arrow_from_a_relation_gives_a_table(con: Connection) -> None:
    assert con.sql("SELECT 1 AS a").to_arrow_table().to_pydict() == {"a": [1]}
    assert isinstance(con.sql("SELECT 1 AS a").arrow(), pa.RecordBatchReader)
