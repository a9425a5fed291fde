"""`ferris state`: what a job keeps, shown, and given up so that the job starts over."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from contextlib import suppress

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.broker import Cluster
from tests.surfaces.conftest import WAIT_SECONDS, WAITS_MAX, Ferris, Ran

APPLICATION = """\
CREATE STREAM trades (ts TIMESTAMP, symbol TEXT, qty INTEGER, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'file', 'path' = 'trades.jsonl');
CREATE STREAM counts WITH ('connector' = 'file', 'path' = 'counts.jsonl') AS
SELECT symbol, count(*) AS n FROM trades GROUP BY symbol EMIT CHANGES;
"""

RECORDS = "".join(f'{{"ts": "2024-01-01T09:00:0{n}Z", "symbol": "s{n % 2}", "qty": {n}}}\n' for n in range(5))


@pytest.fixture
def ran(ferris: Ferris) -> Ferris:
    ferris.write(app__sql=APPLICATION, trades__jsonl=RECORDS)
    assert ferris("run", "app.sql").code == 0
    return ferris


def test_state_is_shown(ran: Ferris) -> None:
    shown = json.loads(ran("state", "show", "app.sql", "-o", "json").out)["jobs"][0]
    assert (shown["job"], shown["rows"], shown["watermark"]) == ("counts", 2, "2024-01-01T09:00:03Z")
    assert (shown["confirmed"], shown["token"], shown["ledger"]["absorbed"]) == (True, None, 5)
    assert shown["positions"]["trades.jsonl"]["offset"] == len(RECORDS)
    table = ran("state", "show", "app.sql").out
    assert "position of trades.jsonl" in table
    assert shown["state_id"] in table


def test_job_that_was_reset_begins_anew(ran: Ferris) -> None:
    done = ran("state", "reset", "app.sql", "--yes")
    assert done.code == 0
    assert "counts: deleted" in done.out
    assert not (ran.folder / ".ferris" / "app" / "counts").exists()
    refused = ran("run", "app.sql")
    assert refused.code == 1
    assert "--overwrite" in refused.err
    again = ran("run", "app.sql", "--overwrite", "--yes", "-o", "json")
    assert again.job["ledger"]["read"] == 5


def test_reset_asks_first(ran: Ferris) -> None:
    done = ran("state", "reset", "app.sql")
    assert done.code == 2
    assert "--yes" in done.err
    assert (ran.folder / ".ferris" / "app" / "counts" / "state.duckdb").exists()


def test_state_that_is_not_there_or_to_be_deleted_while_it_is_in_use_is_an_error(ferris: Ferris) -> None:
    ferris.write(
        app__sql=APPLICATION.replace("'trades.jsonl'", "'trades.jsonl', 'watch' = true"), trades__jsonl=RECORDS
    )
    missing = ferris("state", "show", "app.sql")
    assert missing.code == 1
    assert "E5003" in missing.err
    assert "nothing to do" in ferris("state", "reset", "app.sql", "--yes").out
    ferris.wait_for(ferris.start("run", "app.sql"), "counts.jsonl", 2)
    held = ferris("state", "reset", "app.sql", "--yes")
    assert held.code == 1
    assert "E5001" in held.err


def test_select_alone_keeps_none(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION.split("CREATE STREAM counts")[0] + "SELECT * FROM trades;")
    assert ferris("state", "show", "app.sql").code == 2


TOPICS = """\
-- @app: {topic}
CREATE STREAM events (ts TIMESTAMP, k TEXT, v INT, WATERMARK FOR ts AS ts) WITH
('connector' = 'kafka', 'topic' = '{topic}', 'bootstrap.servers' = '{servers}');
CREATE STREAM counts WITH ('connector' = 'kafka', 'topic' = '{topic}-out', 'bootstrap.servers' = '{servers}',
'create.topic' = true, 'failure_strategy' = 'send_to_dlq') AS
SELECT {window} k, count(*) AS n, sum(v) AS total FROM events GROUP BY k {group};
"""


def events(first: int, last: int) -> list[bytes]:
    times = (f"2024-01-01T09:{number // 60:02}:{number % 60:02}Z" for number in range(first, last))
    return [
        json.dumps({"ts": ts, "k": f"k{number % 3}", "v": number if number % 50 != 7 else "x"}).encode()
        for number, ts in enumerate(times, first)
    ]


@pytest.mark.parametrize(
    ("window", "group"),
    [("window_start,", ", TUMBLE(ts, INTERVAL '1' MINUTE)"), ("", "EMIT CHANGES")],
    ids=["windows", "changes"],
)
@pytest.mark.parametrize("once", [True, False], ids=["ended", "stopped"])
def test_lost_state_is_made_again_from_the_topic(
    ferris: Ferris, kafka: Cluster, topic_name: str, window: str, group: str, once: bool
) -> None:
    kafka.create_topic(topic_name)
    text = TOPICS.format(topic=topic_name, servers=kafka.bootstrap_servers, window=window, group=group)
    ferris.write(app__sql=text)
    kafka.write(topic_name, events(0, 400))
    first = (
        ferris("run", "app.sql", "-o", "json", "--once", "--drain")
        if once
        else run_until(ferris, kafka, topic_name, 400)
    )
    assert first.code == 0, first.err
    kept = json.loads(ferris("state", "show", "app.sql", "-o", "json").out)["jobs"][0]
    shutil.move(ferris.folder / ".ferris", ferris.folder / "lost")
    refused = ferris("run", "app.sql", "--once")
    assert refused.code == 1
    assert "state rebuild" in refused.err
    done = ferris("state", "rebuild", "app.sql")
    assert done.code == 0, done.err
    assert "read 400 records again" in done.out
    made = json.loads(ferris("state", "show", "app.sql", "-o", "json").out)["jobs"][0]
    same = ("state_id", "epoch", "positions", "watermark", "ledger", "token")
    assert {name: made[name] for name in same} == {name: kept[name] for name in same}
    kafka.write(topic_name, events(400, 800))
    assert ferris("run", "app.sql", "--once", "--drain").code == 0
    assert ferris("audit", "app.sql").code == 0
    rows = [json.loads(record.value or b"") for record in kafka.read(f"{topic_name}-out")]
    assert max(row["n"] for row in rows if row["k"] == "k0") == (20 if window else 262)
    if window:
        # The end of the first run closed the minute from record 360 on: 19 good records of it came late.
        assert sum(row["n"] for row in rows) == 800 - 16 - (19 if once else 0)


def run_until(ferris: Ferris, kafka: Cluster, topic: str, position: int) -> Ran:
    """Run until the position is committed, and stop in order."""
    process = ferris.start("run", "app.sql", "-o", "json")
    group = Consumer({**kafka.properties, "group.id": f"{topic}.counts"})
    try:
        for _ in range(WAITS_MAX):
            if group.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == position:
                break
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
    finally:
        group.close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


def test_state_that_cannot_be_made_again_says_why(ferris: Ferris, kafka: Cluster, topic_name: str) -> None:
    kafka.create_topic(topic_name)
    text = TOPICS.format(topic=topic_name, servers=kafka.bootstrap_servers, window="", group="EMIT CHANGES")
    ferris.write(app__sql=text, other__sql=text.replace("count(*)", "count(random())"))
    nothing = ferris("state", "rebuild", "app.sql")
    assert (nothing.code, "nothing of it is committed outside" in nothing.err) == (1, True)
    chance = ferris("state", "rebuild", "other.sql")
    assert (chance.code, "random" in chance.err) == (1, True)
