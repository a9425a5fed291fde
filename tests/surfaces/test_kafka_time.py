"""Windows on the time of a topic's records, through the command."""

from __future__ import annotations

import json
import shutil

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

START_MS = 1_704_067_200_000
APPLICATION = """-- @app: {topic}
CREATE STREAM given (id BIGINT) WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}');
CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}-out',
    'create.topic' = 'true', 'failure_strategy' = 'send_to_dlq') AS
SELECT window_start, count(*) AS n, sum(id) AS total, max(_event_time) AS latest
FROM given GROUP BY TUMBLE(INTERVAL '10' SECOND);
"""


def at(second: float, value: bytes) -> Record:
    return Record(value, timestamp_ms=START_MS + round(second * 1000), partition=0)


def application(kafka: Cluster, ferris: Ferris, topic: str) -> None:
    kafka.create_topic(topic)
    ferris.write(app__sql=APPLICATION.format(topic=topic, servers=kafka.bootstrap_servers))


def windows(kafka: Cluster, topic: str) -> list[tuple[str, int, int, str]]:
    rows = [json.loads(record.value or b"") for record in kafka.read(f"{topic}-out")]
    return [(row["window_start"][11:19], row["n"], row["total"], row["latest"][11:-1]) for row in rows]


def test_windows_close_by_the_times_of_the_records(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    application(kafka, ferris, topic_name)
    kafka.write(
        topic_name, [at(1, b'{"id": 1}'), at(12.5, b'{"id": 2}'), at(9, b'{"id": 4}'), at(19.999, b'{"id": 8}')]
    )
    ran = ferris("run", "--once", "--drain", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert (ran.job["ledger"]["absorbed"], ran.job["ledger"]["late"]) == (3, 1)
    assert windows(kafka, topic_name) == [("00:00:00", 1, 1, "00:00:01"), ("00:00:10", 2, 10, "00:00:19.999000")]
    kafka.write(topic_name, [at(15, b'{"id": 16}'), at(20, b'{"id": 32}')])
    ran = ferris("run", "--once", "--drain", "-o", "json", "app.sql")
    assert (ran.job["ledger"]["absorbed"], ran.job["ledger"]["late"]) == (4, 2), "its window had been emitted"
    assert windows(kafka, topic_name)[2:] == [("00:00:20", 1, 32, "00:00:20")]
    audit = ferris("audit", "app.sql")
    assert audit.code == 0, audit.out + audit.err
    assert "event time: _timestamp (the time of the record)" in ferris("explain", "app.sql").out


def test_second_reading_of_a_topic_gives_the_same(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    """Nothing of the result is the clock's: the records' times are kept with them."""
    application(kafka, ferris, topic_name)
    kafka.write(topic_name, [at(n * 0.7 % 50, b'{"id": %d}' % n) for n in range(500)])
    assert ferris("run", "--once", "--drain", "app.sql").code == 0
    first = windows(kafka, topic_name)
    text = APPLICATION.format(topic=topic_name, servers=kafka.bootstrap_servers)
    again = text.replace("-- @app: ", "-- @app: again-").replace(f"'{topic_name}-out'", f"'{topic_name}-again-out'")
    ferris.write(again__sql=again)
    for batch in ("--set batch.size=7", ""):
        ferris("run", "--once", "--drain", *batch.split(), "again.sql")
    assert windows(kafka, f"{topic_name}-again") == first
    assert sum(n for _, n, _, _ in first) > 70


def test_record_that_is_replayed_is_in_the_window_of_its_first_time(
    kafka: Cluster, ferris: Ferris, topic_name: str
) -> None:
    application(kafka, ferris, topic_name)
    kafka.write(topic_name, [at(1, b'{"id": 1}'), at(2, b'{"id": "x"}')])
    ran = ferris("run", "--once", "--drain", "app.sql")
    assert ran.code == 0, ran.err
    assert ferris("dlq", "replay", "app.sql").code == 0
    _, second, replayed = kafka.read(topic_name)
    assert (replayed.value, replayed.timestamp_ms) == (second.value, second.timestamp_ms)


def test_lost_state_is_made_again_with_the_times_of_the_records(
    kafka: Cluster, ferris: Ferris, topic_name: str
) -> None:
    application(kafka, ferris, topic_name)
    kafka.write(topic_name, [at(1, b'{"id": 1}'), at(12, b'{"id": 2}'), at(3, b'{"id": 4}')])
    assert ferris("run", "--once", "--drain", "app.sql").code == 0
    shutil.rmtree(ferris.folder / ".ferris")
    made = ferris("state", "rebuild", "app.sql")
    assert made.code == 0, made.err
    kafka.write(topic_name, [at(14, b'{"id": 8}'), at(25, b'{"id": 16}')])
    ran = ferris("run", "--once", "--drain", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert windows(kafka, topic_name) == [
        ("00:00:00", 1, 1, "00:00:01"),
        ("00:00:10", 1, 2, "00:00:12"),
        ("00:00:20", 1, 16, "00:00:25"),
    ]
    assert ran.job["ledger"]["late"] == 2, "one by its own time, one because its window had been emitted"
