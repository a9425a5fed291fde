"""What a pipeline gives back for a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ferrisstreams.batch import JsonValue, Payload, Rejected, integer, mapping


@dataclass(slots=True)
class Tally:
    """Decoded rows of a batch by outcome. `seen_us` is the greatest event time among those that have one."""

    kept: int = 0
    late: int = 0
    filtered: int = 0
    late_windows: int = 0
    seen_us: int | None = None


@dataclass(frozen=True, slots=True)
class Jump:
    """A row whose event time is far ahead of the clock and of all rows before it: what comes after it is late.

    `position` is the row's, in words; `before_us` the greatest event time before it, None where there was none.
    """

    position: str
    event_us: int
    ahead_us: int
    before_us: int | None

    @classmethod
    def from_json(cls, value: JsonValue) -> Jump:
        saved = mapping(value)
        before = saved["before_us"]
        return cls(
            str(saved["position"]),
            integer(saved["event_us"]),
            integer(saved["ahead_us"]),
            None if before is None else integer(before),
        )


@dataclass(slots=True)
class Outcome:
    """Everything that came of a batch: what to write, what failed, and the counts.

    `rejected` are input rows that failed, `late_letters` late rows to keep as dead letters (they count as late),
    `derived_rejected` results of an operator that the one above cannot take, `output_rejected` output rows that could
    not be made or encoded. `produced` counts output rows, those included.
    `jump` is the row that has made the watermark jump.
    """

    tally: Tally = field(default_factory=Tally)
    payloads: list[Payload] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    late_letters: list[Rejected] = field(default_factory=list)
    derived_rejected: list[Rejected] = field(default_factory=list)
    output_rejected: list[Rejected] = field(default_factory=list)
    produced: int = 0
    jump: Jump | None = None
