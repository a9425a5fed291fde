"""Opens the application that a command names, and chooses its jobs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ferrisstreams.plan.nodes import JobPlan
    from ferrisstreams.session.application import Application

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
