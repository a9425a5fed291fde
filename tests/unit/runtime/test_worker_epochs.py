"""The epochs of several workers as one, and one dealt to several."""

from __future__ import annotations

from dataclasses import replace

from ferrisstreams.compile.results import Jump
from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.watermarks import SavedWatermarks
from ferrisstreams.runtime.worker_epochs import dealt, joined_epochs

POSITIONS = {0: 10, 1: 4, 2: 5, 10: 7, 11: 1}


def row(epoch: int, partitions: dict[int, int], since: int) -> EpochRow:
    named = {f"t-{number}": position for number, position in partitions.items()}
    jumps = {name: Jump(f"{name} offset 3", position, 1, None) for name, position in named.items()}
    return EpochRow(
        epoch=epoch,
        at_us=epoch,
        positions=named,
        starts=dict.fromkeys(named, 0),
        identities={"t": "id"},
        rows_read=named,
        ledger=Ledger(read=sum(partitions.values()), emitted=sum(partitions.values())),
        watermarks=SavedWatermarks(named, min(partitions.values()), jumps),
        finished=True,
        marks={"sink": {"since": {"0": since}}},
    )


def test_job_has_all_positions_sums_and_the_earliest_mark() -> None:
    joined = joined_epochs([row(3, {0: 10, 2: 5}, since=7), row(9, {1: 4}, since=2)])
    assert joined.epoch == 9
    assert joined.positions == {"t-0": 10, "t-1": 4, "t-2": 5}
    assert joined.ledger == Ledger(read=19, emitted=19)
    assert joined.marks == {"sink": {"since": {"0": 2}}}
    assert joined.watermarks.seen_us == {"t-0": 10, "t-1": 4, "t-2": 5}
    assert joined.watermarks.job_us == 4
    assert set(joined.watermarks.jumps) == {"t-0", "t-1", "t-2"}
    assert joined.identities == {"t": "id"}


def test_what_is_dealt_and_joined_again_is_what_it_was() -> None:
    whole = row(5, POSITIONS, since=3)
    for workers in range(1, 6):
        shares = [dealt(whole, Share(worker, workers)) for worker in range(workers)]
        assert joined_epochs(shares) == whole
        for worker, share in enumerate(shares):
            own = {f"t-{n}": p for n, p in POSITIONS.items() if n % workers == worker}
            assert share.positions == share.watermarks.seen_us == own
            assert set(share.watermarks.jumps) == set(own)


def test_rows_that_a_sink_counted_stay_with_the_first_worker() -> None:
    counted = replace(row(1, {0: 10, 1: 4}, since=0), marks={"sink": 14})
    shares = [dealt(counted, Share(worker, 2)) for worker in range(2)]
    assert [share.marks for share in shares] == [{"sink": 14}, {"sink": 0}]
    assert joined_epochs(shares).marks == {"sink": 14}
