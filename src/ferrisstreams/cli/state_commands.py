"""The commands of `ferris state`. What each takes and does is in modules that are imported when it is called."""

from __future__ import annotations

from ferrisstreams.cli.command import Command, Group, Words


def _show(command: Command, words: Words) -> int:
    """Show each job's last epoch, positions, watermark, and how large its state is."""
    from ferrisstreams.cli.arguments import JobsArguments

    arguments = command.arguments(JobsArguments, words)
    from ferrisstreams.cli.state import run_show

    return run_show(arguments)


def _rebuild(command: Command, words: Words) -> int:
    """Make a lost state again from the topic, without writing anything."""
    from ferrisstreams.cli.arguments import JobsArguments

    arguments = command.arguments(JobsArguments, words)
    from ferrisstreams.cli.state import run_rebuild

    return run_rebuild(arguments)


def _reset(command: Command, words: Words) -> int:
    """Give a job's state and positions up: it starts over, and writes again what it has written."""
    from ferrisstreams.cli.arguments import ResetArguments

    arguments = command.arguments(ResetArguments, words)
    from ferrisstreams.cli.state import run_reset

    return run_reset(arguments)


STATE = Group(
    "state",
    "Look at what jobs keep, build it again, give it up.",
    (
        Command("show", _show, "app.sql --job minutes", "ferris state"),
        Command("rebuild", _rebuild, "app.sql --job minutes", "ferris state"),
        Command("reset", _reset, "app.sql --job minutes --yes", "ferris state"),
    ),
    "ferris state",
)
