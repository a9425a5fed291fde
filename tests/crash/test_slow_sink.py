"""A sink that takes nothing for a while: nothing is read that cannot be written, and then each row comes once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.job import Job
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.sql.application import parse_application
from tests.broker import Broker, Cluster

ROWS = 100_000
STOP_SECONDS = 5.0
#: Rows a batch, and messages that the client keeps for brokers that do not take them.
BATCH, QUEUE = 5_000, 10_000

APPLICATION = """
CREATE STREAM numbers (n BIGINT) WITH (connector = 'kafka', topic = '{topic}', 'bootstrap.servers' = '{source}',
    'batch.strategy' = 'fixed_size', 'batch.size' = {batch});
CREATE STREAM out WITH (connector = 'kafka', topic = '{topic}', 'bootstrap.servers' = '{sink}', 'create.topic' = true,
    'kafka.queue.buffering.max.messages' = {queue}) AS SELECT n FROM numbers;
"""


class Rows:
    """An observer that knows how many rows were read."""

    def __init__(self) -> None:
        self.read = 0
        self.first = Event()

    def progress(self, event: ProgressEvent) -> None:
        self.read = event.rows
        if event.rows:
            self.first.set()

    def event(self, name: str, **fields: object) -> None:
        pass


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "frail") as broker:
        yield broker


def test_sink_that_stands_still_is_not_read_ahead_of(
    kafka: Cluster, frail: Broker, topic_name: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b'{"n": 0}'])
    text = APPLICATION.format(
        topic=topic_name, source=kafka.bootstrap_servers, sink=frail.bootstrap_servers, batch=BATCH, queue=QUEUE
    )
    rows = Rows()
    environment = Environment(topic_name, tmp_path, state_root=tmp_path / "state", observer=rows)
    job = Job(parse_application(text, "app.sql").jobs[0], environment)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(job.run)
        try:
            assert rows.first.wait(60)
            frail.freeze()
            kafka.write(topic_name, [b'{"n": %d}' % number for number in range(1, ROWS)])
            Event().wait(STOP_SECONDS)
            # What waits in the client, a batch that waits for room there, and one that came before.
            assert rows.read <= QUEUE + 2 * BATCH
            frail.thaw()
            for _ in range(600):
                if rows.read == ROWS or running.done():
                    break
                Event().wait(0.1)
        finally:
            frail.thaw()
            job.stop()
        result = running.result(timeout=60)
    assert (result.state, result.error) == ("stopped", None)
    assert [json.loads(record.value or b"")["n"] for record in frail.read(topic_name)] == list(range(ROWS))
