from __future__ import annotations

import mmap
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.connectors.framing import CsvFraming, LineFraming
from ferrisstreams.memory_file import MemoryFile

MEMORY = MemoryFile()


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    yield
    MEMORY.close()


def block(data: bytes) -> mmap.mmap:
    MEMORY.write(data)
    return MEMORY.view(max(1, len(data)))


CSV = CsvFraming(",", '"')


@given(st.binary(max_size=40).map(lambda data: data.replace(b"\x00", b"\n")), st.integers(1, 6))
def test_line_cut_is_behind_the_last_allowed_newline(data: bytes, rows: int) -> None:
    places = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    assert LineFraming().end(block(data), len(data), rows) == ([0, *places[:rows]])[-1]


def test_cut_counts_over_many_slices() -> None:
    data = b"x" * 99 + b"\n"
    assert LineFraming().end(block(data * 5000), 500_000, 3210) == 321_000


@given(st.text('",\nab ', max_size=30).map(str.encode), st.integers(1, 5))
def test_csv_cut_is_a_record_boundary(data: bytes, rows: int) -> None:
    """However the bytes are cut, the records are the same."""
    whole = list(CSV.spans(data))
    end = CSV.end(block(data), len(data), rows)
    head, rest = list(CSV.spans(data[:end])), list(CSV.spans(data[end:]))
    assert [*head, *((start + end, stop + end) for start, stop in rest)] == whole
    assert len(head) <= rows


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b'a,"x\ny",b\nc\n', [b'a,"x\ny",b\n', b"c\n"]),
        (b'a,5" pipe\nb,6"\n', [b'a,5" pipe\n', b'b,6"\n']),
        (b'a, "x\ny"\n', [b'a, "x\ny"\n']),
        (b'"a""\n""b"\n"', [b'"a""\n""b"\n', b'"']),
        (b'\n\r\na\n\n"\n"\n', [b"a\n", b'"\n"\n']),
    ],
)
def test_csv_quote_opens_only_at_the_start_of_a_field(data: bytes, records: list[bytes]) -> None:
    assert [data[start:end] for start, end in CSV.spans(data)] == records


def test_csv_cut_is_before_a_quote_that_is_open() -> None:
    data = b'a,"b"\nc,d\ne,"f\ng\n'
    assert CSV.end(block(data), len(data), 10) == len(b'a,"b"\nc,d\n')


def test_long_quoted_field_costs_one_pass() -> None:
    data = b'"' + b'x\n""' * 1_000_000 + b'"\n'
    assert list(CSV.spans(data)) == [(0, len(data))]


@given(
    st.lists(st.sampled_from([b"a\n", b"bb\n", b"\n", b" \n", b"c" * 900 + b"\n"]), max_size=120).map(b"".join),
    st.sets(st.integers(0, 119)),
)
def test_chosen_records_are_those_of_all(data: bytes, rows: set[int]) -> None:
    spans = list(LineFraming().spans(data))
    there = sorted(row for row in rows if row < len(spans))
    assert list(LineFraming().chosen(data, there)) == [spans[row] for row in there]
