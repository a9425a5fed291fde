"""The command `ferris`: its commands and what they take. What each does is in a module that is imported when needed."""

from __future__ import annotations

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
    TestArguments,
    takes,
)
from ferrisstreams.cli.config_commands import config_app
from ferrisstreams.cli.dlq_commands import dlq_app
from ferrisstreams.cli.state_commands import state_app
from ferrisstreams.cli.streams import hold_standard_streams
from ferrisstreams.workers.leaving import exit_code, leave

app = typer.Typer(
    name="ferris",
    help="Streaming SQL over Kafka and files, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.command(epilog="Example:  ferris run app.sql --once --set batch.strategy=fixed_size -o json")
@takes(RunArguments)
def run(arguments: RunArguments) -> None:
    """Run the jobs of an application, and show what became of every row."""
    from ferrisstreams.cli.run import run

    raise typer.Exit(run(arguments))


@app.command(epilog="Example:  ferris check app.sql")
def check(file: File) -> None:
    """Find everything that is wrong with an application, without running it."""
    from ferrisstreams.cli.inspect import check

    check(file)


@app.command(epilog="Example:  ferris explain app.sql --format mermaid")
def explain(
    file: File,
    job: Job = None,
    form: Annotated[ExplainFormat, typer.Option("--format", help="How the plan is shown.")] = ExplainFormat.TEXT,
) -> None:
    """Show the plan of each job, its stages, and the state that they will hold."""
    from ferrisstreams.cli.inspect import explain

    explain(file, job, form)


@app.command(epilog="Example:  ferris fmt app.sql --diff")
@takes(FmtArguments)
def fmt(arguments: FmtArguments) -> None:
    """Write applications in the canonical form: one spelling for each meaning, comments kept."""
    from ferrisstreams.cli.fmt import fmt

    raise typer.Exit(fmt(arguments))


@app.command(epilog="Example:  ferris test tests/sql --junit report.xml")
@takes(TestArguments)
def test(arguments: TestArguments) -> None:
    """Run .test files, each under many schedules."""
    from ferrisstreams.cli.test import run_tests

    raise typer.Exit(run_tests(arguments))


@app.command(epilog="Example:  ferris status app.sql -o json")
@takes(JobsArguments)
def status(arguments: JobsArguments) -> None:
    """Show how each job is doing, also while it runs: state, rate, lag, watermark and ledger."""
    from ferrisstreams.cli.status import run_status

    raise typer.Exit(run_status(arguments))


@app.command(epilog="Example:  ferris audit app.sql")
@takes(JobsArguments)
def audit(arguments: JobsArguments) -> None:
    """Prove from sources, sinks, dead letters and ledger that every row is accounted for."""
    from ferrisstreams.cli.audit import run_audit

    raise typer.Exit(run_audit(arguments))


@app.command(epilog="Example:  ferris infer trades.csv")
def infer(
    path: Annotated[str, typer.Argument(metavar="FILE", help="The file, or a glob.")],
    form: Annotated[
        InferFormat | None, typer.Option("--format", help="How it is written. Default: by its name and first bytes.")
    ] = None,
) -> None:
    """Print the declaration of a file as a stream, its columns inferred from a sample."""
    from ferrisstreams.cli.inspect import infer

    infer(path, form)


@app.command(epilog="Example:  ferris offsets app.sql --job copy --to timestamp:2024-01-01T00:00:00Z --dry-run")
@takes(OffsetsArguments)
def offsets(arguments: OffsetsArguments) -> None:
    """Show where each job is in its source, or send one that keeps no state elsewhere."""
    from ferrisstreams.cli.offsets import run_offsets

    raise typer.Exit(run_offsets(arguments))


app.add_typer(config_app, name="config")
app.add_typer(dlq_app, name="dlq")
app.add_typer(state_app, name="state")


@app.command(epilog="Example:  ferris version")
def version() -> None:
    """Show the versions of FerrisStreams and of what it runs on."""
    from ferrisstreams.cli.inspect import version

    version()


#: Made once: workers are forked from a process that has it.
_command = typer.main.get_command(app)


def main() -> NoReturn:
    """The entry point. Ends the process: 0 done, 1 failed, 2 wrong usage; no traceback reaches a user."""
    hold_standard_streams()
    leave(exit_code(_called))


def _called() -> None:
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
