"""`ferris audit` after what it counts was taken away."""

from __future__ import annotations

import json

import pytest

from tests.broker import Cluster
from tests.surfaces.applications import LINES, TRADES
from tests.surfaces.conftest import Ferris

COPY = (
    TRADES
    + """
CREATE STREAM copied WITH ('connector' = 'file', 'path' = '{path}', 'failure_strategy' = 'send_to_dlq'{more}) AS
SELECT * FROM trades;
"""
)


@pytest.mark.parametrize("gone", ["copied.jsonl", "app.copied.dlq.jsonl"])
def test_file_that_is_gone_is_told_beside_what_could_be_checked(ferris: Ferris, gone: str) -> None:
    ferris.write(app__sql=COPY.format(path="copied.jsonl", more=""), trades__jsonl=LINES)
    assert ferris("run", "app.sql").code == 0
    (ferris.folder / gone).unlink()
    ran = ferris("audit", "app.sql")
    assert ran.code == 1
    assert f"{ferris.folder / gone} is gone [E5003]" in ran.err
    assert "do not add up" in ran.out
    assert "read = the sum of its outcomes" in ran.out
    (job,) = json.loads(ferris("audit", "app.sql", "-o", "json").out)["jobs"]
    assert [loss["code"] for loss in job["losses"]] == ["E5003"]
    assert not job["ok"]


def test_letters_that_had_another_place_before_are_not_missed(ferris: Ferris) -> None:
    ferris.write(app__sql=COPY.format(path="copied.jsonl", more=""), trades__jsonl=LINES + "no trade\n")
    assert ferris("run", "app.sql").code == 0
    ferris.write(app__sql=COPY.format(path="copied.jsonl", more=", 'dlq.path' = 'letters.jsonl'"))
    for _ in range(2):
        with (ferris.folder / "trades.jsonl").open("a") as file:
            file.write("no trade either\n")
        assert ferris("run", "app.sql").code == 0
    assert (ferris.folder / "letters.jsonl").read_bytes().count(b"\n") == 2
    ran = ferris("audit", "app.sql")
    assert ran.code == 0, ran.out + ran.err
    assert "the dead letters had another place before" in ran.out


def test_rotated_file_that_is_gone_is_missed(ferris: Ferris) -> None:
    text = COPY.format(path="out/copied-{n}.jsonl", more=", 'rotate.rows' = 2")
    ferris.write(app__sql=text, trades__jsonl=LINES)
    (ferris.folder / "out").mkdir()
    ran = ferris("run", "app.sql")
    assert ran.code == 0, ran.err
    min((ferris.folder / "out").glob("copied-*")).unlink()
    ran = ferris("audit", "app.sql")
    assert (ran.code, ran.err) == (1, "")
    assert "differs" in ran.out


def test_topics_that_are_gone_are_told(ferris: Ferris, kafka: Cluster, topic_name: str) -> None:
    address = f"'connector' = 'kafka', 'bootstrap.servers' = '{kafka.bootstrap_servers}'"
    ferris.write(
        app__sql=f"-- @app: {topic_name}\nCREATE STREAM given (id INT) WITH ({address}, 'topic' = '{topic_name}');\n"
        f"CREATE STREAM out WITH ({address}, 'topic' = '{topic_name}-out', 'create.topic' = true,"
        " 'failure_strategy' = 'send_to_dlq') AS SELECT id FROM given;\n"
    )
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b'{"id": 1}', b"x"])
    assert ferris("run", "--once", "app.sql").code == 0
    for topic in (f"{topic_name}-out", f"{topic_name}.out.dlq", topic_name):
        kafka.topics.delete(topic)
        ran = ferris("audit", "app.sql")
        assert ran.code == 1
        assert f"the topic {topic} is gone" in ran.err
        assert "E4103" in ran.err
