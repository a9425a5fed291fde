"""What every sink promises of what is not decided: taken back by marks, by transactions, or not.

Which of the three a sink is, its connector declares. A topic is taken back by its producer's transactions when it has
them, and written at least once when it has none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from ferrisstreams.batch import JsonValue, Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.base import Sink, Transactions
from ferrisstreams.connectors.blackhole import BlackholeSink
from ferrisstreams.connectors.compression import Compression
from ferrisstreams.connectors.file_content import RestartPoint, StreamContent, StreamSettings
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.framing import LineFraming
from ferrisstreams.connectors.kafka.producer import KafkaProducer, KafkaProducerSettings
from ferrisstreams.connectors.kafka.sink import KafkaSink
from ferrisstreams.connectors.memory import MemorySink
from ferrisstreams.connectors.output_names import OutputNames
from ferrisstreams.connectors.rotating_sink import RotatingSink, RotatingSinkSettings, Rotation
from ferrisstreams.errors import StateError
from tests.broker import Cluster


@dataclass
class World:
    """`make` gives a sink over the same target, as a job does when it starts again; `content` what is there now.

    `transactions` are those of the sink that was made last; None: the marks are all there is.
    """

    make: Callable[[], Sink]
    payload: Callable[[int], Payload]
    content: Callable[[], list[int] | int]
    transactions: Callable[[], Transactions] | None = None
    with_marks: bool = True

    @property
    def takes_back(self) -> bool:
        return self.with_marks or self.transactions is not None

    def open(self, mark: JsonValue) -> Sink:
        """A job's start."""
        sink = self.make()
        if self.transactions is not None:
            self.transactions().init()
        sink.open(mark)
        return sink

    def begin(self) -> None:
        """The beginning of an epoch."""
        if self.transactions is not None:
            self.transactions().begin()

    def write(self, sink: Sink, *rows: int) -> None:
        for row in rows:
            assert not sink.write(self.payload(row))

    def decide(self, sink: Sink, epoch: int) -> JsonValue:
        """The end of an epoch."""
        mark = sink.flush()
        if self.transactions is not None:
            self.transactions().send({}, epoch, f"token {epoch}")
            self.transactions().commit()
        sink.confirm(mark)
        return mark

    def take_back(self, sink: Sink, mark: JsonValue) -> None:
        """What a job does with an epoch that fails."""
        if self.transactions is not None:
            self.transactions().abort()
        sink.rollback(mark)

    def expect(self, rows: list[int]) -> None:
        found = self.content()
        assert found == (len(rows) if isinstance(found, int) else rows)


def file(folder: Path) -> World:
    path = folder / "out.csv"
    return World(
        make=lambda: FileSink(FileSinkSettings(str(path), header=b"head\n")),
        payload=lambda row: Payload(b"%d\n" % row, 1),
        content=lambda: [int(line) for line in path.read_text().splitlines()[1:]],
    )


def packed_file(folder: Path, compression: Compression) -> World:
    path = folder / "out.csv.packed"

    def content() -> list[int]:
        assert path.stat().st_size, "a packed file is a whole one from the first mark on"
        stream = StreamSettings(compression)
        copy = folder / "copy"  # because whoever reads the output itself stops at what is decided
        copy.write_bytes(path.read_bytes())
        found = StreamContent(str(copy), os.open(copy, os.O_RDONLY), stream, RestartPoint())
        lines = found.part(0, 1 << 20).decode().splitlines()
        found.check()
        found.close()
        return [int(line) for line in lines[1:]]

    return World(
        make=lambda: FileSink(FileSinkSettings(str(path), header=b"head\n", compression=compression)),
        payload=lambda row: Payload(b"%d\n" % row, 1),
        content=content,
    )


def gzip_file(folder: Path) -> World:
    return packed_file(folder, "gzip")


def zstd_file(folder: Path) -> World:
    return packed_file(folder, "zstd")


def rotated(folder: Path, rows: int = 2, **more: str) -> World:
    """What is decided and what is still pending; files in between have `rows` rows."""
    clock = ManualClock()
    names = OutputNames(str(folder / "%Y" / "out-{n:03}.csv"))
    settings = RotatingSinkSettings(names, LineFraming(), Rotation(rows=rows), header=b"head\n")

    def content() -> list[int]:
        return [int(line) for path in names.existing() for line in Path(path).read_text().splitlines()[1:]]

    return World(
        make=lambda: RotatingSink(settings, clock), payload=lambda row: Payload(b"%d\n" % row, 1), content=content
    )


def rotated_at_each_row(folder: Path) -> World:
    return rotated(folder, rows=1)


def memory(folder: Path) -> World:
    sink = MemorySink()
    return World(
        make=lambda: sink,
        payload=lambda row: Payload(pa.table({"a": [row]}), 1),
        content=lambda: [row for table in sink.tables for row in table.column("a").to_pylist()],
    )


def blackhole(folder: Path) -> World:
    sink = BlackholeSink()
    return World(make=lambda: sink, payload=lambda row: Payload(b"x\n", 1), content=lambda: sink.rows)


