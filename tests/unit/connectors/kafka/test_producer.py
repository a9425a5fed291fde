"""The producer against a real broker: records, transactions, tokens, and what its failures mean."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ferrisstreams.batch import Payload
from ferrisstreams.clock import SystemClock
from ferrisstreams.connectors.kafka.producer import REQUIRED, SUGGESTED, KafkaProducer, KafkaProducerSettings
from ferrisstreams.connectors.kafka.sink import KafkaSink
from ferrisstreams.connectors.kafka.topics import NewTopicSettings
from ferrisstreams.errors import ConnectorError, FatalConnectorError, FencedError, TransientError
from tests.broker import Broker, Cluster

Make = Callable[..., KafkaProducer]

NAPS_MAX = 600

#: A client that lost its broker tries again at once; by default it waits for up to ten seconds.
SOON = {"reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "100"}


@pytest.fixture
def make(kafka: Cluster, topic_name: str) -> Iterator[Make]:
    """Makes producers of the test's topic, transactional by default; all are closed at the end."""
    made: list[KafkaProducer] = []

    def new(**settings: object) -> KafkaProducer:
        properties = {**SUGGESTED, **REQUIRED, **kafka.properties}
        plain = KafkaProducerSettings(properties, {topic_name: NewTopicSettings()}, topic_name, topic_name)
        made.append(KafkaProducer(replace(plain, **settings)))
        return made[-1]

    yield new
    for producer in made:
        producer.close()


def values(kafka: Cluster, topic: str) -> list[bytes | None]:
    return [record.value for record in kafka.read(topic)]


def commit(producer: KafkaProducer, token: str) -> None:
    producer.send({}, 1, token)
    producer.commit()


def test_transaction_holds_records_positions_and_token(kafka: Cluster, topic_name: str, make: Make) -> None:
    read = kafka.create_topic(f"{topic_name}-in", partitions=2)
    producer = make(source_topics=(read,))
    assert producer.committed() == {}
    producer.init()
    producer.begin()
    producer.write(topic_name, [b"1", None], [b"k", None], [(("h", b"\xff"),), ()])
    producer.flush()
    producer.send({f"{read}-0": 7, f"{read}-1": 0}, 1, "1 abc 1")
    assert producer.committed() == {}
    assert kafka.read(topic_name) == []
    producer.commit()
    first, second = kafka.read(topic_name)
    assert (first.value, first.key, first.headers) == (b"1", b"k", (("h", b"\xff"),))
    assert (second.value, second.key, second.headers) == (None, None, ())
    producer.close()
    producer.init()
    found = producer.committed()
    assert {name: (c.offset, c.metadata) for name, c in found.items()} == {
        f"{read}-0": (7, "1 abc 1"),
        f"{read}-1": (0, "1 abc 1"),
    }
    producer.forget_committed()
    assert producer.committed() == {}


@pytest.mark.parametrize("transactional_id", [None, "own"])
def test_order_holds_where_the_first_records_of_a_topic_are_refused(
    transactional_id: str | None, kafka: Cluster, topic_name: str, make: Make
) -> None:
    """Partitions that were just made have no leader for a moment: what comes next must not overtake what is retried."""
    topics = {f"{topic_name}-{n}": NewTopicSettings(60, {"retention.ms": "-1"}) for n in range(3)}
    producer = make(topics=topics, transactional_id=transactional_id and topic_name)
    for topic in topics:
        kafka.topics.create(topic, topics[topic])
        if transactional_id is not None and topic == f"{topic_name}-0":
            producer.init()
        if transactional_id is not None:
            producer.begin()
        producer.write(topic, [b"%d" % n for n in range(10_000)], [b"%d" % (n % 400) for n in range(10_000)])
        producer.flush()
        if transactional_id is not None:
            producer.send({}, 1, "token")
            producer.commit()
    for topic in topics:
        found: dict[int, list[int]] = {}
        for record in kafka.read(topic):
            found.setdefault(record.partition, []).append(int(record.value or b""))
        assert sum(map(len, found.values())) == 10_000
        assert all(numbers == sorted(numbers) for numbers in found.values())


def test_epoch_stands_for_positions_of_elsewhere(topic_name: str, make: Make) -> None:
    producer = make()
    producer.init()
    for epoch in (1, 2):
        producer.begin()
        producer.send({"a.jsonl": {"offset": 7}}, epoch, f"token {epoch}")
        producer.commit()
    producer.close()
    # The brokers finish a transaction after its commit has returned; `init` waits for that.
    producer.init()
    (committed,) = producer.committed().values()
    assert (committed.offset, committed.metadata) == (2, "token 2")


