from __future__ import annotations

import pyarrow as pa
import pytest

from ferrisstreams.batch import Limit, Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.memory import MemorySink, MemorySource
from ferrisstreams.errors import InternalError, StateError


def test_open_input_waits_for_more_until_it_is_closed() -> None:
    clock = ManualClock()
    source = MemorySource([], clock, endless=True)
    source.open({})
    limit = Limit(10, 10**9, 100)
    assert source.poll(limit) is None
    assert clock.monotonic_ms() == 100
    assert not source.ended
    source.feed(pa.table({"a": [1, 2]}))
    source.feed(pa.table({"a": [3]}))
    fetch = source.poll(limit)
    assert fetch is not None
    assert fetch.records.column("a").to_pylist() == [1, 2, 3]
    assert not source.ended
    source.close_input()
    assert source.ended
    with pytest.raises(InternalError):
        source.feed(pa.table({"a": [4]}))


def test_filling_poll_waits_for_the_limit() -> None:
    clock = ManualClock()
    source = MemorySource([pa.table({"a": [1]})], clock, endless=True)
    source.open({})
    assert source.poll(Limit(2, 10**9, 100, fill=True)) is not None
    assert clock.monotonic_ms() == 100
    source.open({})
    source.feed(pa.table({"a": [2]}))
    assert source.poll(Limit(2, 10**9, 100, fill=True)) is not None
    assert clock.monotonic_ms() == 100


def test_position_beyond_the_rows_is_refused() -> None:
    with pytest.raises(StateError, match="has 1 rows, but the job has read 2"):
        MemorySource([pa.table({"a": [1]})]).open({"memory": 2})


def test_mark_beyond_the_rows_is_refused() -> None:
    with pytest.raises(StateError, match="fewer than the 5"):
        MemorySink().open(5)


def test_bytes_are_not_taken() -> None:
    with pytest.raises(InternalError):
        MemorySink().write(Payload(b"x", 1))


def test_sink_gives_all_rows_as_one_table() -> None:
    sink = MemorySink()
    sink.open(None)
    assert sink.table() is None
    for value in (1, 2):
        sink.write(Payload(pa.table({"a": [value]}), 1))
    table = sink.table()
    assert table is not None
    assert table.to_pydict() == {"a": [1, 2]}