def topic(kafka: Cluster, name: str, transactional: bool = True) -> World:
    """A topic of a real broker."""
    kafka.create_topic(name)
    producers: list[KafkaProducer] = []

    def make() -> KafkaSink:
        settings = KafkaProducerSettings(kafka.properties, {name: None}, name, name if transactional else None)
        producers.append(KafkaProducer(settings))
        return KafkaSink(producers[-1], name)

    return World(
        make=make,
        payload=lambda row: Payload(b"%d\n" % row, 1),
        content=lambda: [int(record.value or b"") for record in kafka.read(name)],
        transactions=(lambda: producers[-1]) if transactional else None,
        with_marks=False,
    )


def topic_at_least_once(kafka: Cluster, name: str) -> World:
    return topic(kafka, name, transactional=False)


WITH_MARKS = [file, gzip_file, zstd_file, rotated, rotated_at_each_row, memory, blackhole]
WITHOUT = [topic, topic_at_least_once]


@pytest.fixture(params=WITH_MARKS, ids=lambda make: make.__name__)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A sink with marks."""
    made = request.param(tmp_path)
    assert isinstance(made, World)
    return made


@pytest.fixture(params=[*WITH_MARKS, *WITHOUT], ids=lambda make: make.__name__)
def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param in WITH_MARKS:
        made = request.param(tmp_path)
    else:
        made = request.param(request.getfixturevalue("kafka"), request.getfixturevalue("topic_name"))
    assert isinstance(made, World)
    return made


def write(world: World, sink: Sink, *rows: int) -> JsonValue:
    for row in rows:
        sink.write(world.payload(row))
    return sink.flush()


def test_rows_after_a_mark_are_taken_back(world: World) -> None:
    sink = world.make()
    sink.open(None)
    first = write(world, sink)
    second = write(world, sink, 1, 2)
    write(world, sink, 3)
    sink.rollback(second)
    write(world, sink, 4)
    world.expect([1, 2, 4])
    sink.rollback(first)
    sink.flush()
    world.expect([])
    sink.close()


def test_crash_leaves_nothing_behind_the_mark(world: World) -> None:
    sink = world.make()
    sink.open(None)
    mark = write(world, sink, 1, 2)
    write(world, sink, 3, 4)
    sink.close()
    again = world.make()
    again.open(mark)
    write(world, again, 5)
    world.expect([1, 2, 5])
    again.close()


def test_check_of_a_new_job_changes_nothing(world: World, tmp_path: Path) -> None:
    world.make().check()
    assert list(tmp_path.iterdir()) == []


def test_crash_before_the_first_mark_leaves_nothing(world: World) -> None:
    sink = world.make()
    sink.open(None)
    sink.flush()
    sink.close()
    again = world.make()
    again.open(None)
    write(world, again, 1)
    world.expect([1])
    again.close()


def test_mark_of_another_kind_is_refused(world: World) -> None:
    sink = world.make()
    sink.open(None)
    with pytest.raises(StateError):
        sink.rollback("elsewhere")
    sink.close()


def test_decided_rows_are_there_after_confirm_or_the_next_open(world: World) -> None:
    sink = world.make()
    sink.open(None)
    first = write(world, sink, 1)
    sink.confirm(first)
    sink.confirm(first)
    world.expect([1])
    second = write(world, sink, 2)
    sink.close()
    again = world.make()
    again.open(second)
    world.expect([1, 2])
    again.confirm(second)
    world.expect([1, 2])
    again.close()


def test_epoch_that_fails_is_taken_back(any_world: World) -> None:
    sink = any_world.open(None)
    any_world.begin()
    any_world.write(sink, 1, 2)
    mark = any_world.decide(sink, 1)
    any_world.expect([1, 2])
    any_world.begin()
    any_world.write(sink, 3)
    sink.flush()
    any_world.take_back(sink, mark)
    any_world.begin()
    any_world.write(sink, 4, 5)
    any_world.decide(sink, 2)
    any_world.expect([1, 2, 4, 5] if any_world.takes_back else [1, 2, 3, 4, 5])
    sink.close()


def test_epoch_that_a_crash_cut_off_is_taken_back(any_world: World) -> None:
    sink = any_world.open(None)
    any_world.begin()
    any_world.write(sink, 1)
    mark = any_world.decide(sink, 1)
    any_world.begin()
    any_world.write(sink, 2, 3)
    sink.flush()
    sink.close()
    again = any_world.open(mark)
    any_world.begin()
    any_world.write(again, 4)
    any_world.decide(again, 2)
    any_world.expect([1, 4] if any_world.takes_back else [1, 2, 3, 4])
    again.close()


def test_epoch_without_rows_is_one(any_world: World) -> None:
    sink = any_world.open(None)
    for epoch in (1, 2):
        any_world.begin()
        any_world.decide(sink, epoch)
    any_world.begin()
    any_world.write(sink, 7)
    any_world.decide(sink, 3)
    any_world.expect([7])
    sink.close()


def test_decided_rows_stand_whatever_comes_after(any_world: World) -> None:
    sink = any_world.open(None)
    marks: list[JsonValue] = []
    for epoch in range(1, 4):
        any_world.begin()
        any_world.write(sink, epoch)
        marks.append(any_world.decide(sink, epoch))
    sink.close()
    again = any_world.open(marks[-1])
    again.confirm(marks[-1])
    any_world.expect([1, 2, 3])
    again.close()
