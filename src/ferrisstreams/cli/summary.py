"""What `ferris run` says at the end: a table of this run for people, one JSON object for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, TextIO

from ferrisstreams.batch import JsonValue
from ferrisstreams.cli.failure import ErrorFields, as_json
from ferrisstreams.cli.job_line import TABLE_COLUMNS
from ferrisstreams.cli.streams import terminal_columns

if TYPE_CHECKING:
    from ferrisstreams.session.application import JobResult

#: The parts of the ledger, in the order in which they are shown, and the sum that they make.
INPUTS = ("absorbed", "emitted", "filtered", "late", "deduplicated", "dead_lettered", "skipped")
OUTPUTS = ("written", "output_rejected")

#: Of these the ledger counts beside the sums.
_OTHERS = ("derived_rejected", "late_windows")

#: Jobs beside one another in one table; more make another table below.
JOBS_PER_TABLE = 5

_GAP = "  "
_COLOURS = {"finished": "32", "failed": "31"}
_YELLOW, _BOLD = "33", "1"


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job's result, as it is printed and as it comes from a worker. `rows`, `seconds` and `this_run` are of this run,
    the ledger counts from the job's first."""

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
    this_run: dict[str, int] = field(default_factory=dict)

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
            this_run=dict(result.this_run.as_dict()),
        )

    def as_dict(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "name": self.name,
            "state": self.state,
            "seconds": self.seconds,
            "rows": self.rows,
            "ledger": self.ledger,
            "this_run": self.this_run,
            "watermark": self.watermark,
            "positions": self.positions,
            "windows_closed_by_end": self.windows_closed_by_end,
        }
        shown |= {"breakers": self.breakers} if self.breakers else {}
        shown |= {"watermark_jump": self.watermark_jump} if self.watermark_jump else {}
        return shown | ({"error": self.error} if self.error else {})

    @property
    def did_nothing(self) -> bool:
        """Whether the job counted nothing in this run."""
        return not any(self.this_run.values())


def print_json(jobs: Sequence[JobSummary], error: ErrorFields | None = None) -> None:
    """One object on one line of standard output, as its last. `error` is why nothing was started."""
    shown: dict[str, object] = {"jobs": [job.as_dict() for job in jobs]}
    sys.stdout.write(json.dumps(shown | ({"error": error} if error else {})) + "\n")
    sys.stdout.flush()


def print_select(job: JobSummary, stream: TextIO) -> None:
    """One line: the rows that were printed, and what became of those that were read. None when nothing was."""
    if job.state == "failed" and job.did_nothing:
        return
    counts = job.this_run
    known = (*INPUTS[2:], *OUTPUTS[1:], *_OTHERS)
    read = f"{counts.get('read', 0):,} read"
    others = [f"{counts[name]:,} {_label(name)}" for name in known if counts.get(name)]
    written = counts.get("written", 0)
    rows = f"{written:,} row{'' if written == 1 else 's'}"
    ended = {"finished": rows, "failed": f"failed after {rows}"}.get(job.state, f"stopped after {rows}")
    stream.write(f"{ended} in {job.seconds:.2f}s ({', '.join([read, *others])})\n")


def print_summary(jobs: Sequence[JobSummary], stream: TextIO, everything: bool = False) -> None:
    """What each job did in this run, as a column whose sums are visible; below 100 columns a job at a time.

    Counts of zero are left out, unless `everything` is wanted. A job that failed before it did anything has said why.
    """
    width = terminal_columns(stream) if stream.isatty() else None
    told = [job for job in jobs if job.state != "failed" or not job.did_nothing]
    idle = [job for job in told if job.did_nothing and not everything]
    paint = _painter(stream)
    parts = [_table(group, everything, paint) for group in _groups([j for j in told if j not in idle], width)]
    parts += ["\n".join(_wrapped(_nothing(job), width) for job in idle)] if idle else []
    if told:
        parts += [f"{job.name}: {paint('failed', _COLOURS['failed'])}" for job in jobs if job not in told]
    parts += [paint(_jump(job, width), _YELLOW) for job in jobs if job.watermark_jump]
    stream.write("\n\n".join(parts) + "\n" * bool(parts))


# --- private ----------------------------------------------------------------------------------------------------------

_Paint = Callable[[str, str], str]
#: A line of a table: its label and a cell a job; None is an empty line.
_Row = tuple[str, Sequence[str]] | None


def _painter(stream: TextIO) -> _Paint:
    coloured = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
    return lambda text, colour: f"\033[{colour}m{text}\033[0m" if coloured else text


