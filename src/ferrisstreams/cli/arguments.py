"""What each command takes: a dataclass whose fields say how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

from ferrisstreams.cli.usage import UsageError


@dataclass(frozen=True, slots=True)
class Argument:
    """How a field is written on the command line: behind one of `names`, or, without any, by its place."""

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    at_least: int | None = None
    hidden: bool = False


class Output(Enum):
    TABLE = "table"
    JSON = "json"


class InferFormat(Enum):
    JSON = "json"
    JSON_ARRAY = "json_array"
    CSV = "csv"


class ExplainFormat(Enum):
    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"


File = Annotated[str, Argument("The application: a file of SQL, or - for standard input.", metavar="FILE")]
Job = Annotated[str | None, Argument("Only this job.", ("--job",), metavar="NAME")]
Settings = Annotated[
    list[str] | None, Argument("A setting; wins over the text. May be repeated.", ("--set",), metavar="KEY=VALUE")
]
StateDir = Annotated[
    Path | None, Argument("Where state is kept (default: .ferris beside FILE).", ("--state-dir",), metavar="DIR")
]
OutputForm = Annotated[Output, Argument("How the result is shown.", ("--output", "-o"))]


@dataclass(frozen=True)
class RunArguments:
    file: File
    once: Annotated[
        bool,
        Argument("Take what is there now, then end. Windows stay open where more may come.", ("--once",)),
    ] = False
    drain: Annotated[bool, Argument("With --once: close the windows that are open.", ("--drain",))] = False
    max_records: Annotated[
        int | None, Argument("Stop after this many records of each job.", ("--max-records",), metavar="N", at_least=0)
    ] = None
    job: Job = None
    settings: Settings = None
    state_dir: StateDir = None
    overwrite: Annotated[
        bool,
        Argument(
            "Start over: replace the state, positions, outputs and dead letters of the jobs. All of them are put back"
            " if the start fails. Asks first where there is a state.",
            ("--overwrite",),
        ),
    ] = False
    yes: Annotated[bool, Argument("Do not ask whether to overwrite.", ("--yes",))] = False
    output: OutputForm = Output.TABLE
    worker: Annotated[bool, Argument("", ("--worker",), hidden=True)] = False
    while_open: Annotated[int | None, Argument("", ("--while-open",), at_least=0, hidden=True)] = None
    number: Annotated[int | None, Argument("", ("--worker-number",), at_least=0, hidden=True)] = None


@dataclass(frozen=True)
class CheckArguments:
    file: File


@dataclass(frozen=True)
class ExplainArguments:
    file: File
    job: Job = None
    form: Annotated[ExplainFormat, Argument("How the plan is shown.", ("--format",))] = ExplainFormat.TEXT


@dataclass(frozen=True)
class InferArguments:
    path: Annotated[str, Argument("The file, or a glob.", metavar="FILE")]
    form: Annotated[
        InferFormat | None, Argument("How it is written. Default: by its name and first bytes.", ("--format",))
    ] = None


@dataclass(frozen=True)
class VersionArguments:
    """It takes nothing."""


@dataclass(frozen=True)
class JobsArguments:
    """Which jobs are looked at, and how they are shown."""

    file: File
    job: Job = None
    settings: Settings = None
    state_dir: StateDir = None
    output: OutputForm = Output.TABLE


@dataclass(frozen=True)
class ResetArguments:
    file: File
    job: Job = None
    settings: Settings = None
    state_dir: StateDir = None
    yes: Annotated[bool, Argument("Do not ask.", ("--yes",))] = False


@dataclass(frozen=True)
class ConfigArguments:
    file: File
    job: Job = None
    origin: Annotated[bool, Argument("Say where each value comes from.", ("--origin",))] = False
    settings: Settings = None
    output: OutputForm = Output.TABLE


@dataclass(frozen=True)
class FmtArguments:
    files: Annotated[list[str], Argument("Files of SQL, folders of them, or - for standard input.", metavar="FILE")]
    check: Annotated[bool, Argument("Write nothing; fail where a file would change.", ("--check",))] = False
    diff: Annotated[bool, Argument("Write nothing; show what would change, and fail.", ("--diff",))] = False


@dataclass(frozen=True)
class OffsetsArguments:
    file: File
    job: Job = None
    to: Annotated[
        str | None,
        Argument("Move there: earliest, latest, timestamp:TIME, offsets:0:42,1:7.", ("--to",), metavar="WHERE"),
    ] = None
    dry_run: Annotated[bool, Argument("Say where --to is, and move nothing.", ("--dry-run",))] = False
    settings: Settings = None
    state_dir: StateDir = None
    output: OutputForm = Output.TABLE


@dataclass(frozen=True)
class TestArguments:
    path: Annotated[Path, Argument("A .test file, or a folder of them.", metavar="PATH")] = Path()
    junit: Annotated[Path | None, Argument("Also write a JUnit report.", ("--junit",), metavar="FILE")] = None
    rewrite: Annotated[
        bool, Argument("Write the actual output into the files as the expected one.", ("--rewrite",))
    ] = False
    all_schedules: Annotated[bool, Argument("Run every schedule, not a sample.", ("--all-schedules",))] = False


def parse_settings(written: list[str] | None) -> dict[str, str]:
    """`key=value` texts as a mapping; anything else is wrong usage."""
    settings = {}
    for text in written or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{text!r} is not of the form KEY=VALUE", "--set")
        settings[key.strip()] = value.strip()
    return settings
