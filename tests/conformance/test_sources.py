"""What every source promises: positions, however records are cut into fetches."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from ferrisstreams.batch import Fetch, Limit, Positions, RowRange
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.base import Source
from ferrisstreams.connectors.compression import new_packer
from ferrisstreams.connectors.datagen import DatagenSettings, DatagenSource
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.connectors.framing import CsvFraming, Framing, LineFraming
from ferrisstreams.connectors.kafka.source import KafkaSource, KafkaSourceSettings
from ferrisstreams.connectors.memory import MemorySource
from ferrisstreams.memory_file import MemoryFile
from tests.broker import Cluster

#: How long a record that is there may take: one of a broker has a way to go.
PATIENCE_MS = 30_000.0
ALL = Limit(rows=10**9, bytes=10**9, wait_ms=PATIENCE_MS)
LIMITS = [
    Limit(rows=1, bytes=10**9, wait_ms=PATIENCE_MS),
    Limit(rows=3, bytes=10**9, wait_ms=PATIENCE_MS),
    Limit(rows=10**9, bytes=1, wait_ms=PATIENCE_MS),
    Limit(rows=10**9, bytes=40, wait_ms=PATIENCE_MS),
    ALL,
]


@dataclass
class World:
    """A source's outside: `make` opens it anew over the same records, `grow` adds some."""

    make: Callable[[], Source]
    expected: list[object]
    framing: Framing = field(default_factory=LineFraming)
    grow: Callable[[], Sequence[object]] | None = None

    def records(self, fetch: Fetch) -> list[object]:
        match fetch.records:
            case MemoryFile() as block:
                data = block.read()
                return [data[start:end].strip() for start, end in self.framing.spans(data)]
            case RowRange(start, stop):
                return list(range(start, stop))
            case pa.Table() as table:
                return list(table.column(0).to_pylist())
        raise AssertionError


@pytest.fixture(scope="module")
def block() -> Iterator[MemoryFile]:
    block = MemoryFile()
    yield block
    block.close()


def lines(count: int, first: int = 0) -> list[bytes]:
    return [b'{"id":%d%s}' % (i, b',"x":"' + b"y" * (i % 7 * 10) + b'"' if i % 3 else b"") for i in range(first, count)]


def one_file(folder: Path, block: MemoryFile) -> World:
    path = folder / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n \r\n".join(lines(25)) + b"\n\n")

    def grow() -> list[bytes]:
        with path.open("ab") as file:
            file.write(b"\n".join(lines(30, 25)))
        return lines(30, 25)

    settings = FileSourceSettings(str(path))
    return World(lambda: FileSource(settings, block, ManualClock()), list(lines(25)), grow=grow)


def some_files(folder: Path, block: MemoryFile) -> World:
    (folder / "a.jsonl").write_bytes(b"\n".join(lines(5)))
    (folder / "b.jsonl").write_bytes(b"")
    (folder / "c.jsonl").write_bytes(b"\r\n".join(lines(20, 5)))

    def grow() -> list[bytes]:
        (folder / "d.jsonl").write_bytes(b"\n".join(lines(25, 20)))
        return lines(25, 20)

    settings = FileSourceSettings(str(folder / "*.jsonl"))
    return World(lambda: FileSource(settings, block, ManualClock()), list(lines(20)), grow=grow)


def csv_file(folder: Path, block: MemoryFile) -> World:
    path = folder / "a.csv"
    records = [b'%d,"say ""hi""\n%d",x' % (i, i) if i % 3 == 0 else b'%d,5" pipe,"a,b"' % i for i in range(20)]
    path.write_bytes(b"id,text,z\r\n" + b"\n".join(records) + b"\n")
    more = [b'99,"x\ny",z']

    def grow() -> list[bytes]:
        with path.open("ab") as file:
            file.write(more[0])
        return more

    settings = FileSourceSettings(str(path), framing="csv", header=True)
    return World(lambda: FileSource(settings, block, ManualClock()), list(records), CsvFraming(",", '"'), grow)


def mapped_file(folder: Path, block: MemoryFile) -> World:
    """The same file and the same answers."""
    plain = one_file(folder, block)
    settings = FileSourceSettings(str(folder / "a.jsonl"), mapped=True)
    return World(lambda: FileSource(settings, block, ManualClock()), plain.expected, grow=plain.grow)


