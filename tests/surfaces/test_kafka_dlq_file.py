"""Letters in a file of a job that reads a topic: they go back to the topic, each once."""

from __future__ import annotations

import base64
import json

import pytest

from ferrisstreams.runtime.faults import REPLAY_POINTS
from tests.broker import Cluster
from tests.surfaces.conftest import Ferris
from tests.surfaces.kafka_letters import BAD, bare, run_over_bad

APPLICATION = """\
-- @app: {topic}
CREATE STREAM given (id BIGINT)
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}');

CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl', 'failure_strategy' = 'send_to_dlq',
    'dlq.path' = 'letters.jsonl') AS
SELECT id FROM given;
"""


@pytest.fixture
def topic(kafka: Cluster, ferris: Ferris, topic_name: str) -> str:
    """A topic whose job has run: two good records, three letters in a file."""
    run_over_bad(kafka, ferris, topic_name, APPLICATION)
    return topic_name


def listed(ferris: Ferris, *arguments: str) -> list[tuple[object, object]]:
    """State and replays of each letter."""
    done = ferris("dlq", "list", "app.sql", "-o", "json", *arguments)
    assert done.code == 0, done.err
    return [(one["state"], one["replays"]) for one in json.loads(done.out)["letters"]]


def replayed(ferris: Ferris, *arguments: str) -> int:
    done = ferris("dlq", "replay", "app.sql", "-o", "json", *arguments)
    assert done.code == 0, done.err
    return int(json.loads(done.out)["jobs"][0]["replayed"])


def came_back(kafka: Cluster, topic: str) -> list[tuple[object, ...]]:
    return [bare(record) for record in kafka.read(topic)[5:]]


def test_records_go_back_byte_for_byte_and_once_wherever_the_command_is_killed(
    kafka: Cluster, ferris: Ferris, topic: str
) -> None:
    assert replayed(ferris, "--dry-run") == 3
    for point in REPLAY_POINTS[:2]:
        assert ferris("dlq", "replay", "app.sql", FERRIS_FAULT=f"{point}:1").code == -9
        assert came_back(kafka, topic) == []
        assert {state for state, _ in listed(ferris)} == {"waiting"}
    assert replayed(ferris, "--code", "E2104") == 1
    assert [state for state, _ in listed(ferris)] == ["replayed", "waiting", "waiting"]
    assert [replayed(ferris) for _ in range(2)] == [2, 0]
    assert came_back(kafka, topic) == [bare(record) for record in BAD]


def test_brokers_that_forget_offsets_do_not_forget_what_was_replayed(
    kafka: Cluster, ferris: Ferris, topic: str
) -> None:
    assert replayed(ferris, "--code", "E2107") == 1
    kafka.topics.forget_group(f"{topic}.out.dlq")
    assert [replayed(ferris) for _ in range(2)] == [2, 0]
    assert len(came_back(kafka, topic)) == 3


def test_letter_that_a_file_may_have_can_be_sent_to_the_topic(kafka: Cluster, ferris: Ferris, topic: str) -> None:
    to_file = ("dlq", "replay", "app.sql", "--to", "there.jsonl", "--code", "E2107")
    assert ferris(*to_file, FERRIS_FAULT=f"{REPLAY_POINTS[0]}:1").code == -9
    (ferris.folder / "there.jsonl").write_text("of another program")
    assert replayed(ferris) == 2
    assert [state for state, _ in listed(ferris)] == ["replayed", "unsure", "replayed"]
    again = ("dlq", "replay", "app.sql", "--state", "unsure")
    assert ferris(*again, FERRIS_FAULT=f"{REPLAY_POINTS[1]}:1").code == -9
    assert [state for state, _ in listed(ferris)] == ["replayed", "unsure", "replayed"]
    assert replayed(ferris, "--state", "unsure") == 1
    assert {state for state, _ in listed(ferris)} == {"replayed"}


def test_record_that_keeps_coming_back_is_quarantined(kafka: Cluster, ferris: Ferris, topic: str) -> None:
    limit = ("--set", "dlq.max_replays=2", "--code", "E2107")
    for _ in range(2):
        assert replayed(ferris, *limit) == 1
        assert ferris("run", "app.sql", "--once").code == 0
    assert replayed(ferris, *limit) == 0
    assert listed(ferris, *limit) == [("replayed", 0), ("replayed", 1), ("quarantined", 2)]
    sent = [record for record in kafka.read(topic) if record.value == BAD[1].value]
    counts = [dict(record.headers).get("ferris.replays") for record in sent]
    assert counts == [None, b"1", b"2"]
    audit = ferris("audit", "app.sql")
    assert audit.code == 0, audit.out + audit.err


def test_file_can_still_be_named_and_takes_no_record_without_a_value(ferris: Ferris, topic: str) -> None:
    letters = ferris.folder / "letters.jsonl"
    text, value = letters.read_text(), json.dumps(base64.b64encode(BAD[2].value or b"").decode())
    assert value in text
    # As former versions wrote the letters of records without a value.
    letters.write_text(text.replace(value, "null".ljust(len(value))))
    done = ferris("dlq", "replay", "app.sql", "--to", "there.jsonl")
    assert done.code == 0, done.err
    assert "2 replayed" in done.out
    assert "1 left: a record without a value" in done.out
    assert (ferris.folder / "there.jsonl").read_bytes() == b'{"id": "one"}\n\xff\xfe not json\n'


def test_replay_that_cannot_begin_changes_nothing(kafka: Cluster, ferris: Ferris, topic: str) -> None:
    done = ferris("dlq", "replay", "app.sql", "--set", f"topic={topic}-none")
    assert done.code == 1
    assert "[E4103]" in done.err
    assert {state for state, _ in listed(ferris)} == {"waiting"}
    assert replayed(ferris) == 3
    assert len(came_back(kafka, topic)) == 3