def test_aborted_records_and_positions_are_never_seen(kafka: Cluster, topic_name: str, make: Make) -> None:
    producer = make()
    producer.init()
    producer.begin()
    producer.write(topic_name, [b"never"])
    producer.flush()
    producer.send({}, 1, "token")
    producer.abort()
    producer.abort()
    producer.begin()
    producer.write(topic_name, [b"1"])
    producer.send({}, 1, "token")
    producer.commit()
    assert values(kafka, topic_name) == [b"1"]


def test_committed_answers_while_a_transaction_is_open(topic_name: str, make: Make) -> None:
    writer = make()
    writer.init()
    writer.begin()
    writer.send({}, 1, "first")
    writer.commit()
    writer.close()
    writer.init()
    writer.begin()
    writer.send({}, 2, "second")
    (committed,) = make().committed().values()
    assert committed.metadata == "first"


def test_new_producer_fences_the_old_and_settles_its_transaction(kafka: Cluster, topic_name: str, make: Make) -> None:
    old, new = make(), make()
    old.init()
    old.begin()
    old.write(topic_name, [b"old"])
    old.flush()
    old.send({}, 1, "old")
    new.init()
    with pytest.raises(FencedError) as error:
        old.commit()
    assert error.value.code == "E4105"
    assert new.committed() == {}
    new.begin()
    new.write(topic_name, [b"new"])
    new.send({}, 1, "new")
    new.commit()
    assert values(kafka, topic_name) == [b"new"]


def test_transaction_that_the_broker_timed_out_is_fenced(kafka: Cluster, topic_name: str, make: Make) -> None:
    producer, clock = make(transaction_timeout_ms=1000), SystemClock()
    producer.init()
    producer.begin()
    producer.write(topic_name, [b"slept"])
    producer.flush()
    reader = make()
    # The broker's end of the transaction stands in the topic as a mark: the next record comes behind it.
    plain = make(transactional_id=None)
    for _ in range(NAPS_MAX):
        plain.write(topic_name, [b"probe"])
        plain.flush()
        if values(kafka, topic_name):
            break
        clock.sleep_ms(100)
    with pytest.raises(FencedError):
        commit(producer, "slept")
    assert reader.committed() == {}
    assert b"slept" not in values(kafka, topic_name)
    producer.close()
    producer.init()
    producer.begin()
    producer.write(topic_name, [b"awake"])
    producer.send({}, 1, "awake")
    producer.commit()
    assert values(kafka, topic_name)[-1] == b"awake"


def test_without_transactions_a_flush_delivers(kafka: Cluster, topic_name: str, make: Make) -> None:
    producer = make(transactional_id=None)
    sink = KafkaSink(producer, topic_name)
    sink.open(None)
    assert sink.write(Payload(b"1\n2\n", 2)) == []
    assert sink.write(Payload(b"", 0)) == []
    sink.flush()
    assert values(kafka, topic_name) == [b"1", b"2"]
    assert not producer.transactional


def test_full_queue_is_waited_for(kafka: Cluster, topic_name: str, make: Make) -> None:
    properties = {**SUGGESTED, **kafka.properties, "queue.buffering.max.messages": "100", "batch.num.messages": "10"}
    producer = make(transactional_id=None, properties=properties)
    producer.open()
    producer.write(topic_name, [b"%d" % i for i in range(5000)])
    producer.write(topic_name, [b"%d" % i for i in range(100)], [b"k"] * 100)
    producer.flush()
    assert len(values(kafka, topic_name)) == 5100


def test_queue_without_room_for_one_large_record_is_waited_for(kafka: Cluster, topic_name: str, make: Make) -> None:
    properties = {**SUGGESTED, **kafka.properties, "queue.buffering.max.kbytes": "1024"}
    producer = make(transactional_id=None, properties=properties)
    producer.open()
    # A quarter of the small ones makes no room for the large ones behind them.
    given = [b"x" * 1000] * 1000 + [b"y" * 900_000] * 2
    producer.write(topic_name, given)
    producer.write(topic_name, given, [b"k"] * len(given))
    producer.flush()
    assert len(values(kafka, topic_name)) == 2 * len(given)


