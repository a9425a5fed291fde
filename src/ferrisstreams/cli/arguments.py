"""What each command takes, and how a group of arguments becomes one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar, get_type_hints

import typer

Arguments = TypeVar("Arguments")


class Output(Enum):
    TABLE = "table"
    JSON = "json"


class RunOutput(Enum):
    """How rows of a SELECT alone are shown, and the summary."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Shell(Enum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class InferFormat(Enum):
    JSON = "json"
    JSON_ARRAY = "json_array"
    CSV = "csv"


class ExplainFormat(Enum):
    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"


File = Annotated[str, typer.Argument(metavar="FILE", help="The application: a file of SQL, or - for standard input.")]
Job = Annotated[str | None, typer.Option("--job", metavar="NAME", help="Only this job.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; wins over the text. May be repeated.")
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", metavar="DIR", help="Where state is kept (default: .ferris beside FILE).")
]
OutputForm = Annotated[Output, typer.Option("--output", "-o", help="How the result is shown.")]


@dataclass(frozen=True)
class RunArguments:
    file: File
    once: Annotated[
        bool,
        typer.Option("--once", help="Take what is there now, then end. Windows stay open where more may come."),
    ] = False
    drain: Annotated[bool, typer.Option("--drain", help="With --once: close the windows that are open.")] = False
    max_records: Annotated[
        int | None, typer.Option("--max-records", metavar="N", min=0, help="Stop after this many records of each job.")
    ] = None
    job: Job = None
    settings: Settings = None
    state_dir: StateDir = None
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Start over: replace the state, positions, outputs and dead letters of the jobs. All of them are put"
            " back if the start fails. Asks first where there is a state.",
        ),
    ] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to overwrite.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="The summary has every count, also of zero.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False
    output: Annotated[
        RunOutput | None,
        typer.Option(
            "--output",
            "-o",
            help="Rows of a SELECT alone; default: a table on a terminal, else json. The summary is json too, then.",
        ),
    ] = None
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False
    while_open: Annotated[int | None, typer.Option("--while-open", hidden=True, min=0)] = None
    number: Annotated[int | None, typer.Option("--worker-number", hidden=True, min=0)] = None


@dataclass(frozen=True)
class JobsArguments:
    """Which jobs are looked at, and how they are shown."""

    file: File
    job: Job = None
    settings: Settings = None
    state_dir: StateDir = None
    output: OutputForm = Output.TABLE


@dataclass(frozen=True)
class ConfigArguments:
    file: File
    job: Job = None
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False
    settings: Settings = None
    output: OutputForm = Output.TABLE


@dataclass(frozen=True)
class FmtArguments:
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files of SQL, folders of them, or - for standard input.")
    ]
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file would change.")] = False
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change, and fail.")] = False


@dataclass(frozen=True)
class OffsetsArguments:
    file: File
    job: Job = None
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="WHERE", help="Move there: earliest, latest, timestamp:TIME, offsets:0:42,1:7."),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say where --to is, and move nothing.")] = False
    settings: Settings = None
    state_dir: StateDir = None
    output: OutputForm = Output.TABLE


@dataclass(frozen=True)
class TestArguments:
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A .test file, or a folder of them.")] = Path()
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Also write a JUnit report.")] = None
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write the actual output into the files as the expected one.")
    ] = False
    all_schedules: Annotated[bool, typer.Option("--all-schedules", help="Run every schedule, not a sample.")] = False


def takes(kind: type[Arguments]) -> Callable[[Callable[[Arguments], None]], Callable[..., None]]:
    """Give a command the options of a dataclass: it is called with one value of it."""
    hints = get_type_hints(kind, include_extras=True)
    signature = inspect.signature(kind)
    parameters = [p.replace(annotation=hints[name]) for name, p in signature.parameters.items()]

    def decorate(function: Callable[[Arguments], None]) -> Callable[..., None]:
        def command(**values: object) -> None:
            function(kind(**values))

        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__dict__["__signature__"] = signature.replace(parameters=parameters, return_annotation=None)
        return command

    return decorate


def parse_settings(written: list[str] | None) -> dict[str, str]:
    """`key=value` texts as a mapping; anything else is wrong usage."""
    settings = {}
    for text in written or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint="--set")
        settings[key.strip()] = value.strip()
    return settings
