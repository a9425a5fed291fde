"""The command `ferris`: its commands. What each takes and does is in modules that are imported when it is called."""

from __future__ import annotations

import sys

from ferrisstreams.cli.command import Command, Group, Words
from ferrisstreams.cli.config_commands import CONFIG
from ferrisstreams.cli.dlq_commands import DLQ
from ferrisstreams.cli.state_commands import STATE
from ferrisstreams.cli.streams import hold_standard_streams


def _run(command: Command, words: Words) -> int:
    """Run the jobs of an application, and show what became of every row."""
    from ferrisstreams.cli.arguments import RunArguments

    arguments = command.arguments(RunArguments, words)
    from ferrisstreams.cli.run import run

    return run(arguments)


def _check(command: Command, words: Words) -> int:
    """Find everything that is wrong with an application, without running it."""
    from ferrisstreams.cli.arguments import CheckArguments

    arguments = command.arguments(CheckArguments, words)
    from ferrisstreams.cli.inspect import check

    return check(arguments)


def _explain(command: Command, words: Words) -> int:
    """Show the plan of each job, its stages, and the state that they will hold."""
    from ferrisstreams.cli.arguments import ExplainArguments

    arguments = command.arguments(ExplainArguments, words)
    from ferrisstreams.cli.inspect import explain

    return explain(arguments)


def _fmt(command: Command, words: Words) -> int:
    """Write applications in the canonical form: one spelling for each meaning, comments kept."""
    from ferrisstreams.cli.arguments import FmtArguments

    arguments = command.arguments(FmtArguments, words)
    from ferrisstreams.cli.fmt import fmt

    return fmt(arguments)


def _test(command: Command, words: Words) -> int:
    """Run .test files, each under many schedules."""
    from ferrisstreams.cli.arguments import TestArguments

    arguments = command.arguments(TestArguments, words)
    from ferrisstreams.cli.test import run_tests

    return run_tests(arguments)


def _audit(command: Command, words: Words) -> int:
    """Prove from sources, sinks, dead letters and ledger that every row is accounted for."""
    from ferrisstreams.cli.arguments import JobsArguments

    arguments = command.arguments(JobsArguments, words)
    from ferrisstreams.cli.audit import run_audit

    return run_audit(arguments)


def _infer(command: Command, words: Words) -> int:
    """Print the declaration of a file as a stream, its columns inferred from a sample."""
    from ferrisstreams.cli.arguments import InferArguments

    arguments = command.arguments(InferArguments, words)
    from ferrisstreams.cli.inspect import infer

    return infer(arguments)


def _offsets(command: Command, words: Words) -> int:
    """Show where each job is in its source, or send one that keeps no state elsewhere."""
    from ferrisstreams.cli.arguments import OffsetsArguments

    arguments = command.arguments(OffsetsArguments, words)
    from ferrisstreams.cli.offsets import run_offsets

    return run_offsets(arguments)


def _version(command: Command, words: Words) -> int:
    """Show the versions of FerrisStreams and of what it runs on."""
    from ferrisstreams.cli.arguments import VersionArguments

    arguments = command.arguments(VersionArguments, words)
    from ferrisstreams.cli.inspect import version

    return version(arguments)


FERRIS = Group(
    "ferris",
    "Streaming SQL over Kafka and files, exactly once.",
    (
        Command("run", _run, "app.sql --once --set batch.strategy=fixed_size -o json"),
        Command("check", _check, "app.sql"),
        Command("explain", _explain, "app.sql --format mermaid"),
        Command("fmt", _fmt, "app.sql --diff"),
        Command("test", _test, "tests/sql --junit report.xml"),
        Command("audit", _audit, "app.sql"),
        Command("infer", _infer, "trades.csv"),
        Command("offsets", _offsets, "app.sql --job copy --to timestamp:2024-01-01T00:00:00Z --dry-run"),
        Command("version", _version, ""),
        CONFIG,
        DLQ,
        STATE,
    ),
)


def main() -> None:
    """The entry point. Ends the process: 0 done, 1 failed, 2 wrong usage; no traceback reaches a user."""
    hold_standard_streams()
    try:
        sys.exit(FERRIS.call(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from ferrisstreams.cli.failure import report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