def test_row_that_is_too_large_is_given_back(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, config={"max.message.bytes": "2000"})
    sink = KafkaSink(make(transactional_id=None), topic_name)
    sink.open(None)
    large = text(3000)
    (rejected,) = sink.write(Payload(b"1\n" + large + b"\n2\n", 3))
    assert (rejected.code, rejected.stage, rejected.value) == ("E2403", "write", large)
    assert "compressed with lz4, more than the 2000" in rejected.message
    assert topic_name in rejected.message
    keyed = Payload(b"3\n4\n", 2, keys=[text(3000), b"k"])
    (rejected,) = sink.write(keyed)
    assert (rejected.value, rejected.key) == (b"3", text(3000))
    # Many that fit go out in batches that fit.
    sink.write(Payload((text(900) + b"\n") * 50, 50))
    sink.flush()
    assert len(values(kafka, topic_name)) == 53


def text(size: int, of: bytes = bytes(range(33, 127))) -> bytes:
    """The same bytes for the same size; the fewer different ones, the smaller they pack."""
    return bytes(random.Random(size).choices(of, k=size))


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_row_is_too_large_only_when_the_broker_refuses_it_packed(
    kafka: Cluster, topic_name: str, make: Make, codec: str
) -> None:
    limit = 20_000
    kafka.create_topic(topic_name, config={"max.message.bytes": str(limit)})
    properties = {**SUGGESTED, **REQUIRED, **kafka.properties, "compression.type": codec}
    producer = make(transactional_id=None, properties=properties)
    sink = KafkaSink(producer, topic_name)
    sink.open(None)
    letters = [bytes(range(33, 127)), b"abcdefgh", b"ab"]
    rows = [text(size, of) for of in letters for size in range(19_000, 180_000, 7_000)] + [b"x" * 200_000]
    refused = {rejected.value for rejected in sink.write(Payload(b"\n".join(rows) + b"\n", len(rows)))}
    sink.flush()
    taken = [row for row in rows if row not in refused]
    assert values(kafka, topic_name) == taken, "none that was let through is refused by the broker"
    assert refused
    if codec == "none":
        assert {len(row) > limit - 100 for row in refused} == {True}
    else:
        assert rows[-1] in taken
        assert max(map(len, taken[:-1])) > limit
    for letter in letters[:2]:
        size = min(len(row) for row in refused if row is not None and set(row) <= set(letter))
        direct = make(transactional_id=None, properties={**properties, "message.max.bytes": "9999999"})
        direct.write(topic_name, [text(size * 11 // 10, letter)])  # Beside the limit, it cannot be told from here.
        with pytest.raises(FatalConnectorError) as error:
            direct.flush()
        assert error.value.code == "E4106"


def test_message_that_takes_a_row_back_needs_a_key_where_the_topic_is_compacted(
    kafka: Cluster, topic_name: str, make: Make
) -> None:
    kafka.create_topic(topic_name, config={"cleanup.policy": "compact"})
    sink = KafkaSink(make(transactional_id=None), topic_name)
    sink.open(None)
    rejected = sink.write(Payload(b"", 3, values=[None, None, b"1"], keys=[b"k", None, None]))
    assert [(each.code, each.stage, each.value) for each in rejected] == [
        ("E2404", "write", None),
        ("E2404", "write", b"1"),
    ]
    assert "the row 1 has no key" in rejected[1].message
    sink.flush()
    assert [(record.key, record.value) for record in kafka.read(topic_name)] == [(b"k", None)]


def test_topic_that_packs_anew_measures_what_it_has_packed(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, config={"max.message.bytes": "2000", "compression.type": "uncompressed"})
    sink = KafkaSink(make(transactional_id=None), topic_name)
    sink.open(None)
    (rejected,) = sink.write(Payload(b"x" * 3000 + b"\nx\n", 2))
    assert rejected.code == "E2403"
    sink.flush()


def test_topic_that_is_not_there_is_named(topic_name: str, make: Make) -> None:
    with pytest.raises(FatalConnectorError, match=f"there is no topic {topic_name}") as error:
        make(topics={topic_name: None}).init()
    assert error.value.code == "E4103"


def test_topic_that_goes_away_is_an_error(kafka: Cluster, topic_name: str, make: Make) -> None:
    properties = {
        **SUGGESTED,
        **kafka.properties,
        "delivery.timeout.ms": "2000",
        "topic.metadata.propagation.max.ms": "100",
    }
    producer = make(transactional_id=None, properties=properties)
    producer.open()
    producer.write(topic_name, [b"1"])
    producer.flush()
    kafka.topics.delete(topic_name)
    producer.write(topic_name, [b"2"])
    with pytest.raises(ConnectorError, match=topic_name):
        producer.flush()
    producer.forget()


def test_positions_of_an_unknown_topic_take_the_transaction_back(kafka: Cluster, topic_name: str, make: Make) -> None:
    producer = make(source_topics=("no-such-topic",))
    producer.init()
    producer.begin()
    producer.write(topic_name, [b"never"])
    with pytest.raises(FatalConnectorError):
        producer.send({"no-such-topic-0": 7}, 1, "token")
    producer.abort()
    producer.begin()
    producer.write(topic_name, [b"1"])
    producer.commit()
    assert values(kafka, topic_name) == [b"1"]


def test_broker_that_is_away_is_an_error_that_names_it(make: Make, topic_name: str) -> None:
    producer = make(properties={**SUGGESTED, "bootstrap.servers": "127.0.0.1:1"}, request_seconds=1.0)
    with pytest.raises(TransientError) as error:
        producer.committed()
    assert error.value.code == "E4101"


def test_transaction_over_a_crash_of_the_broker_is_given_up_and_begun_anew(topic_name: str) -> None:
    with Broker() as broker:
        read = broker.create_topic(f"{topic_name}-in")
        settings = KafkaProducerSettings(
            {**SUGGESTED, **REQUIRED, **broker.properties, **SOON},
            {topic_name: NewTopicSettings()},
            topic_name,
            topic_name,
            source_topics=(read,),
        )
        producer = KafkaProducer(settings)
        producer.init()
        for epoch in (1, 2):
            producer.begin()
            producer.write(topic_name, [b"%d" % epoch])
            if epoch == 1:
                producer.send({f"{read}-0": 1}, 1, "1")
                producer.commit()
        producer.flush()
        broker.kill()
        broker.start()
        producer.write(topic_name, [b"2 more"])
        with pytest.raises(TransientError):
            producer.send({f"{read}-0": 2}, 2, "2")
        producer.close()
        producer.init()
        (committed,) = producer.committed().values()
        assert (committed.offset, committed.metadata) == (1, "1")
        producer.begin()
        producer.write(topic_name, [b"2 again"])
        producer.send({f"{read}-0": 2}, 2, "2")
        producer.commit()
        assert values(broker, topic_name) == [b"1", b"2 again"]
        producer.close()


def test_transactions_are_counted_by_their_outcome(topic_name: str, make: Make, kafka: Cluster) -> None:
    properties = {**SUGGESTED, **REQUIRED, **kafka.properties, "statistics.interval.ms": "20"}
    producer = make(properties=properties)
    assert producer.figures() is None
    producer.init()
    for epoch in range(1, 4):
        producer.begin()
        producer.write(topic_name, [b"1"])
        producer.flush()
        producer.send({}, epoch, "t")
        producer.commit()
    producer.begin()
    producer.write(topic_name, [b"2"])
    producer.abort()
    producer.begin()
    producer.write(topic_name, [b"3"])
    producer.flush()
    producer.send({}, 4, "t")
    make().init()
    with pytest.raises(FencedError):
        producer.commit()
    figures = producer.figures()
    assert figures is not None
    assert figures.transactions == {"committed": 3, "aborted": 1, "failed": 1}
    assert (figures.waiting_records, figures.timeouts) == (0, 0)
    assert (figures.round_trip_ms is None) == (figures.round_trip_p99_ms is None)


@pytest.mark.parametrize("others", ["nothing", "committed", "open", "topic"])
def test_topic_that_was_made_is_deleted_unless_others_use_it(
    others: str, kafka: Cluster, topic_name: str, make: Make
) -> None:
    if others == "topic":
        kafka.create_topic(topic_name)
    producer = make()
    producer.init()
    producer.begin()
    producer.write(topic_name, [b"1"])
    producer.flush()
    producer.abort()
    producer.close()
    another = make(transactional_id=f"{topic_name}-another")
    if others in ("committed", "open"):
        another.init()
        another.begin()
        another.write(topic_name, [b"2"])
        another.flush()
    if others == "committed":
        commit(another, "1 abc 1")
    producer.discard(topic_name)
    assert (topic_name in kafka.topics.names()) == (others != "nothing")
    if others == "open":
        commit(another, "1 abc 1")
    assert values(kafka, topic_name) == ([b"2"] if others in ("committed", "open") else [])
    producer.discard(topic_name)
    assert (topic_name in kafka.topics.names()) == (others != "nothing")
