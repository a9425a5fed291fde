from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.duck.state_log import Interval, LogSizes, SliceGrid, StateLog, choose_panes, intervals_to_open

DAY_FROM_SIX = SliceGrid(24, 6)
KEPT = [("_slice", "BIGINT"), ("n", "BIGINT")]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EngineSettings())
    yield engine
    engine.close()


def pane(engine: Engine, name: str, *slices: int) -> None:
    engine.holds_tables = True
    engine.state.execute(f"CREATE TABLE state.{name} (_t BIGINT, _slice BIGINT, n BIGINT)")
    for place in slices:
        engine.state.execute(f"INSERT INTO state.{name} VALUES (1, {place}, 1)")


def loaded(engine: Engine, grid: SliceGrid = DAY_FROM_SIX) -> StateLog:
    log = StateLog(engine, 0, KEPT, grid, LogSizes())
    log.load()
    return log


GRIDS = st.builds(SliceGrid, st.integers(1, 9), st.integers(-9, 30))


@given(GRIDS, st.lists(st.lists(st.integers(-30, 30), min_size=1, max_size=5), max_size=6), st.integers(1, 4))
def test_panes_are_disjoint_and_hold_every_slice(grid: SliceGrid, batches: list[list[int]], panes_live: int) -> None:
    live: list[Interval] = []
    panes = grid
    for ordinals in batches:
        slices = sorted({grid.origin_us + ordinal * grid.unit_us for ordinal in ordinals})
        panes = choose_panes(live, slices, panes, panes_live)
        live = sorted([*live, *intervals_to_open(live, slices, panes)])
        assert all(sum(each.start <= place < each.stop for each in live) == 1 for place in slices)
        assert all(one.stop <= other.start for one, other in pairwise(live))


@given(GRIDS, st.integers(-30, 30))
def test_pane_begins_where_a_slice_begins(grid: SliceGrid, ordinal: int) -> None:
    place = grid.origin_us + ordinal * grid.unit_us
    assert intervals_to_open([], [place], grid) == [Interval(place, place + grid.unit_us)]


def test_panes_widen_while_too_many_are_live() -> None:
    live: list[Interval] = []
    panes = SliceGrid(1)
    for place in range(1000):
        panes = choose_panes(live, [place], panes, panes_live=8)
        live = sorted([*live, *intervals_to_open(live, [place], panes)])
    assert len(live) <= 8 + 10


def test_slices_on_both_sides_of_many_live_panes_open_two() -> None:
    live = [Interval(place, place + 1) for place in range(100)]
    panes = choose_panes(live, [-5, 200], SliceGrid(1), panes_live=64)
    assert len(intervals_to_open(live, [-5, 200], panes)) == 2


def test_pane_is_dropped_when_its_last_slice_is_closed(engine: Engine) -> None:
    pane(engine, "pane_0_1_6_54", 6, 30)
    log = loaded(engine)
    log.drop_before(30)
    assert log.live == [Interval(6, 54)]
    log.drop_before(31)
    assert log.live == []


def test_pane_of_an_older_state_that_begins_within_a_slice_keeps_its_rows(engine: Engine) -> None:
    pane(engine, "pane_0_1_24_48", 30)
    log = loaded(engine)
    log.drop_before(25)
    assert log.live == [Interval(24, 48)]
    assert intervals_to_open(log.live, [30, 54], DAY_FROM_SIX) == [Interval(54, 78)]
    assert intervals_to_open(log.live, [6], DAY_FROM_SIX) == [Interval(6, 24)]


def test_pane_without_rows_is_dropped_with_its_beginning(engine: Engine) -> None:
    pane(engine, "pane_0_1_m18_6")
    log = loaded(engine)
    log.drop_before(-18)
    assert log.live == [Interval(-18, 6)]
    log.drop_before(-17)
    assert log.live == []
