"""`ferris offsets`: where a job is in its topic, and sending it elsewhere."""

from __future__ import annotations

import json

import duckdb
import pytest

from ferrisstreams.connectors.kafka.records import Record
from tests.broker import Cluster
from tests.surfaces.conftest import Ferris

APPLICATION = """\
-- @app: {topic}{name}
CREATE STREAM events (id INT, k TEXT) WITH
('connector' = 'kafka', 'topic' = '{topic}', 'bootstrap.servers' = '{servers}');
CREATE STREAM copied WITH
('connector' = 'kafka', 'topic' = '{topic}-out', 'bootstrap.servers' = '{servers}', 'create.topic' = true) AS
SELECT {columns} FROM events {group};
"""


@pytest.fixture
def ran(ferris: Ferris, kafka: Cluster, topic_name: str) -> Ferris:
    kafka.create_topic(topic_name, 2)
    records = [Record(json.dumps({"id": number, "k": "a"}).encode(), partition=number % 2) for number in range(9)]
    kafka.write(topic_name, records)
    for name, columns, group in (("app", "id, k", ""), ("grouped", "k, count(*) AS n", "GROUP BY k EMIT CHANGES")):
        text = APPLICATION.format(
            name=name, topic=topic_name, servers=kafka.bootstrap_servers, columns=columns, group=group
        )
        ferris.write(**{f"{name}__sql": text})
    assert ferris("run", "app.sql", "--once").code == 0
    return ferris


def test_positions_are_shown_beside_what_is_committed(ran: Ferris, topic_name: str) -> None:
    found = json.loads(ran("offsets", "app.sql", "-o", "json").out)["jobs"]["copied"]
    names = ("partition", "position", "committed", "end", "lag")
    assert [tuple(each[name] for name in names) for each in found] == [
        (f"{topic_name}-0", 5, 5, 5, 0),
        (f"{topic_name}-1", 4, 4, 4, 0),
    ]
    assert f"{topic_name}-1" in ran("offsets", "app.sql").out


def test_job_goes_on_where_it_was_sent(ran: Ferris, kafka: Cluster, topic_name: str) -> None:
    looked = ran("offsets", "app.sql", "--to", "offsets:0:4,1:4", "--dry-run")
    assert "would be at 4" in looked.out
    assert ran("run", "app.sql", "--once", "-o", "json").job["rows"] == 0
    moved = ran("offsets", "app.sql", "--to", "offsets:0:4,1:4")
    assert moved.code == 0, moved.err
    assert ran("run", "app.sql", "--once", "-o", "json").job["rows"] == 1
    assert [json.loads(record.value or b"")["id"] for record in kafka.read(f"{topic_name}-out")].count(8) == 2
    audited = ran("audit", "app.sql")
    assert audited.code == 0
    assert "moved by hand" in audited.out


def made_anew(kafka: Cluster, topic: str) -> None:
    """The topic, deleted and made again with more records than it had."""
    kafka.topics.delete(topic)
    kafka.create_topic(topic, 2)
    records = [
        Record(json.dumps({"id": number, "k": "b"}).encode(), partition=number % 2) for number in range(100, 120)
    ]
    kafka.write(topic, records)


def test_job_of_a_topic_that_was_made_anew_is_refused_until_it_is_sent_there(
    ran: Ferris, kafka: Cluster, topic_name: str
) -> None:
    made_anew(kafka, topic_name)
    for _ in range(2):
        refused = ran("run", "app.sql", "--once")
        assert refused.code == 1
        assert "E4111" in refused.err
        assert "ferris state reset" in refused.err
        assert "ferris offsets --to earliest" in refused.err
    assert ran("offsets", "app.sql", "--to", "earliest").code == 0
    assert ran("run", "app.sql", "--once", "-o", "json").job["rows"] == 20
    assert ran("run", "app.sql", "--once", "-o", "json").job["rows"] == 0
    written = sorted(json.loads(record.value or b"")["id"] for record in kafka.read(f"{topic_name}-out"))
    assert written == [*range(9), *range(100, 120)]


def test_state_without_an_id_takes_over_that_of_the_topic(ran: Ferris, kafka: Cluster, topic_name: str) -> None:
    with duckdb.connect(str(ran.folder / ".ferris" / f"{topic_name}app" / "copied" / "state.duckdb")) as state:
        for epoch, text in state.execute("SELECT epoch, content FROM epochs").fetchall():
            content = json.loads(text)
            assert set(content.pop("identities")) == {topic_name}
            state.execute("UPDATE epochs SET content = ? WHERE epoch = ?", [json.dumps(content), epoch])
    kafka.write(topic_name, [b'{"id": 9, "k": "a"}'])
    assert ran("run", "app.sql", "--once", "-o", "json").job["rows"] == 1
    made_anew(kafka, topic_name)
    assert "E4111" in ran("run", "app.sql", "--once").err


def test_job_with_state_of_a_topic_that_was_made_anew_begins_anew_after_a_reset(
    ran: Ferris, kafka: Cluster, topic_name: str
) -> None:
    assert ran("run", "grouped.sql", "--once").code == 0
    made_anew(kafka, topic_name)
    assert "E4111" in ran("run", "grouped.sql", "--once").err
    assert ran("state", "reset", "grouped.sql", "--yes").code == 0
    assert ran("run", "grouped.sql", "--once", "-o", "json").job["rows"] == 20


def test_job_with_state_is_not_moved(ran: Ferris) -> None:
    refused = ran("offsets", "grouped.sql", "--to", "earliest")
    assert refused.code == 1
    assert "state reset" in refused.err


def test_place_that_is_none_is_refused(ran: Ferris) -> None:
    wrong = ran("offsets", "app.sql", "--to", "yesterday")
    assert wrong.code == 1
    assert "--to yesterday" in wrong.err