def _groups(jobs: Sequence[JobSummary], width: int | None) -> Iterator[list[JobSummary]]:
    """The jobs that are beside one another in a table."""
    group: list[JobSummary] = []
    most = JOBS_PER_TABLE if width is None or width >= TABLE_COLUMNS else 1
    for job in jobs:
        taken = sum(max(len(each.name), 20) + len(_GAP) for each in (*group, job)) + 16
        if len(group) == most or (group and width is not None and taken > width):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def _table(jobs: Sequence[JobSummary], everything: bool, paint: _Paint) -> str:
    rows = list(_rows(jobs, everything))
    filled = [row for row in rows if row is not None]
    first = max(len(label) for label, _ in filled)
    widths = [max(len(cells[place]) for _, cells in filled) for place in range(len(jobs))]
    if len(jobs) > 1:
        widths = [max(width, len(job.name)) for width, job in zip(widths, jobs, strict=True)]
    total = first + sum(len(_GAP) + each for each in widths)
    # The name of an only job may be longer than its column.
    head = f"{jobs[0].name:>{total}}" if len(jobs) == 1 else _line("", [job.name for job in jobs], first, widths)
    lines = [head, "─" * total]
    for row in rows:
        label, cells = row or ("", ())
        line = _line(label, cells, first, widths) if row is not None else ""
        if label == "state":
            for state in dict.fromkeys(cells):
                line = line.replace(f" {state}", " " + paint(state, _COLOURS.get(state, _YELLOW)))
        lines.append(paint(line, _BOLD) if label.startswith("=") else line.rstrip())
    return "\n".join(lines)


def _line(label: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    return f"{label:<{first}}" + "".join(f"{_GAP}{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _rows(jobs: Sequence[JobSummary], everything: bool) -> Iterator[_Row]:
    yield "state", [job.state for job in jobs]
    yield None
    runs = [job.this_run for job in jobs]
    yield from _sum(runs, INPUTS, "read", everything)
    yield None
    yield from _sum(runs, OUTPUTS, "produced", everything)
    yield from _counted(runs, _OTHERS, everything)
    totals = [job.ledger for job in jobs]
    if everything:
        yield from (None, ("in all", [""] * len(jobs)))
        yield from _sum(totals, INPUTS, "read", everything)
        yield None
        yield from _sum(totals, OUTPUTS, "produced", everything)
        yield from _counted(totals, _OTHERS, everything)
    elif any(job.ledger != job.this_run for job in jobs):
        yield None
        yield from (
            (f"{name} in all", [f"{ledger[name]:,}" if ledger else "unknown" for ledger in totals])
            for name in ("read", "written")
        )
    yield None
    if everything or any(job.windows_closed_by_end for job in jobs):
        yield "closed by end", [f"{job.windows_closed_by_end:,}" for job in jobs]
    for side in ("source", "sink"):
        states = [job.breakers.get(side, "closed") for job in jobs]
        if any(state != "closed" for state in states):
            yield f"{side}'s breaker", states
    yield "seconds", [f"{job.seconds:.2f}" for job in jobs]
    yield "rows/s", [f"{job.rows / job.seconds:,.0f}" if job.seconds > 0 else "0" for job in jobs]
    if everything or any(job.watermark for job in jobs):
        yield "watermark", [job.watermark or "none" for job in jobs]


def _sum(counts: Sequence[Mapping[str, int]], parts: Sequence[str], total: str, everything: bool) -> Iterator[_Row]:
    """The parts and their sum; a part that is all of it is not repeated."""
    shown = list(_counted(counts, parts, everything))
    if total == "produced" and not everything and not any(each.get("output_rejected") for each in counts):
        yield "written", [f"{each.get('written', 0):,}" for each in counts]
        return
    yield from shown
    yield f"= {total}", [f"{each.get(total, 0):,}" for each in counts]


def _counted(counts: Sequence[Mapping[str, int]], parts: Sequence[str], everything: bool) -> Iterator[_Row]:
    for part in parts:
        if everything or any(each.get(part) for each in counts):
            yield _label(part), [f"{each.get(part, 0):,}" for each in counts]


def _label(part: str) -> str:
    return part.replace("_", " ")


def _nothing(job: JobSummary) -> str:
    read, written = (job.ledger.get(name, 0) for name in ("read", "written"))
    before = f" ({read:,} read and {written:,} written in all)" if read or written else ""
    return f"{job.name}: {job.state}, nothing new{before}"


def _jump(job: JobSummary, width: int | None) -> str:
    return _wrapped(
        f"{job.name}: the watermark jumped {job.watermark_jump}. Rows of windows that end before it are late;"
        " 'watermark.max_ahead' rejects such a row.",
        width,
    )


def _wrapped(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(wrap(text, width))
