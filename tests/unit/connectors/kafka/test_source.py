"""A topic as a source, against a real broker: positions, ends, holes, lost offsets, topics that grow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from ferrisstreams.batch import Fetch, Limit, Positions
from ferrisstreams.clock import SystemClock
from ferrisstreams.connectors.kafka.producer import SUGGESTED as PRODUCER_SUGGESTED
from ferrisstreams.connectors.kafka.producer import KafkaProducer, KafkaProducerSettings
from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.connectors.kafka.source import REQUIRED, SUGGESTED, KafkaSource, KafkaSourceSettings
from ferrisstreams.connectors.kafka.startup import Startup
from ferrisstreams.connectors.kafka.topics import NewTopicSettings
from ferrisstreams.errors import FatalConnectorError, TransientError
from ferrisstreams.memory_file import MemoryFile
from tests.broker import Broker, Cluster, Record

WAIT = Limit(rows=10_000, bytes=1 << 30, wait_ms=100)
POLLS_MAX = 300

#: A client that lost its broker tries again at once; by default it waits for up to ten seconds.
SOON = {"reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "100"}

Make = Callable[..., KafkaSource]


@pytest.fixture
def make(kafka: Cluster, topic_name: str) -> Iterator[Make]:
    """Makes sources of the test's topic; all are closed at the end."""
    block, made = MemoryFile(), []

    def new(cluster: Cluster = kafka, **settings: object) -> KafkaSource:
        plain = KafkaSourceSettings(topic_name, {**SUGGESTED, **REQUIRED, **cluster.properties}, f"{topic_name}-group")
        made.append(KafkaSource(replace(plain, **settings), block, SystemClock()))
        return made[-1]

    yield new
    for source in made:
        source.close()
    block.close()


def fetches(source: KafkaSource, until: Callable[[], bool], limit: Limit = WAIT) -> Iterator[Fetch]:
    """All that comes until something holds."""
    for _ in range(POLLS_MAX):
        if until():
            return
        if (fetch := source.poll(limit)) is not None:
            yield fetch
    raise AssertionError(f"it does not come: {source.partitions()}, {source.progress()}")


def values(fetch: Fetch) -> list[bytes | None]:
    assert fetch.messages is not None
    return list(fetch.messages.values)


def read(source: KafkaSource, limit: Limit = WAIT) -> Iterator[Fetch]:
    """All of a bounded read."""
    return fetches(source, lambda: source.ended, limit)


def read_all(source: KafkaSource, limit: Limit = WAIT) -> list[bytes | None]:
    return [value for fetch in read(source, limit) for value in values(fetch)]


def transactional(cluster: Cluster, topic: str) -> KafkaProducer:
    properties = {**PRODUCER_SUGGESTED, **cluster.properties}
    settings = KafkaProducerSettings(properties, {topic: None}, f"{topic}-writer", f"{topic}-writer")
    return KafkaProducer(settings)


def write(producer: KafkaProducer, topic: str, *values: bytes) -> None:
    producer.write(topic, values)
    producer.flush()


def test_bounded_read_gives_what_was_there_at_the_start(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, partitions=3)
    given = [Record(b"%d" % i, partition=i % 2) for i in range(100)]
    kafka.write(topic_name, given)
    source = make(bounded=True)
    source.open({})
    kafka.write(topic_name, [Record(b"later", partition=p) for p in range(3)])
    found = read_all(source)
    assert sorted(found, key=lambda value: int(value or b"-1")) == [record.value for record in given]
    assert source.partitions() == {f"{topic_name}-{p}": (50, 50, 0)[p] for p in range(3)}
    assert source.reached() == source.partitions()


def test_fetch_says_where_its_records_are(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [Record(b"%d" % i, b"k", (("h", b"v"),), 1_700_000_000_000 + i) for i in range(10)])
    source = make(bounded=True)
    source.open({f"{topic_name}-0": 4})
    (fetch,) = fetches(source, lambda: source.ended)
    assert (fetch.partition, fetch.offset, fetch.position) == (f"{topic_name}-0", 4, 10)
    assert isinstance(fetch.records, MemoryFile)
    assert fetch.records.read() == b"4\n5\n6\n7\n8\n9\n"
    assert fetch.caught_up
    assert not fetch.more
    assert fetch.messages is not None
    record = fetch.messages.record(1)
    assert (record.value, record.key, record.headers, record.offset) == (b"5", b"k", (("h", b"v"),), 5)
    assert record.timestamp_ms == 1_700_000_000_005
    assert record.position == f"{topic_name}-0 offset 5"


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_positions_lead_on_however_batches_are_cut(kafka: Cluster, topic_name: str, make: Make, rows: int) -> None:
    kafka.create_topic(topic_name, partitions=2)
    kafka.write(topic_name, [Record(b"%d" % i, partition=i % 2) for i in range(40)])
    limit = Limit(rows, 1 << 30, 100)
    positions: Positions = {}
    found: list[bytes | None] = []
    for _ in range(3):
        source = make(bounded=True)
        source.open(positions)
        positions = {**source.reached(), **positions}
        for fetch in itertools.islice(read(source, limit), 3):
            found += values(fetch)
            positions = {**positions, fetch.partition: fetch.position}
        source.close()
    source = make(bounded=True)
    source.open(positions)
    found += read_all(source, limit)
    assert sorted(found, key=lambda value: int(value or b"-1")) == [b"%d" % i for i in range(40)]


