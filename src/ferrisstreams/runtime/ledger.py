"""The ledger: every source row has exactly one outcome, every output row one fate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from ferrisstreams.batch import JsonValue, integer, mapping
from ferrisstreams.errors import InternalError

#: What is counted of the input, and so for each scan.
_INPUT = ("read", "emitted", "absorbed", "filtered", "late", "deduplicated", "dead_lettered", "skipped", "late_windows")


@dataclass(slots=True)
class Ledger:
    """Counts since the job's first run, committed with the positions. `late_windows` counts windows, not rows;
    `derived_rejected` results of an aggregate that the one above it cannot take, which are no rows of the output."""

    read: int = 0
    emitted: int = 0
    absorbed: int = 0
    filtered: int = 0
    late: int = 0
    deduplicated: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    produced: int = 0
    written: int = 0
    output_rejected: int = 0
    late_windows: int = 0
    derived_rejected: int = 0

    def check(self, by_scan: Mapping[str, Ledger]) -> None:
        """Both sums add up, and what the scans have read is what was read. Raises InternalError."""
        outcomes = (
            self.emitted
            + self.absorbed
            + self.filtered
            + self.late
            + self.deduplicated
            + self.dead_lettered
            + self.skipped
        )
        if self.read != outcomes or self.produced != self.written + self.output_rejected:
            raise InternalError(f"the ledger does not add up: {self.as_dict()}")
        for part in by_scan.values():
            part.check({})
        if by_scan and any(
            getattr(self, name) != sum(getattr(part, name) for part in by_scan.values()) for name in _INPUT
        ):
            raise InternalError(f"the ledgers of the scans do not add up to {self.as_dict()}: {by_scan}")

    def take(self, other: Ledger) -> None:
        """Count what the other one has counted, and nothing else."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))

    def difference(self, before: Ledger) -> Ledger:
        """What was counted since."""
        return Ledger(*(getattr(self, field.name) - getattr(before, field.name) for field in fields(self)))

    def as_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonValue) -> Ledger:
        """Raises InternalError. What was not counted yet when it was written is 0."""
        counts = mapping(value)
        return cls(**{field.name: integer(counts.get(field.name, 0)) for field in fields(cls)})
