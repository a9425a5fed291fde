"""The commands of `ferris config`. What each takes and does is in modules that are imported when it is called."""

from __future__ import annotations

from ferrisstreams.cli.command import Command, Group, Words


def _show(command: Command, words: Words) -> int:
    """Show every setting of each job, those of the Kafka client too; secrets are masked."""
    from ferrisstreams.cli.arguments import ConfigArguments

    arguments = command.arguments(ConfigArguments, words)
    from ferrisstreams.cli.config import run_show

    return run_show(arguments)


CONFIG = Group(
    "config",
    "Look at the settings of jobs.",
    (Command("show", _show, "app.sql --job minutes --origin", "ferris config"),),
    "ferris config",
)
