"""`ferris audit`: what the ledger says beside what sources, sinks and dead letters hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ferrisstreams.cli.application import open_kept
from ferrisstreams.cli.arguments import JobsArguments, Output
from ferrisstreams.cli.failure import as_json, paint
from ferrisstreams.session.audit import AuditReport, audit

if TYPE_CHECKING:
    from rich.table import Table


def run_audit(arguments: JobsArguments) -> int:
    """The exit code: 0 every record is accounted for, 1 not. Raises FerrisError where a job has no state."""
    application, options = open_kept(arguments)
    reports = audit(application, options)
    if arguments.output is Output.JSON:
        print(json.dumps({"jobs": [_fields(report) for report in reports]}))
    else:
        _print_tables(reports)
    for report in reports:
        for loss in report.losses:
            sys.stderr.write(paint(str(loss)) + "\n")
    return 0 if all(report.ok for report in reports) else 1


def _fields(report: AuditReport) -> dict[str, object]:
    checks = [asdict(check) for check in report.checks]
    losses = [as_json(loss) for loss in report.losses]
    shown = {"job": report.job, "epoch": report.epoch, "checks": checks, "notes": report.notes, "losses": losses}
    return shown | {"ok": report.ok}


def _print_tables(reports: Sequence[AuditReport]) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    for report in reports:
        verdict = "[green]every record is accounted for[/]" if report.ok else "[red]the counts do not add up[/]"
        console.print(f"[bold]{report.job}[/], epoch {report.epoch}: {verdict}")
        if report.checks:
            console.print(_table(report))
        for note in report.notes:
            console.print(f"  note: {note}", markup=False)


def _table(report: AuditReport) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("check")
    for name in ("expected", "found", ""):
        table.add_column(name, justify="right")
    for check in report.checks:
        verdict = "[green]ok[/]" if check.ok else "[red]differs[/]"
        table.add_row(check.what, f"{check.expected:,}", f"{check.found:,}", verdict)
    return table
