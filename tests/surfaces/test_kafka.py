"""Jobs that read and write topics, through the command: rows, keys, ledger, dead letters, and what goes wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.kafka.demo import order
from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris, Ran
from tests.topic_records import group_lag

LEDGER_ZERO = {
    "late": 0,
    "deduplicated": 0,
    "dead_lettered": 0,
    "skipped": 0,
    "output_rejected": 0,
    "late_windows": 0,
    "derived_rejected": 0,
}


@dataclass(frozen=True)
class Application:
    """A source topic and a way to write applications over it."""

    kafka: Cluster
    ferris: Ferris
    topic: str

    def write(self, *statements: str, columns: str = "id BIGINT, name TEXT", **properties: str) -> None:
        """`app.sql`: the source `given` and these statements, in which `{kafka}` stands for connector and address."""
        address = f"'connector' = 'kafka', 'bootstrap.servers' = '{self.kafka.bootstrap_servers}'"
        own = "".join(f", '{name.replace('_', '.')}' = '{value}'" for name, value in properties.items())
        source = f"CREATE STREAM given ({columns}) WITH ({address}, 'topic' = '{self.topic}'{own});"
        text = "\n".join(statement.format(kafka=address, topic=self.topic) for statement in statements)
        (self.ferris.folder / "app.sql").write_text(f"-- @app: {self.topic}\n{source}\n{text}\n", "utf-8")

    def run(self) -> Ran:
        return self.ferris("run", "--once", "--drain", "-o", "json", "app.sql")


@pytest.fixture
def app(kafka: Cluster, ferris: Ferris, topic_name: str) -> Application:
    return Application(kafka, ferris, topic_name)


OUT = "CREATE STREAM out WITH ({kafka}, 'topic' = '{topic}-out', 'create.topic' = 'true') AS "


def test_rows_go_from_topic_to_topic_with_their_keys(app: Application) -> None:
    app.kafka.create_topic(app.topic, partitions=2)
    app.kafka.write(
        app.topic,
        [
            Record(b'{"id": %d, "name": "n%d"}' % (i, i), b"key %d" % i if i % 3 else None, partition=i % 2)
            for i in range(100)
        ],
    )
    app.write(OUT + "SELECT id, upper(name) AS name FROM given WHERE id >= 50;")
    ran = app.run()
    assert ran.code == 0, ran.err
    assert ran.job["ledger"] == LEDGER_ZERO | {
        "read": 100, "emitted": 50, "absorbed": 0, "filtered": 50, "produced": 50, "written": 50
    }  # fmt: skip
    found = {json.loads(record.value or b"")["id"]: record for record in app.kafka.read(f"{app.topic}-out")}
    assert sorted(found) == list(range(50, 100))
    for i, record in found.items():
        assert json.loads(record.value or b"") == {"id": i, "name": f"N{i}"}
        assert record.key == (b"key %d" % i if i % 3 else None)


def test_job_goes_on_where_it_was(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    app.write(OUT + "SELECT id FROM given;")
    for start in (0, 10, 20):
        app.kafka.write(app.topic, [b'{"id": %d}' % i for i in range(start, start + 10)])
        ran = app.run()
        assert ran.code == 0, ran.err
        assert ran.job["rows"] == 10
    ran = app.run()
    assert ran.job["rows"] == 0
    found = [json.loads(record.value or b"")["id"] for record in app.kafka.read(f"{app.topic}-out")]
    assert found == list(range(30))


def test_windows_of_a_topic_go_to_a_file(app: Application) -> None:
    app.kafka.create_topic(app.topic, partitions=3)
    app.kafka.write(
        app.topic,
        [Record(b'{"ts": "2024-01-01T00:%02d:00Z", "k": "a"}' % (i % 30), partition=i % 3) for i in range(90)],
    )
    app.write(
        "CREATE STREAM bars WITH ('connector' = 'file', 'path' = 'bars.jsonl') AS SELECT window_start, k, count(*) AS n"
        " FROM given GROUP BY k, TUMBLE(ts, INTERVAL '10' MINUTE);",
        columns="ts TIMESTAMP, k TEXT, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR",
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    assert [row["n"] for row in app.ferris.lines("bars.jsonl")] == [30, 30, 30]
    assert ran.job["ledger"]["absorbed"] == 90


def test_file_goes_to_a_topic_once(app: Application) -> None:
    (app.ferris.folder / "in.jsonl").write_text("".join(f'{{"id": {i}}}\n' for i in range(20)), "utf-8")
    app.write(
        "CREATE STREAM lines (id BIGINT) WITH ('connector' = 'file', 'path' = 'in.jsonl');",
        OUT + "SELECT id, id % 2 = 0 AS even FROM lines;",
    )
    for _ in range(2):
        ran = app.run()
        assert ran.code == 0, ran.err
    found = [json.loads(record.value or b"") for record in app.kafka.read(f"{app.topic}-out")]
    assert found == [{"id": i, "even": i % 2 == 0} for i in range(20)]


def test_one_job_reads_what_another_writes(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    app.kafka.write(app.topic, [b'{"id": %d, "name": "n"}' % i for i in range(10)])
    app.write(
        OUT + "SELECT id, id * 2 AS twice FROM given;",
        "CREATE STREAM last WITH ('connector' = 'file', 'path' = 'last.jsonl') AS SELECT twice FROM out WHERE id > 6;",
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    assert app.ferris.lines("last.jsonl") == [{"twice": 14}, {"twice": 16}, {"twice": 18}]


def test_message_key_is_the_column_or_what_is_grouped(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    app.kafka.write(app.topic, [b'{"id": %d, "name": "%s"}' % (i % 2, b"a" if i % 2 else b"b\\nc") for i in range(10)])
    app.write(
        "CREATE STREAM one WITH ({kafka}, 'topic' = '{topic}-1', 'create.topic' = 'true', 'key' = 'id')"
        " AS SELECT id, name FROM given;",
        "CREATE STREAM two WITH ({kafka}, 'topic' = '{topic}-2', 'create.topic' = 'true')"
        " AS SELECT name, count(*) AS n FROM given GROUP BY name EMIT FINAL;",
        "CREATE STREAM three WITH ({kafka}, 'topic' = '{topic}-3', 'create.topic' = 'true', 'format' = 'csv')"
        " AS SELECT id, name, count(*) AS n FROM given GROUP BY id, name EMIT FINAL;",
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    assert [record.key for record in app.kafka.read(f"{app.topic}-1")] == [b"0", b"1"] * 5
    assert {record.key for record in app.kafka.read(f"{app.topic}-2")} == {b"a", b"b\nc"}
    keyed = {record.key: record.value for record in app.kafka.read(f"{app.topic}-3")}
    assert keyed == {b'{"id":1,"name":"a"}': b"1,a,5", b'{"id":0,"name":"b\\nc"}': b'0,"b\nc",5'}


def test_records_that_fail_become_letters_with_all_their_bytes(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    bad = Record(b'{"id": "x"}\n', b"\xff key", (("h", b"1"), ("h", None)), 1_700_000_000_000)
    app.kafka.write(
        app.topic,
        [b'{"id": 1}', bad, None, b"", b'{\n "id": 2,\n "name": "lines"\n}', b'{"id": 3}\n{"id": 4}', b'{"id": 5}'],
    )
    app.write(
        "CREATE STREAM out WITH ({kafka}, 'topic' = '{topic}-out', 'create.topic' = 'true',"
        " 'failure_strategy' = 'send_to_dlq', 'dlq.topic' = '{topic}-dlq') AS SELECT id FROM given;"
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    assert ran.job["ledger"] == LEDGER_ZERO | {
        "read": 7, "emitted": 3, "absorbed": 0, "filtered": 1, "produced": 3, "written": 3, "dead_lettered": 3
    }  # fmt: skip
    found = [json.loads(record.value or b"")["id"] for record in app.kafka.read(f"{app.topic}-out")]
    assert found == [1, 2, 5]
    letters = app.kafka.read(f"{app.topic}-dlq")
    assert [letter.value for letter in letters] == [bad.value, b"", b'{"id": 3}\n{"id": 4}']
    first = letters[0]
    assert first.key == bad.key
    assert first.headers[:2] == bad.headers
    headers = dict(first.headers[2:])
    assert headers["__connect.errors.topic"] == app.topic.encode()
    assert headers["__connect.errors.partition"] == b"0"
    assert headers["__connect.errors.offset"] == b"1"
    assert headers["ferris.code"] == b"E2104"
    assert [dict(letter.headers)["ferris.code"] for letter in letters[1:]] == [b"E2101", b"E2101"]


@pytest.mark.parametrize("rows", ["'batch.enable' = 'false'", "'batch.size' = '3'"])
@pytest.mark.parametrize(("format_", "value"), [("json", b'{"id": %d}'), ("csv", b"%d")])
def test_records_without_a_value_are_filtered(app: Application, rows: str, format_: str, value: bytes) -> None:
    gone = Record(None, b"k")
    app.kafka.create_topic(app.topic)
    app.kafka.write(app.topic, [gone] * 4)
    app.write(
        OUT.replace(") AS", f", {rows}) AS") + "SELECT id, _offset AS at, _key AS key FROM given WHERE id <> 2;",
        columns="id BIGINT",
        format=format_,
    )
    only_gone = app.run()
    assert only_gone.code == 0, only_gone.err
    assert (only_gone.job["ledger"]["read"], only_gone.job["ledger"]["filtered"]) == (4, 4)
    app.kafka.write(app.topic, [Record(value % 1, b"a"), gone, Record(value % 2), gone, gone, Record(value % 3, b"b")])
    ran = app.run()
    assert ran.code == 0, ran.err
    ledger = ran.job["ledger"]
    assert (ledger["read"], ledger["filtered"], ledger["emitted"]) == (10, 8, 2)
    found = [(record.key, json.loads(record.value or b"")) for record in app.kafka.read(f"{app.topic}-out")]
    assert found == [(b"a", {"id": 1, "at": 4, "key": "a"}), (b"b", {"id": 3, "at": 9, "key": "b"})]


def test_columns_are_inferred_behind_records_without_a_value(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    app.kafka.write(app.topic, [Record(None, b"k")] * 1500 + [b'{"id": 1, "at": "2024-01-01T00:00:00Z"}'])
    app.write(OUT + "SELECT id FROM given;")
    path = app.ferris.folder / "app.sql"
    path.write_text(path.read_text().replace("given (id BIGINT, name TEXT)", "given"))
    ran = app.run()
    assert ran.code == 0, ran.err
    assert [record.value for record in app.kafka.read(f"{app.topic}-out")] == [b'{"id":1}']


def test_trace_travels_from_input_to_output(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    app.kafka.write(app.topic, [Record(b'{"id": 1}', headers=(("x", b"1"), trace)), b'{"id": 2}', b'{"id": 3}'])
    app.write(OUT + "SELECT id FROM given WHERE id <> 2;")
    ran = app.run()
    assert ran.code == 0, ran.err
    assert [record.headers for record in app.kafka.read(f"{app.topic}-out")] == [(trace,), ()]


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"kafka_enable_auto_commit": "true"}, ["E3009", "'kafka.enable.auto.commit' = 'true' contradicts"]),
        ({"kafka_isolation_level": "read_uncommitted"}, ["E3009", "read_committed"]),
        ({"kafka_no_such_thing": "1"}, ["E3001", "'kafka.no.such.thing'"]),
        ({"kafka_fetch_min_bytes": "few"}, ["E3002", "'kafka.fetch.min.bytes'"]),
        ({"startup": "yesterday"}, ["E3002", "'startup' = 'yesterday'", "earliest, latest"]),
        ({"partitions": "0"}, ["E3002", "'partitions'"]),
        ({"compression": "gzip"}, ["E3001", "'compression'"]),
    ],
)
def test_wrong_setting_is_told_before_anything_starts(
    app: Application, properties: dict[str, str], said: list[str]
) -> None:
    app.write("SELECT id FROM given;", **properties)
    ran = app.ferris("check", "app.sql")
    assert ran.code == 1
    assert all(part in ran.err for part in said), ran.err
    assert "app.sql:2:" in ran.err


def test_sink_that_contradicts_delivery_is_refused(app: Application) -> None:
    for name, value in (("acks", "1"), ("enable.idempotence", "false"), ("transaction.timeout.ms", "1000")):
        app.write("CREATE STREAM out WITH ({kafka}, 'kafka." + name + "' = '" + value + "') AS SELECT id FROM given;")
        ran = app.ferris("check", "app.sql")
        assert ran.code == 1
        assert "E3009" in ran.err
        assert f"kafka.{name}" in ran.err


def test_topic_that_is_not_there_is_told(app: Application) -> None:
    app.write("SELECT id FROM given;")
    ran = app.run()
    assert ran.code == 1
    assert f"there is no topic {app.topic}" in ran.err
    assert "E4103" in ran.err
    assert "create.topic" in ran.err


def test_names_that_people_bring_are_read(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    app.kafka.write(app.topic, [b"1,a", b"2,b"])
    address = app.kafka.bootstrap_servers
    (app.ferris.folder / "app.sql").write_text(
        f"""-- @app: {app.topic}
        CREATE STREAM given (id BIGINT, name TEXT) WITH (connector = 'kafka', KAFKA_TOPIC = '{app.topic}',
        VALUE_FORMAT = 'csv', 'properties.bootstrap.servers' = '{address}', 'properties.fetch.min.bytes' = 1,
        'scan.startup.mode' = 'earliest-offset', 'properties.group.id' = '{app.topic}');
        SELECT name FROM given;\n""",
        "utf-8",
    )
    ran = app.ferris("run", "--once", "app.sql")
    assert ran.code == 0, ran.err
    assert [json.loads(line)["name"] for line in ran.out.splitlines()[:2]] == ["a", "b"]


def test_example_gives_what_it_says(app: Application) -> None:
    text = (Path(__file__).resolve().parents[2] / "examples" / "kafka" / "orders.sql").read_text("utf-8")
    for name in ("orders", "turnover"):
        text = text.replace(f"'topic' = '{name}'", f"'topic' = '{app.topic}-{name}'")
    (app.ferris.folder / "orders.sql").write_text(f"-- @app: {app.topic}\n{text}", "utf-8")
    app.kafka.create_topic(f"{app.topic}-orders", partitions=3)
    app.kafka.write(f"{app.topic}-orders", map(order, range(30_000)))
    address = f"bootstrap.servers={app.kafka.bootstrap_servers}"
    ran = app.ferris("run", "--once", "--drain", "-o", "json", "--set", address, "orders.sql")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["absorbed"] == 29_999
    records = [json.loads(record.value or b"") for record in app.kafka.read(f"{app.topic}-turnover")]
    assert sum(record["orders"] for record in records) == 29_999
    assert {record["shop"] for record in records} == {"north", "south", "harbour"}
    assert len(app.kafka.read(f"{app.topic}.turnover.dlq")) == 1
    group = f"{app.topic}.turnover"
    lag = group_lag(app.kafka.properties, group, f"{app.topic}-orders")
    assert lag == {f"{app.topic}-orders-{number}": 0 for number in range(3)}


def test_system_columns_and_headers_are_there_when_they_are_asked_for(app: Application) -> None:
    app.kafka.create_topic(app.topic, partitions=2)
    app.kafka.write(
        app.topic,
        [
            Record(b'{"id": 0}', b"k\xff", (("a", b"1"), ("a", b"2"), ("n", None)), 1_704_067_200_001, 1),
            Record(b'{"id": "x"}', b"bad", (), 1_704_067_200_002, 1),
            Record(b'{"id": 2}', None, (), 1_704_067_200_003, 1),
            Record(b'{"id": 3}', b"", (("b", b"x"),), 1_704_067_200_004, 1),
        ],
    )
    app.write(
        "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl') AS SELECT *, _topic AS topic, _partition"
        " AS p, _offset AS at, _key AS k, _timestamp AS t, HEADER('a') AS a, HAS_HEADER('n') AS n, HEADER_KEYS() AS h"
        " FROM given WHERE _offset <> 3;",
        "CREATE STREAM counts WITH ('connector' = 'file', 'path' = 'counts.jsonl') AS SELECT _partition AS p, count(*)"
        " AS n, max(_offset) AS last FROM given GROUP BY _partition EMIT FINAL;",
        columns="id BIGINT",
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    place = {"topic": app.topic, "p": 1}
    first = {"at": 0, "k": "k\\xff", "t": "2024-01-01T00:00:00.001000Z", "a": "2", "n": True, "h": ["a", "n"]}
    third = {"at": 2, "k": None, "t": "2024-01-01T00:00:00.003000Z", "a": None, "n": False, "h": []}
    assert app.ferris.lines("out.jsonl") == [{"id": 0} | place | first, {"id": 2} | place | third]
    assert app.ferris.lines("counts.jsonl") == [{"p": 1, "n": 3, "last": 3}]


def test_system_columns_of_a_file_are_refused(app: Application) -> None:
    for query, said in (
        ("_offset", "the system column _offset is not supported"),
        ("HEADER('a')", "HEADER needs the headers"),
    ):
        app.write(
            "CREATE STREAM lines (id BIGINT) WITH ('connector' = 'file', 'path' = 'in.jsonl');",
            f"SELECT {query} FROM lines;",
        )
        ran = app.ferris("check", "app.sql")
        assert ran.code == 1
        assert said in ran.err


def test_row_that_csv_cannot_hold_is_no_empty_message(app: Application) -> None:
    app.kafka.create_topic(app.topic)
    app.kafka.write(app.topic, [b'{"id": %d}' % i for i in range(3)])
    app.write(
        "CREATE STREAM out WITH ({kafka}, 'topic' = '{topic}-out', 'create.topic' = 'true', 'format' = 'csv',"
        " 'sink.failure_strategy' = 'log_and_continue') AS"
        " SELECT id, CASE WHEN id = 1 THEN CAST('inf' AS DOUBLE) ELSE 0.5 END AS x FROM given;"
    )
    ran = app.run()
    assert ran.code == 0, ran.err
    assert [record.value for record in app.kafka.read(f"{app.topic}-out")] == [b"0,0.5", b"2,0.5"]
    assert (ran.job["ledger"]["produced"], ran.job["ledger"]["output_rejected"]) == (3, 1)
