"""The row of an epoch: all that it made durable beside the state rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ferrisstreams.batch import JsonValue, Positions, integer, mapping
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.watermarks import SavedWatermarks


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One epoch of a job. Positions, the marks of the sinks and what the pipeline keeps are their owners' own JSON.

    `by_scan` is the input side of the ledger for each scan of a query that has several.
    `starts` is where the job began, `at_us` when the epoch was prepared; `identities` are those of what the positions
    belong to. `confirmed`: it is known to be final. The last row of a job whose epochs an outside system decides may
    not be.
    """

    epoch: int
    at_us: int
    positions: Positions = field(default_factory=dict)
    starts: Positions = field(default_factory=dict)
    moved: bool = False
    rows_read: Mapping[str, int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    by_scan: Mapping[str, Ledger] = field(default_factory=dict)
    watermarks: SavedWatermarks = field(default_factory=SavedWatermarks)
    finished: bool = False
    identities: Mapping[str, str] = field(default_factory=dict)
    pipeline: Mapping[str, JsonValue] = field(default_factory=dict)
    marks: Mapping[str, JsonValue] = field(default_factory=dict)
    confirmed: bool = True

    @property
    def has_only_begun(self) -> bool:
        """Whether the job has read and written nothing yet: its epochs only say where it begins."""
        return not (self.ledger.read or self.ledger.produced or self.moved)

    def to_json(self) -> dict[str, JsonValue]:
        """Everything but the number and whether it is confirmed, which are columns of their own."""
        return {
            "positions": dict(self.positions),
            "starts": dict(self.starts),
            "moved": self.moved,
            "rows_read": dict(self.rows_read),
            "ledger": dict(self.ledger.as_dict()),
            "by_scan": {name: dict(ledger.as_dict()) for name, ledger in self.by_scan.items()},
            "watermarks": self.watermarks.to_json(),
            "finished": self.finished,
            "identities": dict(self.identities),
            "at_us": self.at_us,
            "pipeline": dict(self.pipeline),
            "marks": dict(self.marks),
        }

    @classmethod
    def from_json(cls, epoch: int, value: JsonValue, confirmed: bool) -> EpochRow:
        """Raises InternalError. A row that was written before there were identities has none."""
        content = mapping(value)
        return cls(
            epoch=epoch,
            at_us=integer(content["at_us"]),
            positions=mapping(content["positions"]),
            starts=mapping(content["starts"]),
            moved=bool(content["moved"]),
            rows_read={name: integer(rows) for name, rows in mapping(content["rows_read"]).items()},
            ledger=Ledger.from_json(content["ledger"]),
            by_scan={name: Ledger.from_json(each) for name, each in mapping(content.get("by_scan", {})).items()},
            watermarks=SavedWatermarks.from_json(content["watermarks"]),
            finished=bool(content["finished"]),
            identities={name: str(identity) for name, identity in mapping(content.get("identities", {})).items()},
            pipeline=_pipeline_values(mapping(content["pipeline"]), epoch),
            marks=mapping(content["marks"]),
            confirmed=confirmed,
        )


def _pipeline_values(pipeline: Mapping[str, JsonValue], epoch: int) -> Mapping[str, JsonValue]:
    """What a pipeline keeps, also as it was written when each epoch was a tick and each job had one operator."""
    if not pipeline or "tick" in pipeline:
        return pipeline
    return {"tick": epoch, "decided_tick": epoch - 1, "operators": [dict(pipeline)]}