def test_another_open_gives_the_same_records_again(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"%d" % i for i in range(50)])
    source = make(bounded=True)
    source.open({})
    first = read_all(source)
    source.close()
    source.open({f"{topic_name}-0": 20})
    assert not source.ended
    assert read_all(source) == first[20:]
    source.close()
    source.open({})
    assert read_all(source) == first


def test_aborted_records_are_not_read_and_their_holes_do_not_hang(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    producer = transactional(kafka, topic_name)
    producer.init()
    for number in range(4):
        producer.begin()
        write(producer, topic_name, b"%d a" % number, b"%d b" % number)
        if number % 2:
            producer.abort()
        else:
            producer.send({}, number, "")
            producer.commit()
    source = make(bounded=True)
    source.open({})
    assert read_all(source) == [b"0 a", b"0 b", b"2 a", b"2 b"]
    producer.close()


def test_position_passes_marks_and_aborted_records_when_all_before_is_given(
    kafka: Cluster, topic_name: str, make: Make
) -> None:
    kafka.create_topic(topic_name)
    producer = transactional(kafka, topic_name)
    producer.init()
    for number in range(3):
        producer.begin()
        write(producer, topic_name, b"%d a" % number, b"%d b" % number)
        producer.abort() if number == 2 else producer.commit()
    producer.close()
    source, name = make(), f"{topic_name}-0"
    source.open({})
    read = fetches(source, lambda: source.reached()[name] == 9, Limit(1, 1 << 30, 100))
    places = [(values(fetch), fetch.position, source.reached()[name]) for fetch in read]
    assert places[:3] == [([b"0 a"], 1, 1), ([b"0 b"], 2, 2), ([b"1 a"], 4, 4)], "marks are behind what waits"
    assert [given for given, _, _ in places[3:]] == [[b"1 b"]]
    assert source.progress().lag == {name: 0}
    assert source.partitions() == {name: 9}


def test_topic_of_aborted_records_alone_is_at_its_end(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    producer = transactional(kafka, topic_name)
    producer.init()
    producer.begin()
    write(producer, topic_name, b"never")
    producer.abort()
    producer.close()
    source = make(bounded=True)
    source.open({})
    assert read_all(source) == []


def test_open_transaction_ends_a_bounded_read(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"before"])
    producer = transactional(kafka, topic_name)
    producer.init()
    producer.begin()
    write(producer, topic_name, b"open")
    source = make(bounded=True)
    source.open({})
    assert read_all(source) == [b"before"]
    following = make()
    following.open({})
    seen = [value for fetch in fetches(following, lambda: following.progress().done == 1) for value in values(fetch)]
    assert seen == [b"before"]
    producer.send({}, 1, "")
    producer.commit()
    seen = [value for fetch in fetches(following, lambda: following.progress().done >= 2) for value in values(fetch)]
    assert seen == [b"open"]
    producer.close()


def test_lost_records_are_an_error_that_says_how_many(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"%d" % i for i in range(20)])
    kafka.topics.delete_before(topic_name, 0, 15)
    with pytest.raises(FatalConnectorError, match=r"at offset 5, but the topic begins at 15: 10 offsets are gone") as e:
        make().open({f"{topic_name}-0": 5})
    assert e.value.code == "E4107"
    source = make(bounded=True)
    source.open({})
    assert len(read_all(source)) == 5


