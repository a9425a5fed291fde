"""The command `ferris`: its commands and what they take. What each does is in a module that is imported when needed."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from ferrisstreams.cli.arguments import (
    ExplainFormat,
    File,
    FmtArguments,
    InferFormat,
    Job,
    JobsArguments,
    OffsetsArguments,
    RunArguments,
    Settings,
    Shell,
    TestArguments,
    takes,
)
from ferrisstreams.cli.commands import Commands
from ferrisstreams.cli.config_commands import config_app
from ferrisstreams.cli.dlq_commands import dlq_app
from ferrisstreams.cli.state_commands import state_app
from ferrisstreams.cli.streams import hold_standard_streams
from ferrisstreams.workers.leaving import exit_code, leave


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"ferrisstreams {version('ferrisstreams')}")
        raise typer.Exit


app = Commands("Streaming SQL over Kafka and files, exactly once.", "run app.sql", "ferris")


@app.callback()
def ferris(
    shown: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Takes what no command takes."""


@app.add("run app.sql --once --set batch.strategy=fixed_size -o json")
@takes(RunArguments)
def run(arguments: RunArguments) -> None:
    """Run the jobs of an application, and show what became of every row."""
    from ferrisstreams.cli.run import run

    raise typer.Exit(run(arguments))


@app.add("check app.sql")
def check(file: File, settings: Settings = None) -> None:
    """Find everything that is wrong with an application, without running it."""
    from ferrisstreams.cli.inspect import check

    raise typer.Exit(check(file, settings))


@app.add("explain app.sql --format mermaid")
def explain(
    file: File,
    job: Job = None,
    form: Annotated[ExplainFormat, typer.Option("--format", help="How the plan is shown.")] = ExplainFormat.TEXT,
) -> None:
    """Show the plan of each job, its stages, and the state that they will hold."""
    from ferrisstreams.cli.inspect import explain

    explain(file, job, form)


@app.add("fmt app.sql --diff")
@takes(FmtArguments)
def fmt(arguments: FmtArguments) -> None:
    """Write applications in the canonical form: one spelling for each meaning, comments kept."""
    from ferrisstreams.cli.fmt import fmt

    raise typer.Exit(fmt(arguments))


@app.add("test tests/sql --junit report.xml")
@takes(TestArguments)
def test(arguments: TestArguments) -> None:
    """Run .test files, each under many schedules."""
    from ferrisstreams.cli.test import run_tests

    raise typer.Exit(run_tests(arguments))


@app.add("status app.sql -o json")
@takes(JobsArguments)
def status(arguments: JobsArguments) -> None:
    """Show how each job is doing, also while it runs: state, rate, lag, watermark and ledger."""
    from ferrisstreams.cli.status import run_status

    raise typer.Exit(run_status(arguments))


@app.add("audit app.sql")
@takes(JobsArguments)
def audit(arguments: JobsArguments) -> None:
    """Prove from sources, sinks, dead letters and ledger that every row is accounted for."""
    from ferrisstreams.cli.audit import run_audit

    raise typer.Exit(run_audit(arguments))


@app.add("infer trades.csv")
def infer(
    path: Annotated[str, typer.Argument(metavar="FILE", help="The file, or a glob.")],
    form: Annotated[
        InferFormat | None, typer.Option("--format", help="How it is written. Default: by its name and first bytes.")
    ] = None,
) -> None:
    """Print the declaration of a file as a stream, its columns inferred from a sample."""
    from ferrisstreams.cli.inspect import infer

    infer(path, form)


@app.add("offsets app.sql --job copy --to timestamp:2024-01-01T00:00:00Z --dry-run")
@takes(OffsetsArguments)
def offsets(arguments: OffsetsArguments) -> None:
    """Show where each job is in its source, or send one that keeps no state elsewhere."""
    from ferrisstreams.cli.offsets import run_offsets

    raise typer.Exit(run_offsets(arguments))


app.add_typer(config_app, name="config")
app.add_typer(dlq_app, name="dlq")
app.add_typer(state_app, name="state")


@app.add("new demo && cd demo && ferris run app.sql")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder, which is made.")],
    kafka: Annotated[bool, typer.Option("--kafka", help="Between topics, not files.")] = False,
) -> None:
    """Make a folder with an application, its data, a test and a README that run as they stand."""
    from ferrisstreams.cli.new import make_project

    make_project(name, kafka)


@app.add("help dlq list", "help")
def show_help(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Whose help; all without it.")] = None,
) -> None:
    """Show the help of a command."""
    found = context.find_root()
    for word in command or ():
        group = found.command
        inner = getattr(group, "commands", {}).get(word)
        if inner is None:
            raise typer.BadParameter(f"there is no command {' '.join(command or ())!r}", param_hint="COMMAND")
        found = typer.Context(inner, parent=found, info_name=word)
    print(found.get_help())


@app.add("completion bash >> ~/.bashrc")
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands and options in a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="ferris", complete_var=COMPLETE, shell=shell.value))


@app.add("version")
def version() -> None:
    """Show the versions of FerrisStreams and of what it runs on."""
    from ferrisstreams.cli.inspect import version

    version()


#: Set by the script of a shell that asks for completions.
COMPLETE = "_FERRIS_COMPLETE"

#: Made once: workers are forked from a process that has it.
_command = typer.main.get_command(app)


def main() -> NoReturn:
    """The entry point. Ends the process: 0 done, 1 failed, 2 wrong usage; no traceback reaches a user."""
    hold_standard_streams()
    leave(exit_code(_called))


def _called() -> None:
    if COMPLETE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        _command()
    except SystemExit as end:
        # Typer takes a reader that has gone (`| head`) for a failure of the command.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(0)
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from ferrisstreams.cli.failure import report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
