"""Rows in a file or nowhere, dead letters in a topic of the source's cluster: Kafka decides."""

from __future__ import annotations

import json

import pytest

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

APPLICATION = """\
-- @app: {topic}
CREATE STREAM given (id BIGINT) WITH ({source});
CREATE STREAM out WITH ({sink}, 'failure_strategy' = 'send_to_dlq', 'dlq.topic' = '{topic}-letters') AS
SELECT id FROM given;
"""
TOPIC = "'connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}'"
FILE = "'connector' = 'file', 'path' = 'out.jsonl'"

BAD = Record(b'{"id": "one"}', b"key", (("trace", b"\x00"),))


def write(ferris: Ferris, kafka: Cluster, topic: str, source: str = TOPIC, sink: str = FILE) -> None:
    source = source.format(servers=kafka.bootstrap_servers, topic=topic)
    ferris.write(app__sql=APPLICATION.format(topic=topic, source=source, sink=sink))


def rows(ferris: Ferris) -> list[int]:
    return [json.loads(line)["id"] for line in (ferris.folder / "out.jsonl").read_text().splitlines()]


@pytest.fixture
def topic(kafka: Cluster, ferris: Ferris, topic_name: str) -> str:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b'{"id": 1}', BAD, b'{"id": 2}'])
    write(ferris, kafka, topic_name)
    return topic_name


def test_letters_are_in_the_topic_rows_in_the_file_and_the_audit_counts_both(
    ferris: Ferris, kafka: Cluster, topic: str
) -> None:
    killed = ferris("run", "app.sql", "--once", FERRIS_FAULT="after_prepare:2")
    assert killed.code == -9
    assert kafka.read(f"{topic}-letters") == []
    ran = ferris("run", "app.sql", "--once")
    assert ran.code == 0, ran.err
    assert rows(ferris) == [1, 2]
    (letter,) = kafka.read(f"{topic}-letters")
    assert (letter.key, letter.value, letter.headers[0]) == (BAD.key, BAD.value, BAD.headers[0])
    assert not list(ferris.folder.glob("*.dlq.jsonl"))
    audited = ferris("audit", "app.sql")
    assert audited.code == 0, audited.out
    assert "accounted for" in audited.out


@pytest.mark.parametrize("sink", [FILE, "'connector' = 'blackhole'", "'connector' = 'stdout'"])
def test_letters_go_to_a_topic_by_default_whatever_the_output_is(
    sink: str, ferris: Ferris, kafka: Cluster, topic: str
) -> None:
    write(ferris, kafka, topic, sink=sink)
    text = (ferris.folder / "app.sql").read_text()
    ferris.write(app__sql=text.replace(f", 'dlq.topic' = '{topic}-letters'", ""))
    for _ in range(2):
        ran = ferris("run", "app.sql", "--once")
        assert ran.code == 0, ran.err
    assert [letter.value for letter in kafka.read(f"{topic}.out.dlq")] == [BAD.value]
    assert not list(ferris.folder.glob("*.dlq.jsonl*"))
    done = ferris("dlq", "replay", "app.sql", "-o", "json")
    assert json.loads(done.out)["jobs"][0]["replayed"] == 1, done.err
    assert kafka.read(topic)[-1].value == BAD.value


def test_letters_that_get_another_place_begin_there(ferris: Ferris, kafka: Cluster, topic: str) -> None:
    in_topic = (ferris.folder / "app.sql").read_text()
    in_file = in_topic.replace(f"'dlq.topic' = '{topic}-letters'", "'dlq.path' = 'letters.jsonl'")
    for text, place in ((in_file, "letters.jsonl"), (in_topic, f"{topic}-letters"), (in_file, "letters-2.jsonl")):
        ferris.write(app__sql=text.replace("letters.jsonl", place))
        kafka.write(topic, [BAD])
        ran = ferris("run", "app.sql", "--once")
        assert ran.code == 0, ran.err
    assert [len((ferris.folder / name).read_bytes().splitlines()) for name in ("letters.jsonl", "letters-2.jsonl")] == [
        2,
        1,
    ]
    assert len(kafka.read(f"{topic}-letters")) == 1
    audited = ferris("audit", "app.sql")
    assert audited.code == 0, audited.out


def test_letters_are_replayed_and_purged(ferris: Ferris, kafka: Cluster, topic: str) -> None:
    assert ferris("run", "app.sql", "--once").code == 0
    done = ferris("dlq", "replay", "app.sql", "-o", "json")
    assert json.loads(done.out)["jobs"][0]["replayed"] == 1, done.err
    assert kafka.read(topic)[-1].value == BAD.value
    assert ferris("run", "app.sql", "--once").code == 0
    assert len(kafka.read(f"{topic}-letters")) == 2
    assert ferris("dlq", "purge", "app.sql", "--yes").code == 0
    assert json.loads(ferris("dlq", "list", "app.sql", "-o", "json").out)["letters"] == []
    audited = ferris("audit", "app.sql")
    assert audited.code == 0, audited.out


def test_lost_state_is_refused_and_not_rebuilt(ferris: Ferris, topic: str) -> None:
    assert ferris("run", "app.sql", "--once").code == 0
    (ferris.folder / ".ferris").rename(ferris.folder / "lost")
    assert "E5003" in ferris("run", "app.sql", "--once", "--overwrite", "--yes").err
    refused = ferris("state", "rebuild", "app.sql")
    assert refused.code == 1
    assert "its rows are in a file" in refused.err
    assert ferris("state", "reset", "app.sql", "--yes").code == 0
    assert ferris("run", "app.sql", "--once", "--overwrite", "--yes").code == 0
    assert rows(ferris) == [1, 2]


def test_epoch_that_nobody_can_decide_any_more_is_not_guessed(ferris: Ferris, topic: str) -> None:
    assert ferris("run", "app.sql", "--once", FERRIS_FAULT="after_prepare:2").code == -9
    text = (ferris.folder / "app.sql").read_text()
    ferris.write(app__sql=text.replace(f"'dlq.topic' = '{topic}-letters'", "'dlq.path' = 'letters.jsonl'"))
    refused = ferris("run", "app.sql", "--once")
    assert refused.code == 1
    assert "run it once as it was" in refused.err
    ferris.write(app__sql=text)
    assert ferris("run", "app.sql", "--once").code == 0
    assert rows(ferris) == [1, 2]


@pytest.mark.parametrize(
    ("source", "sink", "why"),
    [
        ("'connector' = 'file', 'path' = 'in.jsonl'", FILE, "[E3005]"),
        (TOPIC, FILE + ", 'dlq.path' = 'letters.jsonl'", "two places of dead letters [E3003]"),
    ],
)
def test_letters_that_no_transaction_can_have_are_refused(
    source: str, sink: str, why: str, ferris: Ferris, kafka: Cluster, topic: str
) -> None:
    (ferris.folder / "in.jsonl").write_text('{"id": 1}\n')
    write(ferris, kafka, topic, source, sink)
    refused = ferris("run", "app.sql", "--once")
    assert refused.code == 1
    assert why in refused.err
    assert not (ferris.folder / "out.jsonl").exists()
