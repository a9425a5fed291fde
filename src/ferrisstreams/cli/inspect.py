"""`ferris check`, `explain` and `version`: what can be known without running anything."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from ferrisstreams.cli.application import STANDARD_INPUT, choose, open_application, read_text
from ferrisstreams.cli.arguments import ExplainFormat, InferFormat, parse_settings
from ferrisstreams.cli.failure import paint
from ferrisstreams.errors import FerrisError

#: What FerrisStreams runs on, as far as it decides results.
_FOUNDATIONS = ("duckdb", "pyarrow", "sqlglot")


def check(file: str, settings: list[str] | None) -> int:
    """Print what the application holds, or on standard error all that is wrong with it, and warnings. The exit code."""
    # Imported here: `ferris version` and others do without the engine.
    from ferrisstreams.duck.scratch import keep_scratch
    from ferrisstreams.session.application import Application, RunOptions

    errors: list[FerrisError] = []
    path = "stdin" if file == STANDARD_INPUT else file
    with keep_scratch():
        application = Application.parse_rest(read_text(file), path, errors)
        warnings = application.check(RunOptions(overrides=parse_settings(settings)), errors)
    if errors:
        errors.sort(key=lambda error: (error.position.line, error.position.column) if error.position else (0, 0))
        sys.stderr.write("\n\n".join(paint(str(error)) for error in errors) + "\n")
        if len(errors) > 1:
            sys.stderr.write(f"\n{len(errors)} errors\n")
        return 1
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    for job in application.plan.open_jobs:
        sys.stderr.write(
            f"warning: job {job.name}: the columns of {job.source.name} are known when it is read; "
            "names and types were not checked\n"
        )
    names = [*(job.name for job in application.plan.jobs), *(job.name for job in application.plan.open_jobs)]
    jobs = (
        f"1 job ({names[0]})" if len(names) == 1 else f"{len(names)} jobs ({', '.join(names)})" if names else "no job"
    )
    print(f"{file}: {jobs}, no errors")
    return 0


def explain(file: str, job: str | None, form: ExplainFormat) -> None:
    """Print the plan and the stages of one job or of all."""
    application = open_application(file)
    choose(application, job)
    print(application.explain(job, form.value))


def infer(path: str, form: InferFormat | None) -> None:
    """Print a declaration. Raises FatalConnectorError for a file that gives no columns."""
    from ferrisstreams.session.infer import infer_file

    inferred = infer_file(Path(path).absolute(), path, form.value if form else None)
    for what in inferred.left_out:
        sys.stderr.write(f"warning: {what}\n")
    sys.stdout.write(inferred.ddl())


def version() -> None:
    print(f"ferrisstreams {installed_version('ferrisstreams')}")
    print(f"python        {platform.python_version()} ({platform.system()} {platform.machine()})")
    for name in _FOUNDATIONS:
        print(f"{name:<13} {installed_version(name)}")
