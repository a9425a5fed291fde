"""Results that change, in a topic: what its messages fold to, by key, is the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

SOURCE = """-- @app: {topic}
CREATE STREAM given (at TIMESTAMP, k TEXT, v BIGINT, WATERMARK FOR at AS at - INTERVAL '1' HOUR)
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}');
"""
OUT = """CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}-out',
'create.topic' = 'true'{more}) AS """


def row(second: int, key: str, value: int) -> bytes:
    return json.dumps({"at": f"2024-01-01T00:00:{second:02}Z", "k": key, "v": value}).encode()


class Changing:
    """A topic, and the job that makes another of it."""

    def __init__(self, kafka: Cluster, ferris: Ferris, topic: str, query: str, more: str = "") -> None:
        self._kafka, self._ferris, self._topic = kafka, ferris, topic
        kafka.create_topic(topic)
        text = SOURCE + OUT + query + ";\n"
        ferris.write(app__sql=text.format(topic=topic, servers=kafka.bootstrap_servers, more=more))

    def take(self, *rows: bytes) -> None:
        self._kafka.write(self._topic, list(rows))
        ran = self._ferris("run", "--once", "--drain", "app.sql")
        assert ran.code == 0, ran.err
        audit = self._ferris("audit", "app.sql")
        assert audit.code == 0, audit.out + audit.err

    @property
    def messages(self) -> Sequence[Record]:
        return self._kafka.read(f"{self._topic}-out")

    @property
    def folded(self) -> dict[bytes | None, dict[str, Any]]:
        """The last value of each key; a message without a value deletes."""
        found: dict[bytes | None, dict[str, Any]] = {}
        for message in self.messages:
            found.pop(message.key, None)
            if message.value is not None:
                found[message.key] = json.loads(message.value)
        return found


def test_last_message_of_a_key_is_its_result(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT k, count(*) AS n, sum(v) AS total FROM given GROUP BY k EMIT CHANGES"
    job = Changing(kafka, ferris, topic_name, query)
    job.take(row(1, "a", 1), row(2, "b", 2))
    job.take(row(3, "a", 4), row(4, "c", 8))
    assert job.folded == {
        b"a": {"k": "a", "n": 2, "total": 5},
        b"b": {"k": "b", "n": 1, "total": 2},
        b"c": {"k": "c", "n": 1, "total": 8},
    }


def test_start_of_the_window_joins_the_key(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT k, window_start AS since, sum(v) AS s FROM given GROUP BY k, TUMBLE(at, INTERVAL '10' SECOND)"
    job = Changing(kafka, ferris, topic_name, query + " EMIT CHANGES")
    job.take(row(1, "a", 1), row(12, "a", 2))
    job.take(row(3, "a", 4))
    first, second = "2024-01-01T00:00:00Z", "2024-01-01T00:00:10Z"
    assert job.folded == {
        b'{"k":"a","since":"%s"}' % first.encode(): {"k": "a", "since": first, "s": 5},
        b'{"k":"a","since":"%s"}' % second.encode(): {"k": "a", "since": second, "s": 2},
    }


def test_session_that_disappears_is_deleted(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT k, window_start AS since, count(*) AS n, SET_HEADER('n', count(*)) FROM given"
    job = Changing(kafka, ferris, topic_name, query + " GROUP BY k, SESSION(at, INTERVAL '8' SECOND) EMIT CHANGES")
    job.take(row(10, "a", 1), row(20, "a", 1), row(20, "b", 1))
    assert len(job.folded) == 3
    job.take(row(15, "a", 1))
    deleted = [(message.key, message.headers) for message in job.messages if message.value is None]
    assert deleted == [(b'{"k":"a","since":"2024-01-01T00:00:20Z"}', (("n", b"1"),))]
    assert sorted((each["k"], each["since"][17:19], each["n"]) for each in job.folded.values()) == [
        ("a", "10", 3),
        ("b", "20", 1),
    ]
    job.take(row(5, "a", 1))
    assert sorted((each["k"], each["since"][17:19], each["n"]) for each in job.folded.values()) == [
        ("a", "05", 4),
        ("b", "20", 1),
    ]


def test_windows_that_late_rows_update_are_keyed_by_their_start(
    kafka: Cluster, ferris: Ferris, topic_name: str
) -> None:
    query = "SELECT window_start, sum(v) AS s FROM given GROUP BY TUMBLE(at, INTERVAL '10' SECOND)"
    more = ", 'late.data.strategy' = 'update', 'allowed.lateness' = '1h'"
    job = Changing(kafka, ferris, topic_name, query, more)
    job.take(row(1, "a", 1), row(12, "a", 2), row(3, "a", 4))
    assert {key: each["s"] for key, each in job.folded.items()} == {
        b'"2024-01-01T00:00:00Z"': 5,
        b'"2024-01-01T00:00:10Z"': 2,
    }


def test_retractions_say_what_was_before(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT k, count(*) AS n FROM given GROUP BY k EMIT CHANGES"
    job = Changing(kafka, ferris, topic_name, query, ", 'changelog' = 'retract'")
    job.take(row(1, "a", 1))
    job.take(row(2, "a", 1))
    assert [(message.key, json.loads(message.value or b"")) for message in job.messages] == [
        (b"a", {"op": "+I", "k": "a", "n": 1}),
        (b"a", {"op": "-U", "k": "a", "n": 1}),
        (b"a", {"op": "+U", "k": "a", "n": 2}),
    ]


def test_appended_changes_keep_the_key_of_the_groups(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT k, window_start, sum(v) AS s FROM given GROUP BY k, TUMBLE(at, INTERVAL '10' SECOND) EMIT CHANGES"
    job = Changing(kafka, ferris, topic_name, query, ", 'changelog' = 'append'")
    job.take(row(1, "a", 1), row(12, "a", 2))
    assert [message.key for message in job.messages] == [b"a", b"a"]


def test_debezium_says_old_and_new_value_at_once(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT k, count(*) AS n, sum(v) AS total, SET_HEADER('n', count(*)) FROM given GROUP BY k EMIT CHANGES"
    job = Changing(kafka, ferris, topic_name, query, ", 'changelog' = 'debezium'")
    job.take(row(1, "a", 1), row(2, "b", 2))
    job.take(row(3, "a", 4), row(4, "c", 8), row(5, "b", 1))
    first = {"k": "a", "n": 1, "total": 1}, {"k": "b", "n": 1, "total": 2}
    found = [(message.key, json.loads(message.value or b""), message.headers[0][1]) for message in job.messages]
    assert sorted(found[:2], key=lambda one: one[0]) == [
        (b"a", {"before": None, "after": first[0], "op": "c"}, b"1"),
        (b"b", {"before": None, "after": first[1], "op": "c"}, b"1"),
    ]
    assert sorted(found[2:], key=lambda one: one[0]) == [
        (b"a", {"before": first[0], "after": {"k": "a", "n": 2, "total": 5}, "op": "u"}, b"2"),
        (b"b", {"before": first[1], "after": {"k": "b", "n": 2, "total": 3}, "op": "u"}, b"2"),
        (b"c", {"before": None, "after": {"k": "c", "n": 1, "total": 8}, "op": "c"}, b"1"),
    ]


def test_debezium_of_windows_and_of_single_rows(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    query = "SELECT window_start AS since, sum(v) AS s FROM given GROUP BY TUMBLE(at, INTERVAL '10' SECOND)"
    job = Changing(kafka, ferris, topic_name, query + " EMIT CHANGES", ", 'changelog' = 'debezium'")
    job.take(row(1, "a", 1), row(12, "a", 2))
    job.take(row(3, "a", 4))
    assert {key: (each["before"], each["after"]["s"]) for key, each in job.folded.items()} == {
        b'"2024-01-01T00:00:00Z"': ({"since": "2024-01-01T00:00:00Z", "s": 1}, 5),
        b'"2024-01-01T00:00:10Z"': (None, 2),
    }
    single = Changing(kafka, ferris, f"{topic_name}-2", "SELECT v FROM given", ", 'changelog' = 'debezium'")
    single.take(row(1, "a", 7))
    assert [json.loads(message.value or b"") for message in single.messages] == [
        {"before": None, "after": {"v": 7}, "op": "c"}
    ]


def test_rows_without_groups_are_upserted_by_a_chosen_key(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    job = Changing(kafka, ferris, topic_name, "SELECT v, k PRIMARY KEY FROM given", ", 'changelog' = 'upsert'")
    job.take(row(1, "a", 1), row(2, "b", 2), row(3, "a", 3))
    assert job.folded == {b"a": {"v": 3, "k": "a"}, b"b": {"v": 2, "k": "b"}}


WINDOWED = "FROM given GROUP BY k, TUMBLE(at, INTERVAL '10' SECOND) EMIT CHANGES"


@pytest.mark.parametrize(
    ("sink", "query", "said"),
    [
        (
            "'connector' = 'file', 'path' = 'o.jsonl', 'changelog' = 'upsert'",
            "SELECT k, count(*) AS n FROM given GROUP BY k",
            "'changelog' = 'upsert' needs the keys of messages, and this output has none [E3008]",
        ),
        (
            "'connector' = 'kafka', 'bootstrap.servers' = 'b:1', 'changelog' = 'upsert'",
            f"SELECT k PRIMARY KEY, window_start, count(*) AS n {WINDOWED}",
            "'changelog' = 'upsert' needs a message key that tells the rows of the result apart [E3008]",
        ),
        (
            "'connector' = 'kafka', 'bootstrap.servers' = 'b:1', 'changelog' = 'upsert'",
            f"SELECT k, count(*) AS n {WINDOWED}",
            "this result changes, and the columns that tell its rows apart are not selected [E1203]",
        ),
        (
            "'connector' = 'kafka', 'bootstrap.servers' = 'b:1', 'changelog' = 'upsert'",
            "SELECT k, v FROM given",
            "'changelog' = 'upsert' needs a message key that tells the rows of the result apart [E3008]",
        ),
        (
            "'connector' = 'kafka', 'bootstrap.servers' = 'b:1', 'changelog' = 'append'",
            "SELECT window_start, count(*) AS n FROM given GROUP BY SESSION(at, INTERVAL '1' SECOND) EMIT CHANGES",
            "'changelog' = 'append' cannot say that a session disappears when it grows or merges [E3008]",
        ),
        (
            "'connector' = 'kafka', 'bootstrap.servers' = 'b:1', 'changelog' = 'debezium'",
            "SELECT window_start, count(*) AS n FROM given GROUP BY SESSION(at, INTERVAL '1' SECOND) EMIT CHANGES",
            "'changelog' = 'debezium' needs a topic, and rows that a message key tells apart and that stay [E3008]",
        ),
        (
            "'connector' = 'kafka', 'bootstrap.servers' = 'b:1', 'changelog' = 'debezium', 'format' = 'csv'",
            "SELECT k, count(*) AS n FROM given GROUP BY k",
            "'changelog' = 'debezium' is written as JSON [E3005]",
        ),
    ],
)
def test_changelog_that_cannot_say_the_changes_is_refused(ferris: Ferris, sink: str, query: str, said: str) -> None:
    ferris.write(app__sql=SOURCE.format(topic="t", servers="b:1") + f"CREATE STREAM out WITH ({sink}) AS {query};\n")
    ran = ferris("check", "app.sql")
    assert ran.code == 1
    assert said in ran.err, ran.err


def test_explain_shows_the_key_that_messages_have(ferris: Ferris) -> None:
    sink = "'connector' = 'kafka', 'bootstrap.servers' = 'b:1'"
    source = SOURCE.format(topic="t", servers="b:1")
    for more, shown in (("", "k, window_start"), (", 'changelog' = 'append'", "k"), (", 'key' = 'n'", "n")):
        query = f"SELECT k, window_start, count(*) AS n {WINDOWED}"
        ferris.write(app__sql=f"{source}CREATE STREAM out WITH ({sink}{more}) AS {query};")
        ran = ferris("explain", "app.sql")
        assert ran.code == 0, ran.err
        assert f"message key: {shown}\n" in ran.out
