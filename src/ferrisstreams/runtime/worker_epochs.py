"""The last epochs of several workers as that of one job, and that of a job dealt to workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from ferrisstreams.batch import JsonValue
from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.duck.store import EpochRow, mapping_of
from ferrisstreams.runtime.ledger import Ledger


def joined_epochs(rows: Sequence[EpochRow]) -> EpochRow:
    """One row is itself. The epoch is the last; marks of a topic are the earliest, those that count rows are summed."""
    if len(rows) == 1:
        return rows[0]
    contents = [row.content for row in rows]
    marks = [mapping_of(content["marks"]) for content in contents]
    content: dict[str, JsonValue] = {
        "positions": _union(contents, "positions"),
        "starts": _union(contents, "starts"),
        "identities": {
            name: value for content in contents for name, value in mapping_of(content.get("identities", {})).items()
        },
        "moved": any(content["moved"] for content in contents),
        "rows_read": _union(contents, "rows_read"),
        "ledger": _sum(contents, "ledger"),
        "watermarks": _watermarks([mapping_of(content["watermarks"]) for content in contents]),
        "pipeline": {},
        "finished": all(content["finished"] for content in contents),
        "at_us": max(int(str(content["at_us"])) for content in contents),
        "marks": {name: _mark([each.get(name) for each in marks]) for name in sorted({*chain(*marks)})},
    }
    return EpochRow(max(row.epoch for row in rows), content, all(row.confirmed for row in rows))


def dealt(content: Mapping[str, JsonValue], share: Share) -> dict[str, JsonValue]:
    """What a worker of a job without state begins with: its partitions. The first one keeps what was counted."""
    watermarks, marks = mapping_of(content["watermarks"]), mapping_of(content["marks"])
    first = share.worker == 0
    return {
        **content,
        **{name: _own(content[name], share) for name in ("positions", "starts", "rows_read")},
        "watermarks": {**watermarks, "seen": _own(watermarks["seen"], share)},
        "ledger": content["ledger"] if first else dict(Ledger().as_dict()),
        "marks": {name: 0 if isinstance(mark, int) and not first else mark for name, mark in marks.items()},
        "pipeline": {},
    }


def _own(partitions: JsonValue, share: Share) -> dict[str, JsonValue]:
    return {name: value for name, value in mapping_of(partitions).items() if share.owns(int(name.rpartition("-")[2]))}


def _union(contents: Iterable[Mapping[str, JsonValue]], name: str) -> dict[str, JsonValue]:
    return {key: value for content in contents for key, value in mapping_of(content[name]).items()}


def _sum(contents: Iterable[Mapping[str, JsonValue]], name: str) -> dict[str, JsonValue]:
    total: Counter[str] = Counter()
    for content in contents:
        total.update({key: int(str(value)) for key, value in mapping_of(content[name]).items()})
    return dict(total)


def _watermarks(snapshots: Sequence[Mapping[str, JsonValue]]) -> dict[str, JsonValue]:
    """The least watermark is the job's."""
    return {"seen": _union(snapshots, "seen"), "job": min(int(str(each["job"])) for each in snapshots)}


def _mark(marks: Sequence[JsonValue]) -> JsonValue:
    """Where a topic ended when the first worker began to write to it; how many rows they have given a sink."""
    if all(isinstance(mark, int) for mark in marks):
        return sum(int(str(mark)) for mark in marks)
    since: dict[str, JsonValue] = {}
    for mark in marks:
        for partition, offset in mapping_of(mapping_of(mark)["since"]).items() if mark is not None else ():
            since[partition] = min(int(str(offset)), int(str(since.get(partition, offset))))
    return {"since": since}
