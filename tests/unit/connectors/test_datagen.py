from __future__ import annotations

import pytest

from ferrisstreams.batch import Limit, RowRange
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.datagen import DatagenSettings, DatagenSource


@pytest.mark.parametrize(("rate", "rows"), [(1.0, 3), (10.0, 30), (333.0, 999)])
def test_rate_is_kept_over_time(rate: float, rows: int) -> None:
    clock = ManualClock()
    source = DatagenSource(DatagenSettings(rate=rate), clock)
    source.open({})
    taken = 0
    while clock.monotonic_ms() < 3000:
        fetch = source.poll(Limit(1000, 10**9, 100))
        taken = fetch.records.stop if fetch and isinstance(fetch.records, RowRange) else taken
    assert taken in (rows, rows + 1)


def test_filling_poll_waits_until_the_rows_are_due() -> None:
    clock = ManualClock()
    source = DatagenSource(DatagenSettings(rows=12, rate=10), clock)
    source.open({})
    limit = Limit(5, 10**9, 60_000, fill=True)
    fetches = [source.poll(limit) for _ in range(3)]
    assert [fetch.records for fetch in fetches if fetch] == [RowRange(0, 5), RowRange(5, 10), RowRange(10, 12)]
    assert 1200 <= clock.monotonic_ms() < 1201
    assert source.ended
    assert source.poll(limit) is None


def test_endless_source_without_rate_gives_what_the_limit_allows() -> None:
    source = DatagenSource(DatagenSettings(), ManualClock())
    source.open({"datagen": 7})
    fetch = source.poll(Limit(10, 10**9))
    assert fetch is not None
    assert (fetch.records, fetch.caught_up, source.ended) == (RowRange(7, 17), False, False)
    assert source.progress().total is None
