"""The commands of `ferris dlq`. What each does is in a module that is imported when needed."""

from __future__ import annotations

import typer

from ferrisstreams.cli.arguments import takes
from ferrisstreams.cli.commands import Commands
from ferrisstreams.cli.dlq_arguments import ListArguments, PurgeArguments, ReplayArguments

dlq_app = Commands("Look at dead letters, send them again, erase them.", "dlq list app.sql --code E2104")


@dlq_app.add("dlq list app.sql --code E2104 --since 2h", "list")
@takes(ListArguments)
def list_letters(arguments: ListArguments) -> None:
    """List dead letters, oldest first, one a line."""
    from ferrisstreams.cli.dlq import run_list

    raise typer.Exit(run_list(arguments))


@dlq_app.add("dlq show app.sql --id 1024.9f3a2c11")
@takes(ListArguments)
def show(arguments: ListArguments) -> None:
    """Show dead letters whole: the record, and every header."""
    from ferrisstreams.cli.dlq import run_show

    raise typer.Exit(run_show(arguments))


@dlq_app.add("dlq replay app.sql --where \"message LIKE '%price%'\" --dry-run")
@takes(ReplayArguments)
def replay(arguments: ReplayArguments) -> None:
    """Send the original records to the source again, each once."""
    from ferrisstreams.cli.dlq import run_replay

    raise typer.Exit(run_replay(arguments))


@dlq_app.add("dlq purge app.sql --state replayed --yes")
@takes(PurgeArguments)
def purge(arguments: PurgeArguments) -> None:
    """Erase dead letters for good."""
    from ferrisstreams.cli.dlq import run_purge

    raise typer.Exit(run_purge(arguments))
