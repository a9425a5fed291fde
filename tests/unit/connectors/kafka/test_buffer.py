"""Messages that wait: in order within a partition, the fullest first, and no partition forgotten."""

from __future__ import annotations

from confluent_kafka import Message

from ferrisstreams.connectors.kafka.buffer import PATIENCE_MS, Buffer
from ferrisstreams.connectors.kafka.messages import Chunk, chunk_of


def messages(partition: int, start: int, stop: int) -> Chunk:
    made = [Message(topic="t", partition=partition, offset=n, value=b"%d" % n) for n in range(start, stop)]
    return chunk_of(made, times=True)


def offsets(taken: list[Chunk]) -> list[int]:
    assert [value for chunk in taken for value in chunk.values] == [b"%d" % n for chunk in taken for n in chunk.offsets]
    return [offset for chunk in taken for offset in chunk.offsets]


def test_messages_of_a_partition_come_in_order_however_they_are_taken() -> None:
    buffer = Buffer()
    buffer.add(0, messages(0, 0, 5), 0.0)
    assert offsets(buffer.take(0, 2, 0.0)) == [0, 1]
    buffer.add(0, messages(0, 5, 8), 0.0)
    assert buffer.waiting(0) == 6
    assert offsets(buffer.take(0, 100, 0.0)) == [2, 3, 4, 5, 6, 7]
    assert (buffer.records, buffer.since_ms(), buffer.next_partition(0.0)) == (0, None, None)


def test_fullest_partition_goes_first_unless_one_has_waited_too_long() -> None:
    buffer = Buffer()
    buffer.add(1, messages(1, 0, 1), 0.0)
    buffer.add(2, messages(2, 0, 9), 10.0)
    assert buffer.fullest() == 9
    assert buffer.next_partition(20.0) == 2
    assert buffer.next_partition(PATIENCE_MS + 1) == 1
    assert buffer.since_ms() == 0.0


def test_messages_from_an_offset_on_are_dropped() -> None:
    buffer = Buffer()
    buffer.add(0, messages(0, 0, 5), 0.0)
    buffer.take(0, 1, 0.0)
    buffer.drop_from(0, 3)
    buffer.drop_from(7, 3)
    assert (buffer.records, buffer.waiting(0), buffer.since_ms()) == (2, 2, 0.0)
    assert offsets(buffer.take(0, 9, 0.0)) == [1, 2]
    assert buffer.records == 0


def test_messages_are_dropped_from_several_chunks() -> None:
    buffer = Buffer()
    for start in (0, 5, 10):
        buffer.add(0, messages(0, start, start + 5), 0.0)
    buffer.take(0, 6, 0.0)
    buffer.drop_from(0, 8)
    assert offsets(buffer.take(0, 1, 0.0)) == [6]
    assert offsets(buffer.take(0, 9, 0.0)) == [7]
    assert (buffer.records, buffer.next_partition(0.0)) == (0, None)