def test_records_lost_while_running_are_an_error(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    for i in range(40):  # each a batch of its own, of which the client's queue holds a few
        kafka.write(topic_name, [b"%d" % i * 100_000])
    small = {"fetch.message.max.bytes": "1000", "queued.max.messages.kbytes": "100", "queued.min.messages": "1"}
    source = make(properties={**SUGGESTED, **REQUIRED, **kafka.properties, **small})
    source.open({})
    assert next(fetches(source, lambda: False, Limit(1, 1 << 30, 1000))).offset == 0
    kafka.topics.delete_before(topic_name, 0, 39)
    with pytest.raises(FatalConnectorError, match=r"\d+ offsets are gone"):
        list(fetches(source, lambda: False))


def test_position_behind_the_end_is_an_error(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    with pytest.raises(FatalConnectorError, match="at offset 5, but the topic ends at 0: it was recreated"):
        make().open({f"{topic_name}-0": 5})


def test_topic_made_anew_is_not_taken_for_the_one_that_was_read(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"old"])
    source = make()
    source.check({}, {})
    source.open({})
    kept = dict(source.identities())
    assert set(kept) == {topic_name}
    again = make()
    again.check({f"{topic_name}-0": 1}, kept)
    again.open({f"{topic_name}-0": 1})
    assert again.identities() == kept
    kafka.topics.delete(topic_name)
    with pytest.raises(FatalConnectorError, match="no longer exists") as gone:
        make(create=NewTopicSettings()).check({f"{topic_name}-0": 1}, kept)
    assert gone.value.code == "E4103"
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"new", b"new"])
    with pytest.raises(FatalConnectorError, match="deleted and recreated") as anew:
        make().check({f"{topic_name}-0": 1}, kept)
    now = make()
    now.check({f"{topic_name}-0": 1}, {})
    now.open({f"{topic_name}-0": 1})
    assert now.identities() != kept
    assert anew.value.code == "E4111"
    assert all(id in anew.value.message for id in (kept[topic_name], now.identities()[topic_name]))


def test_topic_made_anew_while_it_is_read_is_noticed(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"old"])
    source = make(discovery_interval_ms=1000.0)
    source.open({})
    next(fetches(source, lambda: False))
    kafka.topics.delete(topic_name)
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"new"] * 3)
    with pytest.raises(FatalConnectorError) as error:
        list(fetches(source, lambda: False))
    assert error.value.code in ("E4111", "E4107"), error.value.message


def test_partitions_that_appear_are_read_from_their_start(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"old"])
    source = make(startup=Startup("latest"), discovery_interval_ms=0.0)
    source.open({})
    assert source.reached() == {f"{topic_name}-0": 1}
    kafka.topics.grow(topic_name, 3)
    kafka.write(topic_name, [Record(b"new %d" % p, partition=p) for p in range(3)])
    found: set[bytes | None] = set()
    for fetch in fetches(source, lambda: source.progress().done == 3):
        found |= set(values(fetch))
    assert found == {b"new 0", b"new 1", b"new 2"}
    assert set(source.partitions()) == {f"{topic_name}-{p}" for p in range(3)}


def test_share_of_a_growing_topic_grows_by_its_own_partitions(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, 2)
    source = make(discovery_interval_ms=0.0, share=Share(1, 2))
    source.open({})
    assert source.reached() == {f"{topic_name}-1": 0}
    kafka.topics.grow(topic_name, 5)
    kafka.write(topic_name, [Record(b"%d" % p, partition=p) for p in range(5)])
    found: set[bytes | None] = set()
    for fetch in fetches(source, lambda: source.progress().done == 2):
        found |= set(values(fetch))
    assert found == {b"1", b"3"}
    assert set(source.partitions()) == {f"{topic_name}-1", f"{topic_name}-3"}


def test_topic_that_must_keep_its_partitions_is_left_when_it_grows(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, 2)
    source = make(share=Share(0, 2), partitions=2)
    source.open({})
    kafka.topics.grow(topic_name, 3)
    with pytest.raises(FatalConnectorError) as error:
        for _ in fetches(source, lambda: False):
            pass
    assert error.value.code == "E4112"
    with pytest.raises(FatalConnectorError):
        make(share=Share(0, 2), partitions=2).open({})


def test_partitions_that_appeared_meanwhile_are_read_from_their_start(
    kafka: Cluster, topic_name: str, make: Make
) -> None:
    kafka.create_topic(topic_name)
    kafka.topics.grow(topic_name, 2)
    kafka.write(topic_name, [Record(b"new", partition=1)])
    source = make(startup=Startup("latest"), bounded=True)
    source.open({f"{topic_name}-0": 0})
    assert read_all(source) == [b"new"]


