"""The test kit's broker: it keeps what it was given over a stop and a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import Broker, Cluster, Record
from tests.broker_jars import BrokerError


def test_records_come_back_as_written(kafka: Cluster, topic_name: str) -> None:
    kafka.create_topic(topic_name, partitions=2)
    given = [
        Record(b"1", b"k", (("h", b"\xff"), ("n", None)), 1_700_000_000_000, 1),
        Record(None, None, (), 1_700_000_000_001, 1),
        Record(b"", b"", (), 1_700_000_000_002, 0),
    ]
    kafka.write(topic_name, given)
    read = kafka.read(topic_name)
    assert [(r.partition, r.offset) for r in read] == [(0, 0), (1, 0), (1, 1)]
    kept = [(r.value, r.key, r.headers, r.timestamp_ms) for r in read]
    assert kept == [(r.value, r.key, r.headers, r.timestamp_ms) for r in (given[2], given[0], given[1])]


def test_topics_can_be_made_grown_and_deleted(kafka: Cluster, topic_name: str) -> None:
    topics = kafka.topics
    assert topics.partitions(topic_name) is None
    kafka.create_topic(topic_name)
    assert topics.partitions(topic_name) == 1
    topics.grow(topic_name, 3)
    assert topics.partitions(topic_name) == 3
    assert topic_name in topics.names()
    topics.delete(topic_name)
    assert topics.partitions(topic_name) is None


def test_broker_keeps_its_data_over_stop_and_kill(kafka: Cluster, tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        address = broker.bootstrap_servers
        broker.create_topic("kept")
        broker.write("kept", [b"one"])
        broker.kill()
        broker.start()
        broker.write("kept", [b"two"])
        broker.stop()
        broker.start()
        assert [record.value for record in broker.read("kept")] == [b"one", b"two"]
        assert broker.bootstrap_servers == address


def test_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="java is missing"):
        Broker(tmp_path).start()


def test_writing_keeps_the_order_where_the_first_records_of_a_topic_are_refused(
    kafka: Cluster, topic_name: str
) -> None:
    """Otherwise a test that writes to a topic that was just made reads rows in an order that nobody gave them."""
    for topic in (f"{topic_name}-{n}" for n in range(4)):
        kafka.create_topic(topic, partitions=60)
        kafka.write(topic, (Record(b"%d" % n, partition=n % 60) for n in range(20_000)))
        by_partition: dict[int, list[int]] = {}
        for record in kafka.read(topic):
            by_partition.setdefault(record.partition, []).append(int(record.value or b""))
        assert by_partition == {number: list(range(number, 20_000, 60)) for number in range(60)}
