"""The epochs of several workers as one, and one dealt to several."""

from __future__ import annotations

from ferrisstreams.batch import JsonValue
from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.duck.store import EpochRow
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.worker_epochs import dealt, joined_epochs

POSITIONS = {0: 10, 1: 4, 2: 5, 10: 7, 11: 1}


def row(epoch: int, partitions: dict[int, int], since: int) -> EpochRow:
    named: dict[str, JsonValue] = {f"t-{number}": position for number, position in partitions.items()}
    content: dict[str, JsonValue] = {
        "positions": named,
        "starts": dict.fromkeys(named, 0),
        "identities": {"t": "id"},
        "moved": False,
        "rows_read": dict(named),
        "ledger": dict(Ledger(read=sum(partitions.values()), emitted=sum(partitions.values())).as_dict()),
        "watermarks": {"seen": dict(named), "job": min(partitions.values())},
        "pipeline": {},
        "finished": True,
        "at_us": epoch,
        "marks": {"sink": {"since": {"0": since}}},
    }
    return EpochRow(epoch, content)


def test_job_has_all_positions_sums_and_the_earliest_mark() -> None:
    joined = joined_epochs([row(3, {0: 10, 2: 5}, since=7), row(9, {1: 4}, since=2)])
    assert joined.epoch == 9
    assert joined.content["positions"] == {"t-0": 10, "t-1": 4, "t-2": 5}
    assert Ledger.from_json(joined.content["ledger"]) == Ledger(read=19, emitted=19)
    assert joined.content["marks"] == {"sink": {"since": {"0": 2}}}
    assert joined.content["watermarks"] == {"seen": {"t-0": 10, "t-1": 4, "t-2": 5}, "job": 4}
    assert joined.content["identities"] == {"t": "id"}


def test_what_is_dealt_and_joined_again_is_what_it_was() -> None:
    whole = row(5, POSITIONS, since=3)
    for workers in range(1, 6):
        shares = [dealt(whole.content, Share(worker, workers)) for worker in range(workers)]
        again = joined_epochs([EpochRow(5, content) for content in shares])
        assert again.content == whole.content
        assert [content["positions"] for content in shares] == [
            {f"t-{n}": p for n, p in POSITIONS.items() if n % workers == worker} for worker in range(workers)
        ]


def test_rows_that_a_sink_counted_stay_with_the_first_worker() -> None:
    counted = row(1, {0: 10, 1: 4}, since=0)
    counted.content["marks"] = {"sink": 14}
    shares = [dealt(counted.content, Share(worker, 2)) for worker in range(2)]
    assert [share["marks"] for share in shares] == [{"sink": 14}, {"sink": 0}]
    assert joined_epochs([EpochRow(1, share) for share in shares]).content["marks"] == {"sink": 14}
