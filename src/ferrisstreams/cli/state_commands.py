"""The commands of `ferris state`. What each does is in a module that is imported when needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ferrisstreams.cli.arguments import File, Job, JobsArguments, Settings, StateDir, takes
from ferrisstreams.cli.commands import Commands

state_app = Commands("Look at what jobs keep, build it again, give it up.", "state show app.sql")


@dataclass(frozen=True)
class ResetArguments:
    file: File
    job: Job = None
    settings: Settings = None
    state_dir: StateDir = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False


@state_app.add("state show app.sql --job minutes")
@takes(JobsArguments)
def show(arguments: JobsArguments) -> None:
    """Show each job's last epoch, positions, watermark, and how large its state is."""
    from ferrisstreams.cli.state import run_show

    raise typer.Exit(run_show(arguments))


@state_app.add("state rebuild app.sql --job minutes")
@takes(JobsArguments)
def rebuild(arguments: JobsArguments) -> None:
    """Make a lost state again from the topic, without writing anything."""
    from ferrisstreams.cli.state import run_rebuild

    raise typer.Exit(run_rebuild(arguments))


@state_app.add("state reset app.sql --job minutes --yes")
@takes(ResetArguments)
def reset(arguments: ResetArguments) -> None:
    """Give a job's state and positions up: it starts over, and writes again what it has written."""
    from ferrisstreams.cli.state import run_reset

    raise typer.Exit(run_reset(arguments))
