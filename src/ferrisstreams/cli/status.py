"""`ferris status`: how jobs are doing, whether they run or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import typer

from ferrisstreams.cli.application import open_kept
from ferrisstreams.cli.arguments import JobsArguments, Output
from ferrisstreams.cli.durations import duration_text, lag_text
from ferrisstreams.session.status import JobStatus, RunStatus, status

_OUTCOMES = ("emitted", "absorbed", "filtered", "late", "deduplicated", "dead_lettered", "skipped")
_FATES = ("written", "output_rejected")


def run_status(arguments: JobsArguments) -> int:
    """The exit code: 0. Raises StateError for a state that cannot be read."""
    application, options = open_kept(arguments)
    found = status(application, options)
    if not found:
        raise typer.BadParameter("a SELECT alone keeps no state: there is nothing to ask", param_hint="FILE")
    if arguments.output is Output.JSON:
        print(json.dumps({"jobs": [asdict(job) for job in found]}))
    else:
        print("\n\n".join("\n".join(_lines(job)) for job in found))
    return 0


def _lines(job: JobStatus) -> Iterator[str]:
    workers = ""
    if job.workers > 1:
        workers = f" ({len(job.run.pids) if job.run is not None else 0} of {job.workers} workers)"
    yield f"{job.job}: {job.state}{workers}"
    rows = [("epoch", _epoch(job)), *_run_lines(job.run)]
    rows.append(("watermark", (job.watermark or "none yet") + _holder(job.run)))
    counts = job.ledger.as_dict()
    rows.append(("read", f"{job.ledger.read:,}{_parts(counts, _OUTCOMES)}"))
    rows.append(("produced", f"{job.ledger.produced:,}{_parts(counts, _FATES)}"))
    if job.ledger.derived_rejected:
        rows.append(("derived rejected", f"{job.ledger.derived_rejected:,}"))
    width = max(len(name) for name, _ in rows)
    yield from (f"  {name:<{width}}  {value}" for name, value in rows)


def _epoch(job: JobStatus) -> str:
    text = f"{job.epoch}, committed at {job.committed_at}" if job.epoch else "none is final yet"
    return text if job.prepared is None else f"{text}; epoch {job.prepared} is prepared, and the next start settles it"


def _run_lines(run: RunStatus | None) -> Iterator[tuple[str, str]]:
    if run is None:
        return
    lasted = duration_text(run.seconds)
    yield "run", f"{run.rows:,} rows in {lasted}, {run.rows_per_second:,.0f} a second lately"
    if run.lag is not None:
        yield "lag", f"{run.lag:,}"
    for side, state in run.breakers.items():
        yield side, f"circuit breaker {state}"


def _holder(run: RunStatus | None) -> str:
    """How far the watermark is behind the clock, and who holds it."""
    if run is None:
        return ""
    behind = f", {text} behind the clock" if (text := lag_text(run.behind_seconds)) else ""
    waits = run.waits_for
    held = f"; waits for {waits.partition}, silent for {duration_text(waits.seconds)}" if waits is not None else ""
    return behind + held


def _parts(counts: dict[str, int], names: tuple[str, ...]) -> str:
    shown = [f"{counts[name]:,} {name.replace('_', ' ')}" for name in names if counts[name]]
    return f" = {' + '.join(shown)}" if shown else ""
