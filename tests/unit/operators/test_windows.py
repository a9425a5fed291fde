"""Lateness of a batch from the first and last rows of its slices, against the definition row by row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.operators.windows import Span, none_is_late

SIZE = 10


@given(st.lists(st.integers(0, 60), min_size=1), st.integers(0, 25), st.integers(-40, 40))
def test_batch_without_a_late_row_is_never_found_by_mistake(times: list[int], slack: int, closed: int) -> None:
    spans: dict[int, Span] = {}
    late, seen = False, closed
    for row, ts in enumerate(times):
        start = ts // SIZE * SIZE
        seen = max(seen, ts - slack)
        late |= start + SIZE <= seen
        first = spans[start].first_row if start in spans else row
        spans[start] = Span(start, first, row)
    if none_is_late(list(spans.values()), SIZE, slack, closed):
        assert not late


@given(st.lists(st.integers(0, 1000), min_size=1).map(sorted))
def test_batch_in_order_needs_no_closer_look(times: list[int]) -> None:
    starts = [ts // SIZE * SIZE for ts in times]
    spans = [Span(start, starts.index(start), len(starts) - 1 - starts[::-1].index(start)) for start in set(starts)]
    assert none_is_late(spans, SIZE, 0, starts[0])


def test_batch_with_disorder_within_the_slack_needs_no_closer_look() -> None:
    assert none_is_late([Span(0, 0, 5), Span(10, 3, 9)], SIZE, 10, -100)
    assert not none_is_late([Span(0, 0, 5), Span(10, 3, 9)], SIZE, 9, -100)
