"""What `ferris run` says at the end: a table for people, one JSON object for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from ferrisstreams.batch import JsonValue
from ferrisstreams.cli.failure import ErrorFields, as_json

if TYPE_CHECKING:
    from rich.table import Table

    from ferrisstreams.session.application import JobResult

#: The parts of the ledger, in the order in which they are shown, and the sum that they make.
INPUTS = ("absorbed", "emitted", "filtered", "late", "deduplicated", "dead_lettered", "skipped")
OUTPUTS = ("written", "output_rejected")

#: Jobs beside one another in one table; more make another table below.
JOBS_PER_TABLE = 5


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job's result, as it is printed and as it comes from a worker. `rows` and `seconds` are of this run, the ledger
    counts from the job's first."""

    name: str
    state: str
    seconds: float = 0.0
    rows: int = 0
    ledger: dict[str, int] = field(default_factory=dict)
    watermark: str | None = None
    positions: JsonValue = None
    error: ErrorFields | None = None
    breakers: dict[str, str] = field(default_factory=dict)
    windows_closed_by_end: int = 0
    watermark_jump: str | None = None

    @classmethod
    def from_result(cls, result: JobResult) -> JobSummary:
        return cls(
            name=result.name,
            state=result.state,
            seconds=round(result.seconds, 6),
            rows=result.rows,
            ledger=dict(result.ledger.as_dict()),
            watermark=result.watermark,
            positions=dict(result.positions),
            error=as_json(result.error) if result.error else None,
            breakers=dict(result.breakers),
            windows_closed_by_end=result.windows_closed_by_end,
            watermark_jump=result.watermark_jump,
        )

    def as_dict(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "name": self.name,
            "state": self.state,
            "seconds": self.seconds,
            "rows": self.rows,
            "ledger": self.ledger,
            "watermark": self.watermark,
            "positions": self.positions,
            "windows_closed_by_end": self.windows_closed_by_end,
        }
        shown |= {"breakers": self.breakers} if self.breakers else {}
        shown |= {"watermark_jump": self.watermark_jump} if self.watermark_jump else {}
        return shown | ({"error": self.error} if self.error else {})


def print_json(jobs: Sequence[JobSummary], error: ErrorFields | None = None) -> None:
    """One object on one line of standard output, as its last. `error` is why nothing was started."""
    shown: dict[str, object] = {"jobs": [job.as_dict() for job in jobs]}
    sys.stdout.write(json.dumps(shown | ({"error": error} if error else {})) + "\n")
    sys.stdout.flush()


def print_table(jobs: Sequence[JobSummary], stream: TextIO) -> None:
    """The ledger of each job as a column whose sums are visible."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
    for start in range(0, len(jobs), JOBS_PER_TABLE):
        console.print(_table(jobs[start : start + JOBS_PER_TABLE]))
    for job in jobs:
        if job.watermark_jump:
            console.print(
                f"[yellow]{job.name}: the watermark jumped {job.watermark_jump}. Rows of windows that end before it are"
                " late; 'watermark.max_ahead' rejects such a row.[/]"
            )


def _table(jobs: Sequence[JobSummary]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for job in jobs:
        table.add_column(job.name, justify="right", no_wrap=True)
    colour = {"finished": "green", "failed": "red"}
    table.add_row("state", *(f"[{colour.get(job.state, 'yellow')}]{job.state}[/]" for job in jobs), end_section=True)
    _add_sum(table, jobs, INPUTS, "read")
    _add_sum(table, jobs, OUTPUTS, "produced")
    if any(job.ledger.get("derived_rejected") for job in jobs):
        table.add_row("derived rejected", *(f"{job.ledger.get('derived_rejected', 0):,}" for job in jobs))
    if any(job.ledger.get("late_windows") for job in jobs):
        table.add_row("late windows", *(f"{job.ledger.get('late_windows', 0):,}" for job in jobs))
    if any(job.windows_closed_by_end for job in jobs):
        table.add_row("closed by end", *(f"{job.windows_closed_by_end:,}" for job in jobs))
    for side in ("source", "sink"):
        states = [job.breakers.get(side, "closed") for job in jobs]
        if any(state != "closed" for state in states):
            table.add_row(f"{side}'s breaker", *states)
    table.add_row("seconds", *(f"{job.seconds:.2f}" for job in jobs))
    table.add_row("rows/s", *(_rate(job) for job in jobs))
    table.add_row("watermark", *(job.watermark or "none" for job in jobs))
    return table


def _add_sum(table: Table, jobs: Sequence[JobSummary], parts: Sequence[str], total: str) -> None:
    for part in parts:
        counts = [job.ledger.get(part, 0) for job in jobs]
        style = "" if any(counts) else "dim"
        table.add_row(part.replace("_", " "), *(f"{count:,}" for count in counts), style=style)
    table.add_row(f"= {total}", *(f"{job.ledger.get(total, 0):,}" for job in jobs), style="bold", end_section=True)


def _rate(job: JobSummary) -> str:
    return f"{job.rows / job.seconds:,.0f}" if job.seconds > 0 else "0"
