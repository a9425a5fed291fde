"""Messages as columns: whatever is asked of them is what the client gave, however they were cut."""

from __future__ import annotations

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.batch import RawRecord
from ferrisstreams.connectors.kafka.messages import Chunk, KafkaMessages, chunk_of

VALUES = st.one_of(st.none(), st.binary(max_size=5), st.sampled_from([b"", b"\n", b"a\nb", b"a" * 9]))
KEYS = st.one_of(st.none(), st.binary(max_size=3))
HEADERS = st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.binary(max_size=2))), max_size=2)


@st.composite
def made(draw: st.DrawFn) -> list[Message]:
    offsets = sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=12)))
    keyed, headed = draw(st.booleans()), draw(st.booleans())
    return [
        Message(
            topic="t",
            partition=0,
            offset=offset,
            value=draw(VALUES),
            key=draw(KEYS) if keyed else None,
            headers=(draw(HEADERS) or None) if headed else None,
            timestamp=(1, draw(st.integers(0, 9))) if draw(st.booleans()) else (0, -1),
        )
        for offset in offsets
    ]


def record(message: Message, value: bytes) -> RawRecord:
    offset, (kind, time_ms) = message.offset(), message.timestamp()
    assert offset is not None
    headers = message.headers()
    assert not isinstance(headers, dict)
    pairs = tuple((name, value if isinstance(value, bytes) else None) for name, value in headers or ())
    at_ms = time_ms if kind else None
    return RawRecord(value, offset, f"t-0 offset {offset}", message.key(), pairs, at_ms)


def cut(chunk: Chunk, sizes: list[int]) -> list[Chunk]:
    pieces, start = [], 0
    for size in [*sizes, len(chunk)]:
        stop = min(len(chunk), start + size)
        if stop > start:
            pieces.append(chunk.cut(start, stop))
        start = stop
    return pieces


@given(made(), st.lists(st.integers(1, 4)), st.sampled_from([5, 1000]))
def test_columns_hold_what_the_messages_with_a_value_held(messages: list[Message], sizes: list[int], most: int) -> None:
    found = KafkaMessages("t-0", cut(chunk_of(messages, times=True), sizes), most)
    values = [value for message in messages if (value := message.value()) is not None]
    records = [record(message, value) for message in messages if (value := message.value()) is not None]
    assert len(found) == len(values)
    assert found.tombstones == len(messages) - len(values)
    assert [found.record(row) for row in range(len(found))] == records
    assert list(found.values) == values
    fits = all(len(value) <= most for value in values)
    assert found.joined == (b"".join(value + b"\n" for value in values) if fits else None)
    assert found.single_lines == (fits and not any(b"\n" in value for value in values))
    assert found.keys() == [each.key for each in records]
    assert found.headers() == [each.headers for each in records]
    assert found.timestamps_ms() == [each.timestamp_ms for each in records]
    assert found.offsets() == [each.offset for each in records]
    assert found.has_keys() == any(each.key is not None for each in records)
    assert found.has_headers() == any(each.headers for each in records)


@given(made(), st.lists(st.integers(1, 4)))
def test_something_stands_for_no_value_where_it_is_asked_for(messages: list[Message], sizes: list[int]) -> None:
    found = KafkaMessages("t-0", cut(chunk_of(messages, times=True), sizes), 1000, b"{}")
    values = [message.value() for message in messages]
    assert found.tombstones == 0
    assert found.gone == {row for row, value in enumerate(values) if value is None}
    assert list(found.values) == [b"{}" if value is None else value for value in values]
    assert found.joined == b"".join(value + b"\n" for value in found.values)
    assert found.single_lines == (not any(b"\n" in value for value in found.values))
    assert [found.record(row).value for row in range(len(found))] == values
    assert found.keys() == [message.key() for message in messages]
    assert found.offsets() == [message.offset() for message in messages]


def test_times_that_were_not_asked_for_are_not_kept() -> None:
    message = Message(topic="t", partition=0, offset=3, value=b"{}", timestamp=(1, 5))
    found = KafkaMessages("t-0", [chunk_of([message], times=False)], 1000)
    assert found.record(0).timestamp_ms is None
