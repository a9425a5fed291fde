"""`ferris check`, `explain` and `version`: what can be known without running anything."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from ferrisstreams.cli.application import choose, open_application
from ferrisstreams.cli.arguments import ExplainFormat, InferFormat

#: What FerrisStreams runs on, as far as it decides results.
_FOUNDATIONS = ("duckdb", "pyarrow", "sqlglot")


def check(file: str) -> None:
    """Print what the application holds; warnings on standard error. Raises FerrisError for the first error."""
    # Imported here: `ferris version` and others do without the engine.
    from ferrisstreams.duck.scratch import keep_scratch

    with keep_scratch():
        application = open_application(file)
        warnings = application.check()
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
