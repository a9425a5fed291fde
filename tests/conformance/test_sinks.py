"""What every sink with marks promises: what lies behind the last mark can be taken back."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from ferrisstreams.batch import JsonValue, Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.base import Sink
from ferrisstreams.connectors.blackhole import BlackholeSink
from ferrisstreams.connectors.compression import Compression
from ferrisstreams.connectors.file_content import RestartPoint, StreamContent, StreamSettings
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.framing import LineFraming
from ferrisstreams.connectors.memory import MemorySink
from ferrisstreams.connectors.output_names import OutputNames
from ferrisstreams.connectors.rotating_sink import RotatingSink, RotatingSinkSettings, Rotation
from ferrisstreams.errors import StateError


@dataclass
class World:
    """`make` gives a sink over the same target, as a job does when it starts again; `content` what is there now."""

    make: Callable[[], Sink]
    payload: Callable[[int], Payload]
    content: Callable[[], list[int] | int]

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
        fd = os.open(path, os.O_RDONLY)
        found = StreamContent(str(path), fd, stream, RestartPoint())
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


@pytest.fixture(
    params=[file, gzip_file, zstd_file, rotated, rotated_at_each_row, memory, blackhole], ids=lambda make: make.__name__
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made = request.param(tmp_path)
    assert isinstance(made, World)
    return made


def write(world: World, sink: Sink, *rows: int) -> JsonValue:
    for row in rows:
        sink.write(world.payload(row))
    return sink.flush()


def test_rows_after_a_mark_are_taken_back(world: World) -> None:
    sink = world.make()
    assert sink.exactly_once
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
