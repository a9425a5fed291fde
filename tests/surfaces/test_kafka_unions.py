"""UNION ALL over topics and files: positions, ledgers, the group, what waits, and what goes on."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.broker import Cluster, Record
from tests.surfaces.conftest import WAIT_SECONDS, WAITS_MAX, Ferris
from tests.topic_records import group_lag

FILE = "'connector' = 'file', 'path' = 'out.jsonl'"
COLUMNS = "(id BIGINT, who TEXT, at TIMESTAMP, WATERMARK FOR at AS at)"


def rows(first: int, count: int, who: str) -> list[bytes]:
    return [
        json.dumps({"id": number, "who": who, "at": f"2024-01-01T00:{number // 60:02d}:{number % 60:02d}Z"}).encode()
        for number in range(first, first + count)
    ]


class Union:
    """An application over the topics `{name}-a` and `{name}-b`, which writes to a file."""

    def __init__(self, kafka: Cluster, ferris: Ferris, name: str) -> None:
        self.kafka, self.ferris, self.name = kafka, ferris, name
        for side in "ab":
            kafka.create_topic(f"{name}-{side}", partitions=2)

    def source(self, stream: str, side: str, more: str = "") -> str:
        address = f"'connector' = 'kafka', 'bootstrap.servers' = '{self.kafka.bootstrap_servers}'"
        return f"CREATE STREAM {stream} {COLUMNS} WITH ({address}, 'topic' = '{self.name}-{side}'{more});\n"

    def write(
        self, sources: Sequence[str], query: str, sink: str = "'connector' = 'file', 'path' = 'out.jsonl'"
    ) -> None:
        sink = sink.format(kafka=f"'connector' = 'kafka', 'bootstrap.servers' = '{self.kafka.bootstrap_servers}'")
        text = f"-- @app: {self.name}\n{''.join(sources)}CREATE STREAM out WITH ({sink}) AS {query};\n"
        (self.ferris.folder / "app.sql").write_text(text, "utf-8")

    def fill(self, side: str, values: Sequence[bytes]) -> None:
        records = [Record(value, partition=number % 2) for number, value in enumerate(values)]
        self.kafka.write(f"{self.name}-{side}", records)


@pytest.fixture
def union(kafka: Cluster, ferris: Ferris, topic_name: str) -> Union:
    return Union(kafka, ferris, topic_name)


WINDOWS = (
    "SELECT window_start, count(*) AS n FROM (SELECT at FROM a UNION ALL SELECT at FROM b)"
    " GROUP BY TUMBLE(at, INTERVAL '10' SECOND)"
)
BOTH = "SELECT id, who FROM a UNION ALL SELECT id, who FROM b"


def test_two_topics_are_one_job(union: Union) -> None:
    union.fill("a", [*rows(0, 40, "x"), b"broken"])
    union.fill("b", rows(100, 30, "y"))
    sink = f"{{kafka}}, 'topic' = '{union.name}-out', 'create.topic' = 'true'"
    union.write([union.source("a", "a"), union.source("b", "b")], BOTH, sink)
    ran = union.ferris("run", "--once", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["read"] == 71
    audit = union.ferris("audit", "app.sql")
    assert audit.code == 0, audit.out + audit.err
    assert "read by a" in audit.out
    shown = json.loads(union.ferris("offsets", "app.sql", "-o", "json").out)["jobs"]["out"]
    assert {each["partition"] for each in shown} == {f"{s}/{union.name}-{s}-{p}" for s in "ab" for p in (0, 1)}
    assert [each["lag"] for each in shown] == [0] * 4
    assert all(each["committed"] == each["position"] for each in shown)
    for side in "ab":
        lag = group_lag(union.kafka.properties, f"{union.name}.out", f"{union.name}-{side}")
        assert set(lag.values()) == {0}
    union.fill("b", rows(200, 5, "z"))
    again = union.ferris("run", "--once", "-o", "json", "app.sql")
    assert again.code == 0, again.err
    written = Counter(json.loads(record.value or b"")["who"] for record in union.kafka.read(f"{union.name}-out"))
    assert written == {"x": 40, "y": 30, "z": 5}


def test_two_declarations_of_one_topic_commit_what_both_have_read(union: Union) -> None:
    union.fill("a", rows(0, 60, "x"))
    sink = f"{{kafka}}, 'topic' = '{union.name}-out', 'create.topic' = 'true'"
    union.write([union.source("a", "a"), union.source("b", "a")], BOTH, sink)
    ran = union.ferris("run", "--once", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["read"] == 120
    assert set(group_lag(union.kafka.properties, f"{union.name}.out", f"{union.name}-a").values()) == {0}
    assert union.ferris("audit", "app.sql").code == 0
    assert len(union.kafka.read(f"{union.name}-out")) == 120


def commit_for(union: Union, offsets: dict[tuple[str, int], int]) -> None:
    """What another program has committed for the group of the job."""
    consumer = Consumer({**union.kafka.properties, "group.id": f"{union.name}.out", "enable.auto.commit": False})
    try:
        places = [TopicPartition(f"{union.name}-{side}", number, at) for (side, number), at in offsets.items()]
        consumer.commit(offsets=places, asynchronous=False)
    finally:
        consumer.close()


def test_new_job_begins_where_its_group_stands(union: Union) -> None:
    union.fill("a", rows(0, 40, "x"))
    union.fill("b", rows(100, 30, "y"))
    commit_for(union, {("a", 0): 15, ("a", 1): 20, ("b", 0): 5})
    sink = f"{{kafka}}, 'topic' = '{union.name}-out', 'create.topic' = 'true'"
    union.write([union.source("a", "a"), union.source("b", "b")], BOTH, sink)
    ran = union.ferris("run", "--once", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    names = {f"{side}/{union.name}-{side}-{partition}" for side in "ab" for partition in (0, 1)}
    assert set(ran.job["positions"]) == names
    written = Counter(json.loads(record.value or b"")["who"] for record in union.kafka.read(f"{union.name}-out"))
    assert written == {"x": 5, "y": 25}


def test_two_declarations_do_not_begin_where_the_group_stands(union: Union) -> None:
    """Its position is the smaller one of theirs: it says nothing of the other."""
    union.fill("a", rows(0, 60, "x"))
    commit_for(union, {("a", 0): 15, ("a", 1): 20})
    small = ", 'batch.strategy' = 'fixed_size', 'batch.size' = 4"
    sink = f"{{kafka}}, 'topic' = '{union.name}-out', 'create.topic' = 'true'"
    union.write([union.source("a", "a", small), union.source("b", "a")], BOTH, sink)
    assert union.ferris("run", "--once", "--max-records", "50", "app.sql").code == 0
    audit = union.ferris("audit", "app.sql")
    assert audit.code == 0, audit.out + audit.err
    shown = json.loads(union.ferris("offsets", "app.sql", "-o", "json").out)["jobs"]["out"]
    assert any(each["committed"] < each["position"] for each in shown), shown
    ran = union.ferris("run", "--once", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["read"] == 120
    assert len(union.kafka.read(f"{union.name}-out")) == 120


def test_windows_wait_for_the_topic_that_is_behind(union: Union) -> None:
    union.write([union.source("a", "a"), union.source("b", "b")], WINDOWS)
    union.fill("a", rows(0, 100, "x"))
    process = union.ferris.start("run", "app.sql")
    union.fill("b", rows(0, 32, "y"))
    union.ferris.wait_for(process, "out.jsonl", 3)
    union.fill("b", rows(32, 20, "y"))
    union.ferris.wait_for(process, "out.jsonl", 5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert [row["n"] for row in union.ferris.lines("out.jsonl")] == [20, 20, 20, 20, 20]


def test_quiet_topic_lets_windows_go_when_it_is_told_to(union: Union) -> None:
    idle = ", 'watermark.idle_timeout' = '1s'"
    union.write([union.source("a", "a", idle), union.source("b", "b", idle)], WINDOWS)
    union.fill("a", rows(0, 100, "x"))
    process = union.ferris.start("run", "app.sql")
    union.ferris.wait_for(process, "out.jsonl", 9)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_topic_and_followed_file_go_on_side_by_side(union: Union) -> None:
    file = f"CREATE STREAM b {COLUMNS} WITH ('connector' = 'file', 'path' = 'b.jsonl', 'watch' = 'true');\n"
    path = union.ferris.folder / "b.jsonl"
    path.write_bytes(b"\n".join(rows(0, 10, "y")) + b"\n")
    union.write([union.source("a", "a"), file], BOTH)
    process = union.ferris.start("run", "app.sql")
    for turn in range(3):
        union.fill("a", rows(turn * 10, 10, "x"))
        union.ferris.wait_for(process, "out.jsonl", 20 * (turn + 1))
        with path.open("ab") as more:
            more.write(b"\n".join(rows(10 * (turn + 1), 10, "y")) + b"\n")
    union.ferris.wait_for(process, "out.jsonl", 70)
    process.kill()
    process.wait(WAIT_SECONDS * WAITS_MAX)
    union.fill("a", rows(30, 1, "x"))
    ran = union.ferris("run", "--once", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert Counter(row["who"] for row in union.ferris.lines("out.jsonl")) == {"x": 31, "y": 40}
    assert union.ferris("audit", "app.sql").code == 0


def test_what_is_for_one_source_is_refused(union: Union) -> None:
    union.fill("a", rows(0, 3, "x"))
    union.write([union.source("a", "a"), union.source("b", "b")], BOTH)
    assert union.ferris("run", "--once", "app.sql").code == 0
    moved = union.ferris("offsets", "app.sql", "--to", "earliest")
    assert (moved.code, "E3007" in moved.err) == (1, True)
    assert "reads several sources (a, b)" in moved.err
    workers = union.ferris("run", "app.sql", "--set", "parallelism=2")
    assert "E3006" in workers.err
    union.write([union.source("a", "a"), union.source("b", "b")], BOTH.replace("FROM b", "FROM a"))
    edited = union.ferris("run", "--once", "app.sql")
    assert "gone: the source b" in edited.err


def test_stream_that_is_read_once_more_is_another_query(ferris: Ferris) -> None:
    """Its rows from before would be missing in one scan, and nobody would see it."""
    ferris.write(
        in__jsonl='{"k": 1}\n{"k": 2}\n',
        app__sql="CREATE STREAM s (k INT) WITH ('connector' = 'file', 'path' = 'in.jsonl', 'format' = 'json');\n"
        "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl') AS SELECT k FROM s;\n",
    )
    assert ferris("run", "app.sql").code == 0
    path = ferris.folder / "app.sql"
    path.write_text(path.read_text("utf-8").replace("FROM s;", "FROM s UNION ALL SELECT -k FROM s;"), "utf-8")
    ran = ferris("run", "app.sql")
    assert ran.code == 1
    assert "how often the query reads it: was once, is 2 times" in ran.err
    assert "E5002" in ran.err
