"""`ferris dlq` over topics: letters with all their headers, replayed each once, purged."""

from __future__ import annotations

import json

import pytest

from ferrisstreams.runtime.faults import REPLAY_POINTS
from tests.broker import Cluster
from tests.surfaces.conftest import Ferris
from tests.surfaces.kafka_letters import BAD, bare, run_over_bad

APPLICATION = """\
-- @app: {topic}
CREATE STREAM given (id BIGINT)
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}', 'startup' = 'earliest');

CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}-out',
    'create.topic' = 'true', 'failure_strategy' = 'send_to_dlq') AS SELECT id FROM given;
"""


@pytest.fixture
def topic(kafka: Cluster, ferris: Ferris, topic_name: str) -> str:
    """A topic whose job has run: two good records, three letters."""
    run_over_bad(kafka, ferris, topic_name, APPLICATION)
    return topic_name


def listed(ferris: Ferris, *arguments: str) -> list[dict[str, object]]:
    done = ferris("dlq", "list", "app.sql", "-o", "json", *arguments)
    assert done.code == 0, done.err
    return list(json.loads(done.out)["letters"])


def test_letters_of_a_topic_are_shown_with_all_headers(ferris: Ferris, topic: str) -> None:
    shown = json.loads(ferris("dlq", "show", "app.sql", "-o", "json").out)["letters"]
    assert [one["headers"]["ferris.code"] for one in shown] == ["E2104", "E2107", "E2101"]
    assert [one["id"] for one in shown] == ["0.0", "0.1", "0.2"]
    assert shown[0]["original_headers"] == [["trace", "AAE="], ["empty", None], ["trace", "YWdhaW4="]]
    assert shown[0]["headers"] == shown[0]["headers"] | {
        "__connect.errors.topic": topic,
        "__connect.errors.partition": "0",
        "__connect.errors.offset": "1",
        "__connect.errors.connector.name": "kafka",
        "ferris.job": f"{topic}.out",
        "ferris.attempts": "1",
    }
    assert [one["code"] for one in listed(ferris, "--where", "partition = 'x' OR code = 'E2107'")] == ["E2107"]


def test_replay_into_the_topic_is_byte_for_byte_and_once_wherever_it_is_killed(
    kafka: Cluster, ferris: Ferris, topic: str
) -> None:
    dry = json.loads(ferris("dlq", "replay", "app.sql", "--dry-run", "-o", "json").out)["jobs"][0]
    assert (dry["replayed"], dry["target"]) == (3, topic)
    assert len(kafka.read(topic)) == 5
    for point in REPLAY_POINTS[:2]:
        killed = ferris("dlq", "replay", "app.sql", FERRIS_FAULT=f"{point}:1")
        assert killed.code == -9, killed.err
        assert len(kafka.read(topic)) == 5
    for replayed in (3, 0):
        done = ferris("dlq", "replay", "app.sql", "-o", "json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["jobs"][0]["replayed"] == replayed
    assert [bare(record) for record in kafka.read(topic)[5:]] == [bare(record) for record in BAD]
    assert {one["state"] for one in listed(ferris)} == {"replayed"}


def test_record_that_keeps_coming_back_to_a_topic_is_quarantined(kafka: Cluster, ferris: Ferris, topic: str) -> None:
    limit = ("--set", "dlq.max_replays=2", "--code", "E2107")
    for _ in range(2):
        assert ferris("dlq", "replay", "app.sql", *limit).code == 0
        assert ferris("run", "app.sql", "--once").code == 0
    assert "out: 0 replayed" in ferris("dlq", "replay", "app.sql", *limit).out
    found = [(one["state"], one["replays"]) for one in listed(ferris, *limit)]
    assert found == [("replayed", 0), ("replayed", 1), ("quarantined", 2)]
    records = [record for record in kafka.read(topic) if record.value == BAD[1].value]
    assert [dict(record.headers).get("ferris.replays") for record in records] == [None, b"1", b"2"]


def test_purged_letters_of_a_topic_are_hidden_and_the_first_ones_deleted(
    kafka: Cluster, ferris: Ferris, topic: str
) -> None:
    assert "1 purged" in ferris("dlq", "purge", "app.sql", "--code", "E2107", "--yes").out
    assert [one["code"] for one in listed(ferris)] == ["E2104", "E2101"]
    assert len(kafka.read(f"{topic}.out.dlq")) == 3
    assert "1 purged" in ferris("dlq", "purge", "app.sql", "--code", "E2104", "--yes").out
    assert [one["code"] for one in listed(ferris)] == ["E2101"]
    assert [record.key for record in kafka.read(f"{topic}.out.dlq")] == [b"twice"]


def test_replay_into_a_topic_that_is_wrong_is_refused(ferris: Ferris, topic: str) -> None:
    for target, code in ((f"{topic}-out", "E4006"), (f"{topic}.out.dlq", "E4006"), (f"{topic}-none", "E4103")):
        done = ferris("dlq", "replay", "app.sql", "--to", target)
        assert done.code == 1
        assert f"[{code}]" in done.err
    assert {one["state"] for one in listed(ferris)} == {"waiting"}
