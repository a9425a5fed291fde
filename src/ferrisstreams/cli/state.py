"""`ferris state`: what jobs keep, shown and given up."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

import typer

from ferrisstreams.cli.application import choose, open_kept
from ferrisstreams.cli.arguments import JobsArguments, Output
from ferrisstreams.cli.state_commands import ResetArguments
from ferrisstreams.cli.views import watching
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.rebuild import rebuild
from ferrisstreams.session.state import StateReport, builder_of, reset, show


def run_show(arguments: JobsArguments) -> int:
    """The exit code: 0. Raises StateError where a job has no state."""
    application, options, jobs = _chosen(arguments)
    reports = [report for job in jobs for report in show(application, options, job)]
    if arguments.output is Output.JSON:
        print(json.dumps({"jobs": [asdict(report) for report in reports]}))
    else:
        print("\n\n".join("\n".join(_lines(report)) for report in reports))
    return 0


def run_rebuild(arguments: JobsArguments) -> int:
    """The exit code: 0. Raises StateError where a state cannot be made again."""
    application, options, jobs = _chosen(arguments)
    with watching(False, metrics=arguments.output is Output.JSON) as observer:
        done = [rebuild(application, options, job, observer) for job in jobs]
    if arguments.output is Output.JSON:
        print(json.dumps({"jobs": [asdict(each) for each in done]}))
    else:
        for each in done:
            print(f"{each.job}: read {each.rows:,} records again, and resumes after epoch {each.epoch}")
    return 0


def run_reset(arguments: ResetArguments) -> int:
    """The exit code: 0 done, 1 the answer was no."""
    application, options, jobs = _chosen(arguments)
    if not arguments.yes and not sys.stdin.isatty():
        raise typer.BadParameter("a reset deletes state for good: pass --yes", param_hint="--yes")
    for job in jobs:
        with builder_of(application, options, job) as builder:
            question = f"delete the state of {job.name} ({builder.job_folder()})?"
        if not arguments.yes and not typer.confirm(question, err=True):
            return 1
        done = reset(application, options, job) or ["nothing to do"]
        print("\n".join(f"{job.name}: {what}" for what in done))
    return 0


def _chosen(arguments: JobsArguments | ResetArguments) -> tuple[Application, RunOptions, list[JobPlan]]:
    """The application, and its jobs that keep state."""
    application, options = open_kept(arguments)
    jobs = [job for job in choose(application, arguments.job) if not job.plan.spec.anonymous]
    if not jobs:
        raise typer.BadParameter("a SELECT alone keeps no state", param_hint="FILE")
    return application, options, jobs


def _lines(report: StateReport) -> Iterator[str]:
    prepared = "" if report.prepared is None else f" (epoch {report.prepared} is prepared; the next start settles it)"
    several = len(report.rows_by_operator) > 1
    rows: list[tuple[str, object]] = [
        ("job", report.job if report.worker is None else f"{report.job}, worker {report.worker}"),
        ("state", report.path),
        ("state id", report.state_id),
        ("bytes", f"{report.bytes:,}"),
        ("rows", f"{report.rows:,}"),
        *((f"rows of {name}", f"{rows:,}") for name, rows in report.rows_by_operator.items() if several),
        ("epoch", f"{report.epoch}{prepared}"),
        ("committed at", report.committed_at or "never"),
        ("watermark", report.watermark or "none yet"),
    ]
    if report.token is not None:
        rows.append(("epoch outside", report.token))
    rows += [(f"position of {name}", json.dumps(position)) for name, position in report.positions.items()]
    width = max(len(name) for name, _ in rows)
    return (f"{name:<{width}}  {value}" for name, value in rows)
