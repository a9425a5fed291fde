"""Jobs over topics of a real broker, in this process: where they stand behind transactions, and what a sink refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.connectors.kafka.producer import SUGGESTED, KafkaProducer, KafkaProducerSettings
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.sql.application import parse_application
from tests.broker import Cluster
from tests.topic_records import group_lag

TURNS_MAX = 600
TOPIC_SINK = "'connector' = 'kafka', 'bootstrap.servers' = '{servers}', 'topic' = '{topic}-out', 'create.topic' = true"
FILE_SINK = "'connector' = 'file', 'path' = 'out.jsonl'"
COPY = "CREATE STREAM copied WITH ({sink}, 'commit.interval' = '1h') AS SELECT id FROM given;"


@dataclass(frozen=True)
class Place:
    """A topic `given` of one partition, a folder, and jobs over them."""

    kafka: Cluster
    topic: str
    folder: Path

    def job(self, statement: str, sink: str = TOPIC_SINK, once: bool = True) -> Job:
        names = {"servers": self.kafka.bootstrap_servers, "topic": self.topic}
        text = (
            "CREATE STREAM given (id BIGINT, k VARCHAR) WITH"
            f" ('connector' = 'kafka', 'bootstrap.servers' = '{{servers}}', 'topic' = '{{topic}}');\n{statement}"
        )
        plan = parse_application(text.replace("{sink}", sink).format(**names), "app.sql").jobs[0]
        return Job(plan, Environment(self.topic, self.folder, state_root=self.folder / "state", once=once))

    def run(self, statement: str, sink: str = TOPIC_SINK) -> JobResult:
        result = self.job(statement, sink).run()
        assert result.error is None, result.error
        return result

    def out(self) -> list[tuple[bytes | None, bytes | None]]:
        """Keys and values of the output."""
        return [(record.key, record.value) for record in self.kafka.read(f"{self.topic}-out")]

    def purge(self) -> None:
        """What retention does in time."""
        self.kafka.topics.delete_before(self.topic, 0, -1)


@pytest.fixture
def place(kafka: Cluster, topic_name: str, tmp_path: Path) -> Place:
    kafka.create_topic(topic_name)
    return Place(kafka, topic_name, tmp_path)


Write = Callable[..., None]


@pytest.fixture
def write(place: Place) -> Iterator[Write]:
    """Writes ids in one transaction, which is aborted when `commit` is False."""
    settings = KafkaProducerSettings(
        {**SUGGESTED, **place.kafka.properties}, {place.topic: None}, f"{place.topic}-w", f"{place.topic}-w"
    )
    producer = KafkaProducer(settings)
    producer.init()

    def transaction(*ids: int, commit: bool = True) -> None:
        producer.begin()
        producer.write(place.topic, [b'{"id": %d}' % each for each in ids])
        producer.flush()
        producer.commit() if commit else producer.abort()

    yield transaction
    producer.close()


@pytest.mark.parametrize("sink", [TOPIC_SINK, FILE_SINK], ids=["topic", "file"])
def test_what_was_read_with_the_marks_behind_it_may_be_removed(place: Place, write: Write, sink: str) -> None:
    write(1, 2, 3)
    assert place.run(COPY, sink).ledger.read == 3
    place.purge()
    assert place.run(COPY, sink).ledger.read == 3
    write(4)
    write(5, 6, commit=False)
    assert place.run(COPY, sink).ledger.read == 4
    place.purge()
    assert place.run(COPY, sink).ledger.read == 4


def test_aborted_records_alone_are_passed(place: Place, write: Write) -> None:
    write(1, 2, commit=False)
    assert place.run(COPY).ledger.read == 0
    place.purge()
    write(3)
    assert place.run(COPY).ledger.read == 1


@pytest.mark.parametrize("sink", [TOPIC_SINK, FILE_SINK], ids=["topic", "file"])
def test_job_that_waits_commits_that_it_has_passed_a_mark(place: Place, write: Write, sink: str) -> None:
    """Its lag comes to nothing, for other programs too, though no record comes."""
    write(1, 2, 3)
    job = place.job(COPY, sink, once=False)
    try:
        job.open()
        lag = f"{place.topic}-0"
        for _ in range(TURNS_MAX):
            job.task.run_once()
            if group_lag(place.kafka.properties, f"{place.topic}.copied", place.topic)[lag] == 0:
                break
        else:
            raise AssertionError("the mark is never passed")
        assert job.progress.positions == {lag: 4}
    finally:
        job.close()
    place.purge()
    assert place.run(COPY, sink).ledger.read == 3


def compacted(place: Place) -> None:
    place.kafka.create_topic(f"{place.topic}-out", config={"cleanup.policy": "compact"})


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        ("SELECT id, k FROM given", []),
        ("SELECT id, k FROM given WITH ('key' = 'k')", [(b"a", 1), (b"b", 3)]),
        ("SELECT k, count(*) AS id FROM given GROUP BY k EMIT CHANGES", [(b"a", 1), (b"b", 1)]),
    ],
    ids=["no key at all", "a key that is NULL", "a group that is NULL"],
)
def test_row_without_a_key_is_no_record_of_a_compacted_topic(
    place: Place, statement: str, kept: list[tuple[bytes, int]]
) -> None:
    """It fails by itself: by the strategy of the sink, with the row as its letter, and the job goes on."""
    compacted(place)
    place.kafka.write(place.topic, [b'{"id": 1, "k": "a"}', b'{"id": 2}', b'{"id": 3, "k": "b"}'])
    text = f"CREATE STREAM copied WITH ({{sink}}, 'sink.failure_strategy' = 'send_to_dlq') AS {statement};"
    result = place.run(text)
    rejected = 3 - len(kept)
    assert (result.ledger.written, result.ledger.output_rejected) == (len(kept), rejected)
    assert [(key, json.loads(value or b"")["id"]) for key, value in place.out()] == kept
    letters = place.kafka.read(f"{place.topic}.copied.dlq")
    named = [dict(letter.headers) for letter in letters]
    assert {(each["ferris.code"], each["ferris.stage"], each["ferris.kind"]) for each in named} == {
        (b"E2404", b"write", b"output")
    }
    assert [json.loads(letter.value or b"")["k"] for letter in letters].count(None) == 1
    assert place.run(text).ledger.output_rejected == rejected


def test_topic_of_dead_letters_that_would_lose_some_is_refused(place: Place) -> None:
    place.kafka.create_topic(f"{place.topic}.copied.dlq", config={"cleanup.policy": "compact,delete"})
    text = "CREATE STREAM copied WITH ({sink}, 'failure_strategy' = 'send_to_dlq') AS SELECT id FROM given;"
    result = place.job(text).run()
    assert result.error is not None
    assert (result.error.code, result.state) == ("E4113", "failed")
    assert place.kafka.topics.partitions(f"{place.topic}-out") is None, "a start that is refused leaves nothing behind"
