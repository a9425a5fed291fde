"""Tables in topics: what a job of ours writes is the table that is read; message keys, deletes and dead letters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

TABLE = """CREATE TABLE {name} ({columns}) WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}',
'topic' = '{topic}'{more});
"""
COPY = """CREATE STREAM copy WITH ('connector' = 'file', 'path' = 'copy.jsonl', 'changelog' = 'retract',
'failure_strategy' = '{strategy}', 'dlq.path' = 'letters.jsonl') AS {query};
"""
COLUMNS = "id INT, name TEXT, PRIMARY KEY (id)"


class Copied:
    """A job that writes a table in a topic down as changes."""

    def __init__(self, kafka: Cluster, ferris: Ferris, topic: str) -> None:
        self._kafka, self._ferris, self._topic = kafka, ferris, topic

    def declare(self, columns: str, query: str, more: str = "", strategy: str = "fail_batch") -> None:
        servers = self._kafka.bootstrap_servers
        declared = TABLE.format(name="t", columns=columns, servers=servers, topic=self._topic, more=more)
        self._ferris.write(app__sql=declared + COPY.format(query=query, strategy=strategy))

    def take(self, *options: str) -> Counter[str]:
        """Run, and fold what was written."""
        ran = self._ferris("run", "--once", *options, "app.sql")
        assert ran.code == 0, ran.err
        audit = self._ferris("audit", "app.sql")
        assert audit.code == 0, audit.out + audit.err
        return folded(self._ferris, "copy.jsonl")


def folded(ferris: Ferris, name: str) -> Counter[str]:
    """What changes in a file come to: each row as JSON, and how often it stands."""
    found: Counter[str] = Counter()
    for row in ferris.lines(name):
        op = row.pop("op")
        text = json.dumps(row)
        found[text] += 1 if op.startswith("+") else -1
        assert found[text] >= 0, f"{text} was not there"
    return +found


def rows(*found: Mapping[str, object]) -> Counter[str]:
    return Counter(map(json.dumps, found))


@pytest.fixture
def copied(kafka: Cluster, ferris: Ferris, topic_name: str) -> Copied:
    kafka.create_topic(topic_name)
    return Copied(kafka, ferris, topic_name)


@pytest.mark.parametrize("options", [(), ("--set", "batch.enable=false")])
def test_messages_of_a_key_replace_one_another(
    copied: Copied, kafka: Cluster, topic_name: str, options: Sequence[str]
) -> None:
    copied.declare(COLUMNS, "SELECT id, name FROM t")
    kafka.write(
        topic_name,
        [
            Record(b'{"id":1,"name":"a"}', b"1"),
            Record(b'{"name":"b"}', b"2"),
            Record(b'{"name":"c"}', b'{"id":3}'),
            Record(None, b"2"),
            Record(b'{"id":1,"name":"d"}', b"1"),
            Record(b'{"id":4,"name":"e"}'),
            Record(None, b"9"),
        ],
    )
    assert copied.take(*options) == rows({"id": 1, "name": "d"}, {"id": 3, "name": "c"}, {"id": 4, "name": "e"})
    kafka.write(topic_name, [Record(None, b"1"), Record(b'{"id":2,"name":"f"}', b"2"), Record(None, b'{"id":3}')])
    assert copied.take(*options) == rows({"id": 2, "name": "f"}, {"id": 4, "name": "e"})


def test_a_message_that_does_not_say_which_row_it_is_about_becomes_a_letter(
    copied: Copied, kafka: Cluster, ferris: Ferris, topic_name: str
) -> None:
    copied.declare(COLUMNS, "SELECT id, name, _offset AS at FROM t", strategy="send_to_dlq")
    kafka.write(
        topic_name,
        [
            Record(b'{"id":1,"name":"a"}', b"2"),
            Record(None),
            Record(b'{"id":1,"name":"b"}', b"1"),
            Record(None, b"x"),
            Record(b'{"name":"c"}'),
        ],
    )
    assert copied.take() == rows({"id": 1, "name": "b", "at": 2})
    letters = ferris.lines("letters.jsonl")
    assert [letter["headers"]["__connect.errors.exception.message"] for letter in letters] == [
        "the message key 2 is not that of the row, 1",
        *["a message without a value deletes a row, and its key does not say which"] * 2,
        'column "id" is missing or null, but it is in the PRIMARY KEY',
    ]
    assert [letter["value"] is None for letter in letters] == [False, True, True, False]
    assert [letter["headers"]["__connect.errors.offset"] for letter in letters] == ["0", "1", "3", "4"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("k TEXT", ["a", '{"x": 1}', "ü\n"]),
        ("k BIGINT", [1, -2, 2**60 + 1]),
        ("k TIMESTAMP", ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000001Z", "1969-01-01T00:00:00Z"]),
        ("k DECIMAL(30,5)", [1.5, 2, 0.00001]),
        ("k BOOLEAN, l TEXT", [True, False, True]),
    ],
)
def test_what_a_job_of_ours_writes_as_upserts_is_its_result(
    kafka: Cluster, ferris: Ferris, topic_name: str, key: str, values: list[object]
) -> None:
    servers = kafka.bootstrap_servers
    names = ", ".join(part.split()[0] for part in key.split(", "))
    a, b, c = ({"k": value, **({"l": str(at)} if "," in key else {})} for at, value in enumerate(values))
    changes = [("+I", a, 1), ("+I", b, 2), ("+U", a, 3), ("-D", b, 2), ("+I", c, 4), ("-D", a, 3), ("+I", a, 5)]
    given = [{"op": op, **row, "v": v} for op, row, v in changes]
    columns = f"{key}, v INT, PRIMARY KEY ({names})"
    ferris.write(
        given__jsonl="".join(json.dumps(row) + "\n" for row in given),
        write__sql=f"""CREATE TABLE given ({columns})
        WITH ('connector' = 'file', 'path' = 'given.jsonl', 'changelog' = 'retract');
        CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic_name}',
        'create.topic' = 'true') AS SELECT * FROM given;
        CREATE STREAM same WITH ('connector' = 'file', 'path' = 'same.jsonl', 'changelog' = 'retract')
        AS SELECT * FROM given;""",
    )
    ran = ferris("run", "--once", "--set", "batch.enable=false", "write.sql")
    assert ran.code == 0, ran.err
    assert None in [record.value for record in kafka.read(topic_name)]
    copied = Copied(kafka, ferris, topic_name)
    copied.declare(columns, "SELECT * FROM t")
    assert copied.take() == folded(ferris, "same.jsonl")
    assert len(folded(ferris, "same.jsonl")) == 2


def test_changes_of_debezium_in_a_topic_are_a_table(copied: Copied, kafka: Cluster, topic_name: str) -> None:
    copied.declare(COLUMNS, "SELECT id, name, _key AS key, _offset AS at FROM t", ", 'format' = 'debezium_json'")
    a, b, moved = {"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "b"}
    keys = [json.dumps({"schema": {}, "payload": {"id": id_}}).encode() for id_ in range(4)]
    kafka.write(
        topic_name,
        [
            Record(json.dumps({"schema": {}, "payload": {"before": None, "after": a, "op": "c"}}).encode(), keys[1]),
            Record(json.dumps({"before": None, "after": b, "op": "r"}).encode(), keys[2]),
            Record(json.dumps({"schema": {}, "payload": {"before": a, "after": None, "op": "d"}}).encode(), keys[1]),
            Record(None, keys[1]),
            Record(json.dumps({"before": b, "after": moved, "op": "u"}).encode(), keys[3]),
        ],
    )
    assert copied.take() == rows({**moved, "key": keys[3].decode(), "at": 4})
    kafka.write(topic_name, [Record(json.dumps({"before": None, "after": None, "op": "d"}).encode(), keys[3])])
    assert copied.take() == rows()


def test_a_table_of_csv_has_deletes(copied: Copied, kafka: Cluster, topic_name: str) -> None:
    copied.declare(COLUMNS, "SELECT id, name FROM t", ", 'format' = 'csv'")
    kafka.write(topic_name, [Record(b"1,a", b"1"), Record(b"2,b", b"2"), Record(None, b"1"), Record(b",c", b"3")])
    assert copied.take() == rows({"id": 2, "name": "b"}, {"id": 3, "name": "c"})


def test_windows_of_a_stream_do_not_wait_for_a_table(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    servers, users = kafka.bootstrap_servers, kafka.create_topic(f"{topic_name}-users")
    kafka.create_topic(topic_name)
    columns = "id INT PRIMARY KEY, town TEXT, since TIMESTAMP, WATERMARK FOR since AS since"
    ferris.write(
        app__sql=TABLE.format(name="users", columns=columns, servers=servers, topic=users, more="")
        + f"""CREATE STREAM clicks (id INT, at TIMESTAMP, WATERMARK FOR at AS at)
        WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic_name}');
        CREATE STREAM out AS SELECT u.town, window_start, count(*) AS n FROM clicks c JOIN users u ON c.id = u.id
        GROUP BY u.town, TUMBLE(c.at, INTERVAL '1' MINUTE) WITH ('connector' = 'file', 'path' = 'out.jsonl');"""
    )
    user = b'{"town":"Bex","since":"2020-01-01T00:00:00Z"}'
    kafka.write(users, [Record(user, b"1"), Record(user, b"2"), Record(None, b"2")])
    kafka.write(
        topic_name, [b'{"id":%d,"at":"2024-01-01T00:0%d:00Z"}' % row for row in ((1, 0), (2, 0), (1, 0), (1, 2))]
    )
    ran = ferris("run", "--once", "app.sql")
    assert ran.code == 0, ran.err
    assert ferris.lines("out.jsonl") == [{"town": "Bex", "window_start": "2024-01-01T00:00:00Z", "n": 2}]
