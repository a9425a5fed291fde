"""What the commands of `ferris dlq` take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from ferrisstreams.cli.arguments import Argument, File, Job, Settings, StateDir


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


Form = Annotated[LetterOutput, Argument("How the result is shown.", ("--output", "-o"))]
DryRun = Annotated[bool, Argument("Say what would be done, and do nothing.", ("--dry-run",))]


@dataclass(frozen=True)
class Chosen:
    """The application and job, and which of its letters are meant; several options narrow each other."""

    file: File
    job: Job = None
    ids: Annotated[list[str] | None, Argument("This letter. May be repeated.", ("--id",), metavar="ID")] = None
    codes: Annotated[
        list[str] | None, Argument("Of this error code (E2104). May be repeated.", ("--code",), metavar="CODE")
    ] = None
    stages: Annotated[list[Stage] | None, Argument("That failed there. May be repeated.", ("--stage",))] = None
    states: Annotated[list[State] | None, Argument("In this state. May be repeated.", ("--state",))] = None
    since: Annotated[
        str | None, Argument("Failed at or after it: ISO 8601, or 2h ago as 2h.", ("--since",), metavar="TIME")
    ] = None
    until: Annotated[str | None, Argument("Failed before it.", ("--until",), metavar="TIME")] = None
    text: Annotated[str | None, Argument("With this text in record or message.", ("--contains",), metavar="TEXT")] = (
        None
    )
    where: Annotated[str | None, Argument("For which this SQL condition holds.", ("--where",), metavar="CONDITION")] = (
        None
    )
    settings: Settings = None
    state_dir: StateDir = None
    output: Form = LetterOutput.TABLE


@dataclass(frozen=True)
class ListArguments(Chosen):
    limit: Annotated[int, Argument("Show at most this many.", ("--limit",), metavar="N", at_least=1)] = 100


@dataclass(frozen=True)
class ReplayArguments(Chosen):
    to: Annotated[
        str | None, Argument("Send them to this file or topic, not to the source.", ("--to",), metavar="PLACE")
    ] = None
    dry_run: DryRun = False


@dataclass(frozen=True)
class PurgeArguments(Chosen):
    yes: Annotated[bool, Argument("Do not ask. Required where there is no terminal.", ("--yes",))] = False
    dry_run: DryRun = False
