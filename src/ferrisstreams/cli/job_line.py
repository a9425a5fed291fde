"""What is said of a job while it runs, as text for a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from ferrisstreams.cli.durations import duration_text, lag_text
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.telemetry.logs import whole_seconds

#: Columns from which several jobs are a table; below, each is a block of lines.
TABLE_COLUMNS = 100

#: Characters of the bar of a source whose end is known.
_BAR = 20

#: Between two figures, and before the lines of a block.
_GAP = "  "

#: Widths of rows and rate on a line of their own, so that it does not move while they grow.
_ROWS, _RATE = 11, 9

#: Of these, the first is dropped first where a line is too long. All others stay.
_DROPPED = ("watermark", "", "commit", "behind")

#: The columns of a table behind name and state.
_LABELS = ("rows", "rows/s", "lag", "read", "commit", "behind", "watermark")


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job as it is shown: `event` None before the first."""

    name: str
    state: str
    event: ProgressEvent | None = None
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class _Figure:
    """`label` is the head of its column in a table, `alone` what it is without one."""

    label: str
    value: str
    alone: str


def state_of(event: ProgressEvent) -> str:
    """In one word; `notes` say why it is not `running`."""
    if any(state != "closed" for state in event.breakers.values()):
        return "paused"
    return "waiting" if event.waits_for is not None else "running"


def notes(event: ProgressEvent) -> list[str]:
    """What stands in the way of more."""
    said = [f"{side}: circuit breaker {state}" for side, state in event.breakers.items() if state != "closed"]
    if event.waits_for is not None:
        silent = duration_text(event.waits_for.silent_ms / 1000)
        said.append(f"waits for {event.waits_for.partition}, silent for {silent} (watermark.idle_timeout)")
    return said


def job_line(job: JobProgress, width: int) -> list[str]:
    """One job alone: a line, or a block where name, state, rows, rate and lag do not fit on one."""
    figures = [_Figure("job", "", job.name), _Figure("state", "", f"{job.state:<8}"), *_figures(job, aligned=True)]
    while len(line := _GAP.join(figure.alone for figure in figures)) > width:
        dropped = next((label for label in _DROPPED if any(figure.label == label for figure in figures)), None)
        if dropped is None:
            return job_block(job, width)
        figures = [figure for figure in figures if figure.label != dropped]
    return [line, *_note_lines(job, width)]


def job_block(job: JobProgress, width: int) -> list[str]:
    """Name and state on the first line, the figures below, without the watermark."""
    figures = [figure.alone for figure in _figures(job) if figure.label not in ("watermark", "")]
    head = _filled([job.name, job.state], width, "")
    return [*head, *_filled(figures, width, _GAP), *_note_lines(job, width)]


def job_table(jobs: Sequence[JobProgress], width: int) -> list[str]:
    """Several jobs as a table with labels; blocks where that does not fit."""
    rows = [{figure.label: figure.value for figure in _figures(job)} for job in jobs]
    found = {label for row in rows for label in row}
    labels = ["job", "state", *(label for label in _LABELS if label in found)]
    cells = [
        labels,
        *(
            [job.name, job.state, *(row.get(label, "") for label in labels[2:])]
            for job, row in zip(jobs, rows, strict=True)
        ),
    ]
    while True:
        widths = [max(len(row[place]) for row in cells) for place in range(len(labels))]
        if sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
            break
        dropped = next((label for label in _DROPPED if label in labels), None)
        if dropped is None:
            return [line for job in jobs for line in job_block(job, width)]
        place = labels.index(dropped)
        cells = [[*row[:place], *row[place + 1 :]] for row in cells]
        labels = cells[0]
    lines = [_row(row, widths) for row in cells]
    return [*lines, *(line for job in jobs for line in _note_lines(job, width, of=job.name))]


# --- private ----------------------------------------------------------------------------------------------------------


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Name and state to the left, the figures to the right."""
    aligned = (
        f"{c:<{w}}" if place < 2 else f"{c:>{w}}" for place, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
    return _GAP.join(aligned).rstrip()


def _figures(job: JobProgress, aligned: bool = False) -> Iterator[_Figure]:
    """In the order in which they are shown; a bar has no label."""
    event = job.event
    if event is None:
        return
    rows, rate = f"{event.rows:,}", f"{job.rate:,.0f}"
    width = (_ROWS, _RATE) if aligned else (0, 0)
    yield _Figure("rows", rows, f"{rows:>{width[0]}} rows")
    yield _Figure("rows/s", rate, f"{rate:>{width[1]}} rows/s")
    done, total = event.source.done, event.source.total
    if event.lag is not None:
        yield _Figure("lag", f"{event.lag:,}", f"lag {event.lag:,}")
    if total:
        share = min(1.0, done / total)
        filled = round(share * _BAR)
        yield _Figure("read", f"{share:.0%}", f"{share:>4.0%}" if aligned else f"{share:.0%}")
        yield _Figure("", "", "━" * filled + "─" * (_BAR - filled))
    else:
        since = f"{duration_text(event.commit_seconds)} ago"
        yield _Figure("commit", since, f"commit {since}")
        if behind := lag_text(event.behind_seconds):
            yield _Figure("behind", behind, f"{behind} behind")
    if watermark := whole_seconds(event.watermark_us):
        yield _Figure("watermark", watermark, f"watermark {watermark}")


def _filled(pieces: Sequence[str], width: int, indent: str) -> list[str]:
    """As many pieces on each line as fit; one that is longer than a line goes on below."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(_GAP) + len(piece) <= width:
            lines[-1] += _GAP + piece
        else:
            room = max(1, width - len(indent))
            lines += [indent + piece[start : start + room] for start in range(0, len(piece), room)]
    return lines


def _note_lines(job: JobProgress, width: int, of: str = "") -> list[str]:
    said = notes(job.event) if job.event is not None else []
    lines = (f"{of}: {note}" if of else note for note in said)
    room = max(1, width)
    return [part for line in lines for part in wrap(line, room, initial_indent=_GAP, subsequent_indent=_GAP)]