@pytest.mark.parametrize(
    ("startup", "expected"),
    [
        (Startup(), [0, 1, 2, 3, 4]),
        (Startup("latest"), []),
        (Startup("timestamp", 1_700_000_002_500), [3, 4]),
        (Startup("timestamp", 1_800_000_000_000), []),
        (Startup("offsets", offsets={0: 4}), [4]),
        (Startup("offsets", offsets={1: 4}), [0, 1, 2, 3, 4]),
    ],
)
def test_new_job_begins_where_startup_says(
    kafka: Cluster, topic_name: str, make: Make, startup: Startup, expected: list[int]
) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [Record(b"%d" % i, timestamp_ms=1_700_000_000_000 + i * 1000) for i in range(5)])
    source = make(startup=startup, bounded=True)
    source.open({})
    assert read_all(source) == [b"%d" % i for i in expected]


def test_unknown_topic_is_named(topic_name: str, make: Make) -> None:
    with pytest.raises(FatalConnectorError, match=f"there is no topic {topic_name}") as error:
        make().open({})
    assert error.value.code == "E4103"


def test_topic_is_made_when_it_is_asked_for(kafka: Cluster, topic_name: str, make: Make) -> None:
    source = make(create=NewTopicSettings(2))
    source.open({})
    assert kafka.topics.partitions(topic_name) == 2
    kafka.write(topic_name, [b"1"])
    assert [value for fetch in fetches(source, lambda: source.progress().done == 1) for value in values(fetch)] == [
        b"1"
    ]


def test_wrong_address_is_an_error_that_names_it(make: Make) -> None:
    with pytest.raises(TransientError, match=r"cannot reach 127\.0\.0\.1:1:") as error:
        make(Cluster("127.0.0.1:1")).open({})
    assert error.value.code == "E4101"
    assert "bootstrap.servers" in str(error.value.hint)


def test_unknown_host_is_an_error_that_says_so(make: Make) -> None:
    with pytest.raises(TransientError, match=r"no-such-host\.invalid") as error:
        make(Cluster("no-such-host.invalid:9092")).open({})
    assert error.value.code == "E4101"


def test_deleted_topic_is_an_error(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"1"])
    source = make(discovery_interval_ms=0.0)
    source.open({})
    list(fetches(source, lambda: source.progress().done == 1))
    kafka.topics.delete(topic_name)
    with pytest.raises(FatalConnectorError) as error:
        list(fetches(source, lambda: False))
    assert error.value.code == "E4103"


def test_many_partitions_give_large_batches(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, partitions=20)
    kafka.write(topic_name, (Record(b"%d" % i, partition=i % 20) for i in range(40_000)))
    source = make(bounded=True)
    source.open({})
    sizes = [len(values(fetch)) for fetch in fetches(source, lambda: source.ended, replace(WAIT, fill=True))]
    assert sum(sizes) == 40_000
    assert len(sizes) <= 60


def test_wait_of_a_batch_is_over_when_its_first_record_has_waited(kafka: Cluster, topic_name: str, make: Make) -> None:
    """Records of many partitions that came together do not wait one after the other."""
    kafka.create_topic(topic_name, partitions=10)
    source = make()
    source.open({})
    kafka.write(topic_name, [Record(b"x", partition=p) for p in range(10)])
    limit = Limit(10_000, 1 << 30, 500, fill=True)
    clock = SystemClock()
    began_ms = clock.monotonic_ms()
    assert sum(len(values(fetch)) for fetch in fetches(source, lambda: source.progress().done == 10, limit)) == 10
    assert clock.monotonic_ms() - began_ms < 10 * 500


def test_batch_says_that_all_that_waited_is_given(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, partitions=3)
    kafka.write(topic_name, [Record(b"%d" % i, partition=i % 3) for i in range(90)])
    source = make()
    source.open({})
    whole = Limit(100, 1 << 30, 500, fill=True)
    found = list(itertools.islice(fetches(source, lambda: False, whole), 3))
    assert [len(values(fetch)) for fetch in found] == [30, 30, 30]
    assert [fetch.drained for fetch in found] == [False, False, True]
    source.close()
    source.open({})
    full = next(fetches(source, lambda: False, Limit(10, 1 << 30, 500, fill=True)))
    assert (len(values(full)), full.drained) == (10, False)


def test_last_record_is_known_to_be_the_last(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, partitions=2)
    kafka.write(topic_name, [Record(b"%d" % i, partition=i % 2) for i in range(10)])
    source = make()
    source.open({})
    *_, last = fetches(source, lambda: source.progress().done == 10)
    assert last.caught_up
    list(fetches(source, lambda: source.progress().lag == {f"{topic_name}-0": 0, f"{topic_name}-1": 0}))


