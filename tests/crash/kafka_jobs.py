"""Jobs over a real broker that are killed: each an application of its own, over topics or files."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from tests import processes
from tests.broker import Cluster
from tests.crash.conftest import Ended
from tests.processes import FerrisProcess

PARTITIONS = 2

_COLUMNS = "(id BIGINT, p INT, k VARCHAR, v BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '2' SECOND)"
_BATCHES = "'batch.strategy'='fixed_size', 'batch.size'=200"
_JOB = "'commit.policy'='per_batch', 'failure_strategy'='send_to_dlq', 'dlq.max_consecutive'=1000000"


@dataclass(frozen=True)
class Kind:
    """A job of the matrix: where it reads and writes, and its query, whose result no interleaving changes.

    `also`: where a second stream, `more`, has the same records; `table`: it is a table of names by `k`, in a file.
    `letters` is as the sink, unless it is said. `settings` are further ones of the job. `folded`: what is written
    depends on how the rows are cut, and what it adds up to does not.
    """

    source: str
    sink: str
    query: str
    letters: str = ""
    also: str = ""
    settings: str = ""
    folded: bool = False

    @property
    def scans(self) -> int:
        """How often each record is read."""
        streams = ["events", *(["more"] if self.also != "table" else [])]
        return sum(self.query.count(f"{word} {stream}") for word in ("FROM", "JOIN") for stream in streams)

    @property
    def letters_in(self) -> str:
        return self.letters or self.sink

    @property
    def decided_outside(self) -> bool:
        return "kafka" in (self.sink, self.letters_in)


COPY = "SELECT id, p, k, v * 2 AS twice, at FROM events WHERE v % 3 <> 0"
KINDS = {
    "copy": Kind("kafka", "kafka", COPY),
    "tumbling": Kind(
        "kafka",
        "kafka",
        "SELECT window_start, k, count(*) AS n, sum(v) AS total, max(id) AS last FROM events"
        " GROUP BY k, TUMBLE(at, INTERVAL '10' SECOND)",
    ),
    "sessions": Kind(
        "kafka",
        "kafka",
        "SELECT window_start, window_end, k, count(*) AS n, string_agg(id::VARCHAR, '-' ORDER BY id) AS ids FROM events"
        " WHERE v < 40 GROUP BY k, SESSION(at, INTERVAL '300' MILLISECOND)",
    ),
    "levels": Kind(
        "kafka",
        "kafka",
        "SELECT window_start, k, count(*) AS sessions, sum(n) AS n, max(ids) AS greatest, last(began) AS last FROM"
        " (SELECT window_start AS began, window_end AS ended, k, count(*) AS n,"
        " string_agg(id::VARCHAR, '-' ORDER BY id) AS ids FROM events WHERE v < 40"
        " GROUP BY k, SESSION(at, INTERVAL '300' MILLISECOND))"
        " GROUP BY k, TUMBLE(ended, INTERVAL '10' SECOND)",
    ),
    "kafka to file": Kind(
        "kafka",
        "file",
        "SELECT window_start, k, count(*) AS n, sum(v) AS total FROM events"
        " GROUP BY k, HOP(at, INTERVAL '4' SECOND, INTERVAL '12' SECOND)",
    ),
    "file to kafka": Kind("file", "kafka", COPY),
    "union": Kind(
        "kafka",
        "kafka",
        "SELECT window_start, k, count(*) AS n, sum(v) AS total FROM (SELECT k, v, at FROM events WHERE v > 10"
        " UNION ALL SELECT upper(k), v * 2, at FROM more UNION ALL SELECT 'all', v, at FROM events)"
        " GROUP BY k, TUMBLE(at, INTERVAL '10' SECOND)",
        also="file",
    ),
    "union of topics to file": Kind(
        "kafka",
        "file",
        "SELECT id, k, v * 2 AS twice, at FROM events WHERE v % 3 <> 0 UNION ALL SELECT -id, k, v, at FROM more",
        also="kafka",
    ),
    "join": Kind(
        "kafka",
        "kafka",
        "SELECT e.id, m.id AS other, e.k FROM events e LEFT JOIN more m ON e.k = m.k AND e.v = m.v"
        " AND m.at BETWEEN e.at - INTERVAL '1' SECOND AND e.at + INTERVAL '2' SECOND AND m.id <> e.id",
        also="kafka",
    ),
    "join to file": Kind(
        "kafka",
        "file",
        "SELECT e.id, m.id AS other, m.v FROM events e FULL JOIN more m ON e.k = m.k AND e.v = m.v"
        " AND m.at BETWEEN e.at - INTERVAL '2' SECOND AND e.at - INTERVAL '1' SECOND",
        also="file",
    ),
    "lookup": Kind(
        "kafka",
        "kafka",
        "SELECT window_start, m.name, count(*) AS n, sum(v) AS total FROM events e LEFT JOIN more m ON e.k = m.k"
        " GROUP BY m.name, TUMBLE(e.at, INTERVAL '10' SECOND)",
        also="table",
    ),
    "aggregate over a join": Kind(
        "kafka",
        "file",
        "SELECT k, count(*) AS n, sum(v) AS total, max(id) AS last FROM (SELECT e.k AS k, m.v AS v, m.id AS id"
        " FROM events e LEFT JOIN more m ON e.id = m.id AND m.v > 20) GROUP BY k",
        also="kafka",
        settings="'changelog'='retract'",
        folded=True,
    ),
    "kafka to file, letters in a topic": Kind("kafka", "file", COPY, letters="kafka"),
}


@cache
def events(seed: int, count: int) -> list[tuple[int, bytes]]:
    """Records with their partition: with disorder, some late, some that do not decode."""
    chance = random.Random(seed)
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    records = []
    for number in range(count):
        at = begin + timedelta(milliseconds=10 * number - chance.choice([0, 0, 0, 500, 1500, 4000]))
        partition = chance.randrange(PARTITIONS)
        row = {
            "id": number,
            "p": partition,
            "k": f"k{chance.randrange(7)}",
            "v": chance.randrange(100),
            "at": at.isoformat(),
        }
        text = json.dumps(row) if number % 1900 != 950 else f'{{"id": "broken", "number": {number}}}'
        records.append((partition, text.encode()))
    return records


class KafkaJob:
    """One application in a folder, run by the real command in a real process."""

    def __init__(self, cluster: Cluster, folder: Path, name: str, kind: Kind, input_topic: str) -> None:
        self.cluster = cluster
        self.folder = folder
        self.name = name
        self.kind = kind
        self.app = folder / f"{name}.sql"
        self.output = f"{name}-out"
        self.letters_topic = f"{name}-dlq"
        folder.mkdir(parents=True, exist_ok=True)
        if kind.sink == "kafka":
            cluster.create_topic(self.output)
        cluster.create_topic(self.letters_topic)
        self.app.write_text(self._sql(input_topic))

    def _sql(self, topic: str) -> str:
        servers = f"'bootstrap.servers'='{self.cluster.bootstrap_servers}'"
        sources = {
            "kafka": f"connector='kafka', topic='{topic}', {servers}",
            "file": "connector='file', path='in.jsonl'",
            "table": "connector='file', path='names.jsonl'",
        }
        declared = {"events": self.kind.source, "more": self.kind.also}
        kinds = {"table": "TABLE more (k VARCHAR PRIMARY KEY, name VARCHAR)"}
        streams = "".join(
            f"CREATE {kinds.get(kind, f'STREAM {name} {_COLUMNS}')} WITH ({sources[kind]}, {_BATCHES});\n"
            for name, kind in declared.items()
            if kind
        )
        sink = (
            f"connector='kafka', topic='{self.output}', {servers}"
            if self.kind.sink == "kafka"
            else "connector='file', path='out.jsonl'"
        )
        letters = (
            f"'dlq.topic'='{self.letters_topic}'" if self.kind.letters_in == "kafka" else "'dlq.path'='letters.jsonl'"
        )
        return f"{streams}CREATE STREAM out AS {self.kind.query} WITH ({sink}, {_JOB}, {letters}, {self.more()});\n"

    def more(self) -> str:
        """Further settings of the job."""
        given = [self.kind.settings] if self.kind.settings else []
        own = "'kafka.transaction.timeout.ms'='10000'" if self.kind.sink == "kafka" else "'append'='false'"
        return ", ".join([*given, own])

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None, once: bool = True) -> FerrisProcess:
        options = ["-o", "json", *arguments, *["--once", "--drain"] * once]
        return processes.start("run", self.app, *options, **(environment or {}))

    def run(self, fault: str | None = None, *arguments: str) -> Ended:
        process = self.start(*arguments, environment={"FERRIS_FAULT": fault} if fault else None)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        return Ended(process.wait(), out, err)

    def audit(self) -> Ended:
        done = processes.run("audit", self.app)
        return Ended(done.returncode, done.stdout, done.stderr)

    def rows(self) -> list[bytes]:
        """What a reader of committed records sees, in order."""
        if self.kind.sink == "file":
            return (self.folder / "out.jsonl").read_bytes().splitlines()
        return [record.value or b"" for record in self.cluster.read(self.output)]

    def letters(self) -> Counter[bytes]:
        """The original values of all dead letters."""
        if self.kind.letters_in == "file":
            import base64

            lines = (self.folder / "letters.jsonl").read_text().splitlines()
            return Counter(base64.b64decode(json.loads(line)["value"]) for line in lines)
        return Counter(record.value or b"" for record in self.cluster.read(self.letters_topic))


def assert_rows(kind: Kind, rows: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """The same rows, each once, and in order: of each partition for a copy, by window end otherwise."""
    if kind.folded:
        assert folded(rows) == folded(expected)
        return
    assert Counter(rows) == Counter(expected)
    found = [json.loads(row) for row in rows]
    if kind.query == COPY:
        for partition in range(PARTITIONS):
            ids = [row["id"] for row in found if row["p"] == partition]
            assert ids == sorted(ids)


def folded(rows: Sequence[bytes]) -> dict[str, int]:
    """What stands after all changes, and how often."""
    found: Counter[str] = Counter()
    for row in map(json.loads, rows):
        op = row.pop("op")
        found[json.dumps(row)] += 1 if op.startswith("+") else -1
    return {row: count for row, count in found.items() if count}


def names() -> bytes:
    """The records of the table `more`, of which some keys have several."""
    rows = [{"k": f"k{number % 6}", "name": f"name {number}"} for number in range(600)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
