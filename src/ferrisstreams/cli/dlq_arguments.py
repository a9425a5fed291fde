"""What the commands of `ferris dlq` take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer

from ferrisstreams.cli.arguments import File, Job, Settings, StateDir


class LetterOutput(Enum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Stage(Enum):
    DECODE = "decode"
    EVALUATE = "evaluate"
    LATE = "late"
    ENCODE = "encode"
    WRITE = "write"


class State(Enum):
    WAITING = "waiting"
    REPLAYED = "replayed"
    QUARANTINED = "quarantined"
    UNSURE = "unsure"


Form = Annotated[LetterOutput, typer.Option("--output", "-o", help="How the result is shown.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@dataclass(frozen=True)
class Chosen:
    """The application and job, and which of its letters are meant; several options narrow each other."""

    file: File
    job: Job = None
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This letter. May be repeated.")] = None
    codes: Annotated[
        list[str] | None, typer.Option("--code", metavar="CODE", help="Of this error code (E2104). May be repeated.")
    ] = None
    stages: Annotated[list[Stage] | None, typer.Option("--stage", help="That failed there. May be repeated.")] = None
    states: Annotated[list[State] | None, typer.Option("--state", help="In this state. May be repeated.")] = None
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Failed at or after it: ISO 8601, or 2h ago as 2h.")
    ] = None
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Failed before it.")] = None
    text: Annotated[
        str | None, typer.Option("--contains", metavar="TEXT", help="With this text in record or message.")
    ] = None
    where: Annotated[
        str | None, typer.Option("--where", metavar="CONDITION", help="For which this SQL condition holds.")
    ] = None
    settings: Settings = None
    state_dir: StateDir = None
    output: Form = LetterOutput.TABLE


@dataclass(frozen=True)
class ListArguments(Chosen):
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show at most this many.")] = 100


@dataclass(frozen=True)
class ReplayArguments(Chosen):
    to: Annotated[
        str | None, typer.Option("--to", metavar="PLACE", help="Send them to this file or topic, not to the source.")
    ] = None
    dry_run: DryRun = False


@dataclass(frozen=True)
class PurgeArguments(Chosen):
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Required where there is no terminal.")] = False
    dry_run: DryRun = False
