"""Opens the application that a command names, and chooses its jobs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from ferrisstreams.cli.arguments import parse_settings

if TYPE_CHECKING:
    from ferrisstreams.plan.nodes import JobPlan
    from ferrisstreams.session.application import Application, RunOptions

STANDARD_INPUT = "-"


def read_text(file: str) -> str:
    """The SQL text of `file`, or of standard input. A file that cannot be read is wrong usage."""
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is not UTF-8 text (byte {error.start})", param_hint="FILE") from None


def open_application(
    file: str, text: str | None = None, state_dir: str | None = None, infer_again: bool = False, topics: bool = False
) -> Application:
    """The application of `file`; `text` when it was read already. Raises FerrisError where its SQL is wrong.

    `state_dir`, `infer_again` and `topics` are as of `Application.parse`.
    """
    from ferrisstreams.session.application import Application

    path = "stdin" if file == STANDARD_INPUT else file
    return Application.parse(read_text(file) if text is None else text, path, state_dir, infer_again, topics)


class JobArguments(Protocol):
    """What a command takes that asks after jobs which have run."""

    @property
    def file(self) -> str: ...
    @property
    def job(self) -> str | None: ...
    @property
    def settings(self) -> list[str] | None: ...
    @property
    def state_dir(self) -> Path | None: ...


def open_kept(arguments: JobArguments) -> tuple[Application, RunOptions]:
    """The application with the columns that its state keeps, and the options of its runs. An unknown job is wrong
    usage."""
    from ferrisstreams.session.application import RunOptions

    options = RunOptions(
        overrides=parse_settings(arguments.settings),
        state_dir=str(arguments.state_dir) if arguments.state_dir else None,
        jobs=(arguments.job,) if arguments.job else None,
    )
    application = open_application(arguments.file, state_dir=options.state_dir)
    choose(application, arguments.job)
    return application, options


def choose(application: Application, name: str | None) -> tuple[JobPlan, ...]:
    """The job of this name, or all of them. An unknown name is wrong usage."""
    jobs = application.plan.jobs
    if name is None:
        return jobs
    chosen = tuple(job for job in jobs if job.name == name)
    if not chosen:
        known = ", ".join(job.name for job in jobs) or "there are none"
        raise typer.BadParameter(f"no job is named {name!r} (jobs: {known})", param_hint="--job")
    return chosen
