from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.batch import Limit, Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.testing.doubles import CollectingSink, Cuts, Records, RecordSource

RECORDS = Records({"a": [b"1", b"2", b"3"], "b": [], "c": [b"4", b"5"]})


def drain(source: RecordSource, block: MemoryFile, limit: Limit) -> list[tuple[str, bytes]]:
    given = []
    while not source.ended:
        if (fetch := source.poll(limit)) is not None:
            given += [(fetch.partition, line) for line in block.read().splitlines()]
    return given


CUTS = st.builds(Cuts, st.none() | st.integers(0, 99), st.integers(1, 5), st.booleans(), rests=st.booleans())


@given(CUTS, st.integers(1, 4))
def test_source_gives_every_record_once_and_in_order_however_it_is_cut(cuts: Cuts, rows: int) -> None:
    block = MemoryFile()
    source = RecordSource(RECORDS, cuts, block, ManualClock())
    source.open({})
    got = drain(source, block, Limit(rows, 1000))
    for name, records in RECORDS.partitions.items():
        assert [line for partition, line in got if partition == name] == records
    assert source.ended
    assert source.partitions() == {}
    block.close()


def test_source_goes_on_from_its_positions() -> None:
    block = MemoryFile()
    source = RecordSource(RECORDS, Cuts(), block, ManualClock())
    source.open({"a": 2, "c": 2})
    assert drain(source, block, Limit(10, 10)) == [("a", b"3")]
    block.close()


def test_source_keeps_to_the_bytes_of_the_limit() -> None:
    block = MemoryFile()
    source = RecordSource(Records({"a": [b"123", b"45", b"6"]}), Cuts(), block, ManualClock())
    source.open({})
    sizes = []
    while (fetch := source.poll(Limit(10, 7))) is not None:
        sizes.append((fetch.offset, fetch.position, fetch.caught_up))
    assert sizes == [(0, 2, False), (2, 3, True)]
    block.close()


def test_sink_takes_back_what_lies_behind_its_mark() -> None:
    sink = CollectingSink()
    sink.open(None)
    sink.write(Payload(pa.table({"a": [1]}), 1))
    mark = sink.flush()
    sink.write(Payload(b"x\ny\n", 2))
    assert sink.lines == [b"x", b"y"]
    sink.open(mark)
    assert sink.lines == []
    assert [table.to_pydict() for table in sink.tables] == [{"a": [1]}]
