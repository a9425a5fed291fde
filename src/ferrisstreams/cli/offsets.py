"""`ferris offsets`: where jobs are in their sources, and sending one elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

import typer

from ferrisstreams.cli.application import choose, open_kept
from ferrisstreams.cli.arguments import OffsetsArguments, Output
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.offsets import PartitionOffsets, move, show


def run_offsets(arguments: OffsetsArguments) -> int:
    """The exit code: 0. Raises FerrisError where a job has no state, or cannot be moved."""
    application, options = open_kept(arguments)
    jobs = [job for job in choose(application, arguments.job) if not job.plan.spec.anonymous]
    if not jobs:
        raise typer.BadParameter("a SELECT alone keeps no position", param_hint="FILE")
    if arguments.to is None:
        _show(application, options, jobs, arguments.output)
    elif len(jobs) > 1:
        raise typer.BadParameter("--to moves one job: name it by --job", param_hint="--job")
    else:
        moved = move(application, options, jobs[0], arguments.to, arguments.dry_run)
        _print_moved(jobs[0].name, moved, arguments)
    return 0


def _show(application: Application, options: RunOptions, jobs: list[JobPlan], output: Output) -> None:
    found = {job.name: show(application, options, job) for job in jobs}
    if output is Output.JSON:
        shown = {name: [asdict(each) | {"lag": each.lag} for each in partitions] for name, partitions in found.items()}
        print(json.dumps({"jobs": shown}))
        return
    for name, partitions in found.items():
        print(f"{name}\n" + "\n".join(_rows(partitions)))


def _rows(partitions: list[PartitionOffsets]) -> list[str]:
    cells = [("partition", "position", "committed", "end", "lag")]
    cells += [
        (each.partition, json.dumps(each.position), _shown(each.committed), _shown(each.end), _shown(each.lag))
        for each in partitions
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def _shown(value: int | None) -> str:
    return "-" if value is None else f"{value}"


def _print_moved(job: str, positions: Mapping[str, int], arguments: OffsetsArguments) -> None:
    if arguments.output is Output.JSON:
        print(json.dumps({"job": job, "moved": not arguments.dry_run, "positions": dict(positions)}))
        return
    verb = "would be" if arguments.dry_run else "is"
    for name, position in positions.items():
        print(f"{job}: {name} {verb} at {position}")
