"""What a pipeline gives back for a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ferrisstreams.batch import Payload, Rejected


@dataclass(slots=True)
class Tally:
    """Decoded rows of a batch by outcome. `seen_us` is the greatest event time among those that have one."""

    kept: int = 0
    late: int = 0
    filtered: int = 0
    late_windows: int = 0
    seen_us: int | None = None


@dataclass(slots=True)
class Outcome:
    """Everything that came of a batch: what to write, what failed, and the counts.

    `rejected` are input rows that failed, `late_letters` late rows to keep as dead letters (they count as late),
    `output_rejected` output rows that could not be made or encoded. `produced` counts output rows, those included.
    """

    tally: Tally = field(default_factory=Tally)
    payloads: list[Payload] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    late_letters: list[Rejected] = field(default_factory=list)
    output_rejected: list[Rejected] = field(default_factory=list)
    produced: int = 0
