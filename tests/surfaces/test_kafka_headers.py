"""Headers that a query sets and removes, through the command."""

from __future__ import annotations

import json

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
SOURCE = """-- @app: {topic}
CREATE STREAM given (id BIGINT, name TEXT, at TIMESTAMP, tags TEXT[], raw BLOB, price DECIMAL(10, 2))
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}');
"""
OUT = """CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}-out',
'create.topic' = 'true', 'failure_strategy' = 'log_and_continue') AS """


def written(kafka: Cluster, ferris: Ferris, topic: str, query: str, records: list[Record]) -> list[Record]:
    """What the query's job has written."""
    kafka.create_topic(topic)
    kafka.write(topic, records)
    ferris.write(app__sql=(SOURCE + OUT + query + ";\n").format(topic=topic, servers=kafka.bootstrap_servers))
    ran = ferris("run", "--once", "app.sql")
    assert ran.code == 0, ran.err
    return kafka.read(f"{topic}-out")


def test_headers_hold_values_of_every_kind(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    row = {"id": 1, "name": "a\nb", "at": "2024-01-01T00:00:00Z", "tags": ["x", "y"], "raw": "AAr/", "price": 1.5}
    nothing = {"id": 2, "name": "", "raw": ""}
    query = """SELECT id, SET_HEADER('id', id), SET_HEADER('name', name), SET_HEADER('at', at),
    SET_HEADER('tags', tags), SET_HEADER('raw', raw), SET_HEADER('price', price), SET_HEADER('even', id % 2 = 0),
    SET_HEADER('ö', NULL), SET_HEADER('from', _partition || ':' || _offset), SET_HEADER('nul', chr(0) || 'x')
    FROM given"""
    records = [Record(json.dumps(each).encode(), b"key") for each in (row, nothing)]
    first, second = written(kafka, ferris, topic_name, query, records)
    assert first.headers == (
        ("id", b"1"), ("name", b"a\nb"), ("at", b"2024-01-01T00:00:00Z"), ("tags", b'["x","y"]'),
        ("raw", b"\x00\n\xff"), ("price", b"1.50"), ("even", b"false"), ("ö", None), ("from", b"0:0"),
        ("nul", b"\x00x"),
    )  # fmt: skip
    assert (json.loads(first.value or b""), first.key) == ({"id": 1}, b"key")
    assert second.headers == (
        ("id", b"2"), ("name", b""), ("at", None), ("tags", None), ("raw", b""), ("price", None), ("even", b"true"),
        ("ö", None), ("from", b"0:1"), ("nul", b"\x00x"),
    )  # fmt: skip


def test_header_stays_with_its_row_beside_rows_that_fail(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    """Rows that do not decode, are filtered, or whose header cannot be made, leave no header behind for others."""
    values = [b'{"id": 0}', b'{"id": "x"}', b'{"id": 2, "name": "q"}', b'{"id": 3, "name": "7"}', b'{"id": 4}']
    query = "SELECT id, SET_HEADER('n', CAST(name AS INTEGER)) FROM given WHERE id <> 4"
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [Record(value, headers=(TRACE,)) for value in values])
    text = SOURCE + OUT + query + ";\n"
    ferris.write(app__sql=text.format(topic=topic_name, servers=kafka.bootstrap_servers))
    ran = ferris("run", "--once", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    found = [(json.loads(r.value or b"")["id"], r.headers) for r in kafka.read(f"{topic_name}-out")]
    assert found == [(0, (TRACE, ("n", None))), (3, (TRACE, ("n", b"7")))]
    assert (ran.job["ledger"]["skipped"], ran.job["ledger"]["filtered"]) == (2, 1)


def test_trace_is_removed_or_set_anew(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    records = [Record(b'{"id": 1}', headers=(("x", b"1"), TRACE)), Record(b'{"id": 2}')]
    removed = "SELECT id, REMOVE_HEADER('traceparent'), REMOVE_HEADER('x'), SET_HEADER('y', HEADER('x')) FROM given"
    found = written(kafka, ferris, topic_name, removed, records)
    assert [record.headers for record in found] == [(("y", b"1"),), (("y", None),)]
    anew = "SELECT id, SET_HEADER('traceparent', coalesce(HEADER('traceparent'), 'none')) FROM given"
    found = written(kafka, ferris, f"{topic_name}-2", anew, records)
    assert [record.headers for record in found] == [(TRACE,), (("traceparent", b"none"),)]


def test_headers_of_groups_and_windows(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    rows = [{"id": n, "name": "ab"[n % 2], "at": f"2024-01-01T00:0{n}:00Z"} for n in range(6)]
    query = """SELECT name, window_start, sum(id) AS total, SET_HEADER('of', name), SET_HEADER('rows', count(*)),
    SET_HEADER('from', window_start), REMOVE_HEADER('traceparent')
    FROM given GROUP BY name, TUMBLE(at, INTERVAL '5' MINUTE)"""
    records = [Record(json.dumps(row).encode(), headers=(TRACE,)) for row in rows]
    source = SOURCE.replace("price DECIMAL(10, 2)", "price DECIMAL(10, 2), WATERMARK FOR at AS at")
    kafka.create_topic(topic_name)
    kafka.write(topic_name, records)
    ferris.write(app__sql=(source + OUT + query + ";\n").format(topic=topic_name, servers=kafka.bootstrap_servers))
    ran = ferris("run", "--once", "--drain", "app.sql")
    assert ran.code == 0, ran.err
    found = {(json.loads(r.value or b"")["total"], r.key): r.headers for r in kafka.read(f"{topic_name}-out")}
    assert found == {
        (6, b"a"): (("of", b"a"), ("rows", b"3"), ("from", b"2024-01-01T00:00:00Z")),
        (4, b"b"): (("of", b"b"), ("rows", b"2"), ("from", b"2024-01-01T00:00:00Z")),
        (5, b"b"): (("of", b"b"), ("rows", b"1"), ("from", b"2024-01-01T00:05:00Z")),
    }


def test_headers_count_for_the_size_of_a_record(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    """As it is sent: what compresses well may be long."""
    digests = "array_to_string(list_transform(range(id // 32), lambda i: md5(i::VARCHAR)), '')"
    query = (
        f"SELECT id, SET_HEADER('big', CASE WHEN id % 10 = 0 THEN repeat('x', id::INT) ELSE {digests} END) FROM given"
    )
    records = [Record(b'{"id": %d}' % size) for size in (10, 3_000_000, 3_000_001, 20)]
    found = written(kafka, ferris, topic_name, query, records)
    assert [json.loads(record.value or b"")["id"] for record in found] == [10, 3_000_000, 20]


def test_headers_of_an_output_without_headers_are_refused(ferris: Ferris) -> None:
    for sink in ("'connector' = 'file', 'path' = 'o.jsonl'", "'connector' = 'stdout'", "'connector' = 'blackhole'"):
        ferris.write(
            app__sql=SOURCE.format(topic="t", servers="localhost:1")
            + f"CREATE STREAM o WITH ({sink}) AS SELECT id,\n  SET_HEADER('k', id) FROM given;\n"
        )
        ran = ferris("check", "app.sql")
        assert ran.code == 1
        assert "the header k cannot be written: the output has no headers [E3005]" in ran.err
        assert "app.sql:5:3:" in ran.err, ran.err