def test_committed_positions_are_the_groups(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"1", b"2"])
    source = make()
    source.open({})
    positions: Mapping[str, object] = {f"{topic_name}-0": 2}
    source.commit({f"{topic_name}-0": 2})
    settings = KafkaProducerSettings(
        kafka.properties, {topic_name: None}, f"{topic_name}-group", source_topics=(topic_name,)
    )
    reader = KafkaProducer(settings)
    for _ in range(POLLS_MAX):
        source.poll(Limit(1, 1, 10))
        found = {name: committed.offset for name, committed in reader.committed().items()}
        if found == positions:
            break
    assert found == positions
    reader.close()


def test_nulls_are_counted_and_oversized_values_leave_the_block_empty(
    kafka: Cluster, topic_name: str, make: Make
) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"1", None])
    source = make(bounded=True)
    source.open({})
    (fetch,) = fetches(source, lambda: source.ended)
    assert (values(fetch), fetch.tombstones, fetch.position) == ([b"1"], 1, 2)
    assert isinstance(fetch.records, MemoryFile)
    assert fetch.records.read() == b"1\n"
    small = make(bounded=True, record_bytes_max=3)
    kafka.write(topic_name, [b"four"])
    small.open({f"{topic_name}-0": 2})
    (fetch,) = fetches(small, lambda: small.ended)
    assert fetch.messages is not None
    assert fetch.messages.joined is None
    assert isinstance(fetch.records, MemoryFile)
    assert fetch.records.read() == b""


def test_source_goes_on_after_its_broker_was_killed(kafka: Cluster, topic_name: str, make: Make) -> None:
    with Broker() as broker:
        broker.create_topic(topic_name)
        broker.write(topic_name, [b"1"])
        source = make(broker, properties={**SUGGESTED, **REQUIRED, **broker.properties, **SOON})
        source.open({})
        list(fetches(source, lambda: source.progress().done == 1))
        broker.kill()
        assert source.poll(WAIT) is None
        broker.start()
        broker.write(topic_name, [b"2"])
        assert [v for f in fetches(source, lambda: source.progress().done == 2) for v in values(f)] == [b"2"]


def test_client_reports_its_queue_and_round_trips(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, partitions=4)
    kafka.write(topic_name, [Record(b"x" * 100, partition=i % 4) for i in range(4_000)])
    # Longer than a fetch waits: there is a round trip in each report, whatever it falls together with.
    properties = {**SUGGESTED, **REQUIRED, **kafka.properties, "statistics.interval.ms": "700"}
    source = make(properties=properties)
    source.open({})
    assert source.progress().client is None

    def reported() -> bool:
        figures = source.progress().client
        return figures is not None and figures.round_trip_ms is not None

    assert sum(1 for _ in fetches(source, reported)) <= POLLS_MAX
    figures = source.progress().client
    assert figures is not None
    assert 0 <= figures.waiting_records <= 4_000 + 4
    assert 0 <= figures.waiting_bytes <= 400_000
    assert 0 < (figures.round_trip_ms or 0) <= (figures.round_trip_p99_ms or 0) * 1.1
    assert (figures.transmission_errors, figures.timeouts, figures.transactions) == (0, 0, {})


def test_client_that_is_to_report_nothing_has_no_figures(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [b"1"])
    properties = {**SUGGESTED, **REQUIRED, **kafka.properties, "statistics.interval.ms": "0"}
    source = make(properties=properties, bounded=True)
    source.open({})
    assert read_all(source) == [b"1"]
    assert source.progress().client is None


def test_client_fetches_ahead_up_to_its_bound_and_a_fetch(kafka: Cluster, topic_name: str, make: Make) -> None:
    kafka.create_topic(topic_name, partitions=3)
    kafka.write(topic_name, [Record(b"x" * 1_000, partition=i % 3) for i in range(24_000)])
    bounds = {"queued.max.messages.kbytes": "1024", "queued.min.messages": "1000000"}
    properties = {**SUGGESTED, **REQUIRED, **kafka.properties, **bounds, "statistics.interval.ms": "5"}
    source = make(properties=properties, bounded=True)
    source.open({})
    seen, count = set(), 0
    while not source.ended:
        found = source.poll(Limit(rows=2_000, bytes=1 << 30, wait_ms=20, fill=False))
        count += len(values(found)) if found is not None else 0
        figures = source.progress().client
        seen.add(figures.waiting_bytes if figures is not None else 0)
    assert count == 24_000
    # A fetch gives at least one batch of a partition, and the client that wrote them makes batches of a megabyte.
    assert 0 < max(seen) <= 4 << 20
