"""The last epochs of several workers as that of one job, and that of a job dealt to workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ferrisstreams.batch import JsonValue, integer, mapping
from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.watermarks import SavedWatermarks

_Value = TypeVar("_Value")


def joined_epochs(rows: Sequence[EpochRow]) -> EpochRow:
    """One row is itself. The epoch is the last, the watermark the least; marks of a topic are the earliest, those that
    count rows are summed."""
    if len(rows) == 1:
        return rows[0]
    return EpochRow(
        epoch=max(row.epoch for row in rows),
        at_us=max(row.at_us for row in rows),
        positions=_union(row.positions for row in rows),
        starts=_union(row.starts for row in rows),
        moved=any(row.moved for row in rows),
        rows_read=_union(row.rows_read for row in rows),
        ledger=_sum(row.ledger for row in rows),
        watermarks=SavedWatermarks(
            _union(row.watermarks.seen_us for row in rows),
            min(row.watermarks.job_us for row in rows),
            _union(row.watermarks.jumps for row in rows),
        ),
        finished=all(row.finished for row in rows),
        identities=_union(row.identities for row in rows),
        marks={
            name: _joined_mark([row.marks.get(name) for row in rows])
            for name in dict.fromkeys(name for row in rows for name in row.marks)
        },
        confirmed=all(row.confirmed for row in rows),
    )


def dealt(row: EpochRow, share: Share) -> EpochRow:
    """What a worker of a job without state begins with: its partitions. The first one keeps what was counted."""
    first, watermarks = share.worker == 0, row.watermarks
    return replace(
        row,
        positions=_own(row.positions, share),
        starts=_own(row.starts, share),
        rows_read=_own(row.rows_read, share),
        watermarks=replace(watermarks, seen_us=_own(watermarks.seen_us, share), jumps=_own(watermarks.jumps, share)),
        ledger=row.ledger if first else Ledger(),
        marks={name: 0 if isinstance(mark, int) and not first else mark for name, mark in row.marks.items()},
        pipeline={},
    )


def _own(partitions: Mapping[str, _Value], share: Share) -> dict[str, _Value]:
    return {name: value for name, value in partitions.items() if share.owns(int(name.rpartition("-")[2]))}


def _union(mappings: Iterable[Mapping[str, _Value]]) -> dict[str, _Value]:
    return {key: value for each in mappings for key, value in each.items()}


def _sum(ledgers: Iterable[Ledger]) -> Ledger:
    total = Counter[str]()
    for ledger in ledgers:
        total.update(ledger.as_dict())
    return Ledger(**total)


def _joined_mark(marks: Sequence[JsonValue]) -> JsonValue:
    """Where a topic ended when the first worker began to write to it; how many rows they have given a sink."""
    if all(isinstance(mark, int) for mark in marks):
        return sum(map(integer, marks))
    since: dict[str, JsonValue] = {}
    for mark in marks:
        for partition, offset in mapping(mapping(mark)["since"]).items() if mark is not None else ():
            since[partition] = min(integer(offset), integer(since.get(partition, offset)))
    moved: dict[str, JsonValue] = {"moved": True} if any(mapping(mark).get("moved") for mark in marks if mark) else {}
    return {"since": since, **moved}
