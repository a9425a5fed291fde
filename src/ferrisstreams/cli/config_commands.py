"""The commands of `ferris config`. What each does is in a module that is imported when needed."""

from __future__ import annotations

import typer

from ferrisstreams.cli.arguments import ConfigArguments, takes
from ferrisstreams.cli.commands import Commands

config_app = Commands("Look at the settings of jobs.", "config show app.sql --origin")


@config_app.callback()
def config() -> None:
    """Keeps `show` a command of its own: without this a single one would be the whole."""


@config_app.add("config show app.sql --job minutes --origin")
@takes(ConfigArguments)
def show(arguments: ConfigArguments) -> None:
    """Show every setting of each job, those of the Kafka client too; secrets are masked."""
    from ferrisstreams.cli.config import run_show

    raise typer.Exit(run_show(arguments))
