"""Several sources as one: whose turn it is, what is passed on to each, and when nothing more comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from ferrisstreams.batch import Fetch, Limit, partition_key, partitions_of
from ferrisstreams.clock import ManualClock
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.runtime.batching import Fixed
from ferrisstreams.runtime.sources import Member, SeveralSources, least_positions, twins
from ferrisstreams.testing.doubles import Cuts, Records, RecordSource

ALL = Limit(1000, 1 << 20)


@pytest.fixture
def blocks() -> Iterator[list[MemoryFile]]:
    made = [MemoryFile() for _ in range(3)]
    yield made
    for block in made:
        block.close()


def member(name: str, block: MemoryFile, rows: int, batch: int = 2, partitions: Sequence[str] = ("p",)) -> Member:
    records = Records({partition: [b"{}"] * rows for partition in partitions})
    source = RecordSource(records, Cuts(poll_ms=0), block, ManualClock())
    return Member(name, source, Fixed("fixed_size", Limit(batch, 1 << 20)))


def given(sources: SeveralSources) -> list[str]:
    """The partition of each fetch, to the end."""
    found = []
    while not sources.ended:
        fetch = sources.poll(ALL)
        if fetch is not None:
            found.append(fetch.key)
    return found


def test_sources_without_event_time_take_turns(blocks: list[MemoryFile]) -> None:
    sources = SeveralSources([member("a", blocks[0], 4), member("b", blocks[1], 4)], None)
    sources.open({})
    assert given(sources) == ["a/p", "b/p", "a/p", "b/p"]


def test_source_that_is_furthest_behind_is_read_first(blocks: list[MemoryFile]) -> None:
    seen = {"a": 100, "b": 5}
    sources = SeveralSources([member("a", blocks[0], 2), member("b", blocks[1], 4)], seen.__getitem__)
    sources.open({})
    first = sources.poll(ALL)
    assert isinstance(first, Fetch)
    assert first.key == "b/p"
    seen["b"] = 200
    assert given(sources) == ["a/p", "b/p"]


class SlowToBegin(RecordSource):
    """Gives nothing at its first polls, as a client does that has not connected yet."""

    polls = 0

    def poll(self, limit: Limit) -> Fetch | None:
        self.polls += 1
        return super().poll(limit) if self.polls > 2 else None


def test_table_is_read_to_its_end_first_although_it_is_slow_to_begin(blocks: list[MemoryFile]) -> None:
    records = Records({"p": [b"{}"] * 3})
    table = SlowToBegin(records, Cuts(poll_ms=0), blocks[0], ManualClock())
    strategy = Fixed("fixed_size", Limit(2, 1 << 20))
    sources = SeveralSources([member("a", blocks[1], 2), Member("t", table, strategy, first=True)], None)
    sources.open({})
    assert sources.poll(ALL) is None
    assert given(sources) == ["t/p", "t/p", "a/p"]


def test_each_source_has_batches_of_its_own(blocks: list[MemoryFile]) -> None:
    sources = SeveralSources([member("a", blocks[0], 4, batch=1), member("b", blocks[1], 4, batch=4)], None)
    sources.open({})
    assert given(sources) == ["a/p", "b/p", "a/p", "a/p", "a/p"]


def test_commit_bounds_the_batches_of_all(blocks: list[MemoryFile]) -> None:
    sources = SeveralSources([member("a", blocks[0], 4, batch=4), member("b", blocks[1], 1)], None)
    sources.open({})
    fetch = sources.poll(Limit(1, 1 << 20))
    assert fetch is not None
    assert fetch.position == 1


def test_something_waits_as_long_as_any_source_has_more(blocks: list[MemoryFile]) -> None:
    sources = SeveralSources([member("a", blocks[0], 2), member("b", blocks[1], 2)], None)
    sources.open({})
    fetches = [sources.poll(ALL), sources.poll(ALL)]
    assert [fetch is not None and fetch.nothing_waits for fetch in fetches] == [False, True]
    assert sources.ended


def test_positions_are_those_of_each_source(blocks: list[MemoryFile]) -> None:
    names = ("p", "q")
    sources = SeveralSources([member("a", blocks[0], 2, partitions=names), member("a/b", blocks[1], 2)], None)
    sources.open({"a/p": 2, "a%2Fb/p": 1})
    assert dict(sources.partitions()) == {"a/q": 0, "a%2Fb/p": 1}
    fetches = [sources.poll(ALL) for _ in range(2)]
    assert {fetch.key: fetch.position for fetch in fetches if fetch} == {"a/q": 2, "a%2Fb/p": 2}


def test_source_without_a_partition_yet_is_waited_for(blocks: list[MemoryFile]) -> None:
    class Awaited(RecordSource):
        """A followed folder without a file."""

        @property
        def ended(self) -> bool:
            return False

    empty = Member("b", Awaited(Records({}), Cuts(poll_ms=0), blocks[1], ManualClock()), Fixed("off", ALL))
    sources = SeveralSources([member("a", blocks[0], 2), empty], None)
    sources.open({})
    assert dict(sources.partitions()) == {"a/p": 0, "b/": None}
    for _ in range(3):
        sources.poll(ALL)
    assert list(sources.caught_up()) == ["b/"]
    empty.ends_when_quiet = True
    assert dict(sources.partitions()) == {}
    assert sources.ended


def test_of_two_declarations_of_one_topic_the_smaller_position_is_committed(blocks: list[MemoryFile]) -> None:
    members = [member("a", blocks[0], 2), member("b", blocks[1], 2), member("c", blocks[2], 2)]
    members[1].twin = "a"
    positions = {"a/t-0": 7, "b/t-0": 5, "b/t-1": 3, "c/t-0": 1}
    assert least_positions(twins(members), positions, "a") == {"t-0": 5, "t-1": 3}
    assert least_positions(twins(members), positions, "c") == {"t-0": 1}


def test_names_of_partitions_are_told_apart() -> None:
    assert partition_key("", "t-0") == "t-0"
    by_key = {partition_key("a", "b/x"): 1, partition_key("a/b", "x"): 2}
    assert partitions_of("a", by_key) == {"b/x": 1}
    assert partitions_of("a/b", by_key) == {"x": 2}
    assert partitions_of("", {"t-0": 1}) == {"t-0": 1}