def packed_file(folder: Path, block: MemoryFile, name: str, pack: Callable[[bytes], bytes]) -> World:
    """Members that begin anywhere in a line, an empty one among them."""
    path = folder / name
    content = b"\xef\xbb\xbf" + b"\n \r\n".join(lines(25)) + b"\n\n"
    cuts = [0, 3, 100, 100, 450, 451, len(content)]
    path.write_bytes(b"".join(pack(content[a:b]) for a, b in itertools.pairwise(cuts)))

    def grow() -> list[bytes]:
        with path.open("ab") as file:
            file.write(pack(b"\n".join(lines(30, 25))))
        return lines(30, 25)

    settings = FileSourceSettings(str(path))
    return World(lambda: FileSource(settings, block, ManualClock()), list(lines(25)), grow=grow)


def gzip_file(folder: Path, block: MemoryFile) -> World:
    return packed_file(folder, block, "a.jsonl.gz", gzip.compress)


def zstd_file(folder: Path, block: MemoryFile) -> World:
    packer = new_packer("zstd")
    return packed_file(folder, block, "a.jsonl.zst", lambda data: packer.pack(data) + packer.finish())


def gzip_files(folder: Path, block: MemoryFile) -> World:
    for name, first, stop in (("a", 0, 7), ("b", 7, 7), ("c", 7, 20)):
        (folder / f"{name}.gz").write_bytes(gzip.compress(b"\n".join(lines(stop, first))))

    def grow() -> list[bytes]:
        (folder / "d.gz").write_bytes(gzip.compress(b"\n".join(lines(25, 20))))
        return lines(25, 20)

    settings = FileSourceSettings(str(folder / "*.gz"))
    return World(lambda: FileSource(settings, block, ManualClock()), list(lines(20)), grow=grow)


def latin_csv(folder: Path, block: MemoryFile) -> World:
    path = folder / "a.csv"
    records = [f'{i},"Zürich\n{i}",é' if i % 3 == 0 else f'{i},naïve,"ß,ÿ"' for i in range(20)]
    path.write_bytes(("id,ört,z\r\n" + "\n".join(records) + "\n").encode("latin-1"))

    def grow() -> list[bytes]:
        with path.open("ab") as file:
            file.write("99,ü,é".encode("latin-1"))
        return ["99,ü,é".encode()]

    settings = FileSourceSettings(str(path), framing="csv", header=True, encoding="latin-1")
    expected: list[object] = [record.encode() for record in records]
    return World(lambda: FileSource(settings, block, ManualClock()), expected, CsvFraming(",", '"'), grow)


def elements(count: int) -> list[dict[str, object]]:
    return [{"id": i, "text": 'a,]}"\\' * (i % 3), "deep": [[{"x": [[[[[[{}]]]]]]}]], "n": None} for i in range(count)]


def json_array(folder: Path, block: MemoryFile) -> World:
    """One array over many lines; its elements become lines."""
    path = folder / "a.json"
    path.write_text("\ufeff \n" + json.dumps(elements(25), indent=1) + "\n\n", "utf-8")
    pieces = [json.dumps(element, indent=1).replace("\n", "\t ").encode() for element in elements(25)]
    settings = FileSourceSettings(str(path), array=True)
    return World(lambda: FileSource(settings, block, ManualClock()), list(pieces))


def packed_array(folder: Path, block: MemoryFile) -> World:
    path = folder / "a.json.gz"
    content = json.dumps(elements(25)).encode()
    path.write_bytes(gzip.compress(content[:333]) + gzip.compress(content[333:]))
    settings = FileSourceSettings(str(path), array=True)
    expected: list[object] = [json.dumps(element).encode() for element in elements(25)]
    return World(lambda: FileSource(settings, block, ManualClock()), expected)


def in_memory(folder: Path, block: MemoryFile) -> World:
    tables = [pa.table({"a": list(range(10))}), pa.table({"a": []}), pa.table({"a": list(range(10, 17))})]

    def grow() -> list[int]:
        tables.append(pa.table({"a": [17, 18]}))
        return [17, 18]

    return World(lambda: MemorySource(tables), list(range(17)), grow=grow)


def generated(folder: Path, block: MemoryFile) -> World:
    return World(lambda: DatagenSource(DatagenSettings(rows=40), ManualClock()), list(range(40)))


def topic(kafka: Cluster, name: str, block: MemoryFile) -> World:
    """A topic of a real broker."""
    kafka.create_topic(name)
    kafka.write(name, lines(25))

    def grow() -> list[bytes]:
        kafka.write(name, lines(30, 25))
        return lines(30, 25)

    settings = KafkaSourceSettings(name, kafka.properties, group=name, bounded=True)
    return World(lambda: KafkaSource(settings, block), list(lines(25)), grow=grow)


