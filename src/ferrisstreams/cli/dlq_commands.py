"""The commands of `ferris dlq`. What each takes and does is in modules that are imported when it is called."""

from __future__ import annotations

from ferrisstreams.cli.command import Command, Group, Words


def _list(command: Command, words: Words) -> int:
    """List dead letters, oldest first, one a line."""
    from ferrisstreams.cli.dlq_arguments import ListArguments

    arguments = command.arguments(ListArguments, words)
    from ferrisstreams.cli.dlq import run_list

    return run_list(arguments)


def _show(command: Command, words: Words) -> int:
    """Show dead letters whole: the record, and every header."""
    from ferrisstreams.cli.dlq_arguments import ListArguments

    arguments = command.arguments(ListArguments, words)
    from ferrisstreams.cli.dlq import run_show

    return run_show(arguments)


def _replay(command: Command, words: Words) -> int:
    """Send the original records to the source again, each once."""
    from ferrisstreams.cli.dlq_arguments import ReplayArguments

    arguments = command.arguments(ReplayArguments, words)
    from ferrisstreams.cli.dlq import run_replay

    return run_replay(arguments)


def _purge(command: Command, words: Words) -> int:
    """Erase dead letters for good."""
    from ferrisstreams.cli.dlq_arguments import PurgeArguments

    arguments = command.arguments(PurgeArguments, words)
    from ferrisstreams.cli.dlq import run_purge

    return run_purge(arguments)


DLQ = Group(
    "dlq",
    "Look at dead letters, send them again, erase them.",
    (
        Command("list", _list, "app.sql --code E2104 --since 2h", "ferris dlq"),
        Command("show", _show, "app.sql --id 1024.9f3a2c11", "ferris dlq"),
        Command("replay", _replay, "app.sql --where \"message LIKE '%price%'\" --dry-run", "ferris dlq"),
        Command("purge", _purge, "app.sql --state replayed --yes", "ferris dlq"),
    ),
    "ferris dlq",
)