WORLDS = [
    *(one_file, some_files, csv_file, mapped_file, gzip_file, zstd_file, gzip_files, latin_csv, json_array),
    *(packed_array, in_memory, generated),
]


@pytest.fixture(params=[*WORLDS, topic], ids=lambda make: make.__name__)
def world(request: pytest.FixtureRequest, tmp_path: Path, block: MemoryFile) -> World:
    if request.param is topic:
        return topic(request.getfixturevalue("kafka"), request.getfixturevalue("topic_name"), block)
    made = request.param(tmp_path, block)
    assert isinstance(made, World)
    return made


def take(world: World, source: Source, limit: Limit) -> tuple[list[object], list[tuple[Positions, int]]]:
    """All records, and after each fetch the positions and how many records there were by then."""
    found: list[object] = []
    marks: list[tuple[Positions, int]] = []
    while not source.ended:
        fetch = source.poll(limit)
        if fetch is None:
            break
        records = world.records(fetch)
        assert 1 <= len(records) <= limit.rows
        found += records
        marks.append(({fetch.partition: fetch.position}, len(found)))
    return found, marks


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.rows}_rows_{limit.bytes}_bytes")
def test_every_cut_gives_the_same_records(world: World, limit: Limit) -> None:
    source = world.make()
    source.open({})
    found, _ = take(world, source, limit)
    assert found == world.expected
    assert source.ended
    assert source.poll(limit) is None
    progress = source.progress()
    assert progress.done == progress.total
    source.close()


def test_every_position_can_be_gone_back_to(world: World) -> None:
    source = world.make()
    source.open({})
    _, marks = take(world, source, Limit(rows=2, bytes=10**9, wait_ms=PATIENCE_MS))
    for positions, count in marks:
        again = world.make()
        again.open(positions)
        assert take(world, again, LIMITS[1])[0] == world.expected[count:]
        again.close()
    source.close()


def test_source_tells_its_open_partitions(world: World) -> None:
    source = world.make()
    source.open({})
    assert len(source.partitions()) == 1
    while (fetch := source.poll(LIMITS[1])) is not None and not source.ended:
        assert source.partitions() == {fetch.partition: fetch.position}
    finished = source.partitions()
    assert finished == ({fetch.partition: fetch.position} if fetch is not None and fetch.messages is not None else {})
    source.close()


def test_finished_source_goes_on_when_it_has_grown(world: World) -> None:
    if world.grow is None:
        return
    source = world.make()
    source.open({})
    _, marks = take(world, source, LIMITS[1])
    source.close()
    more = world.grow()
    again = world.make()
    again.open(marks[-1][0])
    assert take(world, again, ALL)[0] == list(more)
    again.close()


def test_watched_files_grow_and_appear(tmp_path: Path, block: MemoryFile) -> None:
    clock = ManualClock()
    settings = FileSourceSettings(str(tmp_path / "*.jsonl"), watch=True)
    source = FileSource(settings, block, clock)
    source.open({})
    limit = Limit(rows=100, bytes=1000, wait_ms=200)
    assert source.poll(limit) is None
    assert clock.monotonic_ms() == 200
    (tmp_path / "b.jsonl").write_bytes(b'{"a":1}\n{"a":2}')
    positions: dict[str, object] = {}

    def polled() -> tuple[str, bytes] | None:
        fetch = source.poll(limit)
        if fetch is None:
            return None
        positions[fetch.partition] = fetch.position
        return fetch.partition, block.read()

    assert polled() == ("b.jsonl", b'{"a":1}\n')
    assert polled() is None, "a line waits for its newline"
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b"\n")
    (tmp_path / "a.jsonl").write_bytes(b'{"a":3}\n')
    assert sorted(filter(None, (polled(), polled()))) == [("a.jsonl", b'{"a":3}\n'), ("b.jsonl", b'{"a":2}\n')]
    assert polled() is None
    assert not source.ended
    assert set(source.partitions()) == {"a.jsonl", "b.jsonl"}
    kept = source.partitions()
    source.close()

    again = FileSource(settings, block, clock)
    again.open(kept)
    assert again.poll(limit) is None
    assert set(again.caught_up()) == {"a.jsonl", "b.jsonl"}, "also what gave nothing in this run"
    os.remove(tmp_path / "a.jsonl")
    again.close()
    again.open(kept)
    assert set(again.partitions()) == {"b.jsonl"}, "a file that was read whole may go"
    again.close()
