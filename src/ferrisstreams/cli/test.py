"""`ferris test`: test files run under many schedules; what failed, and how many passed."""

from __future__ import annotations

import sys

import typer

from ferrisstreams.cli.arguments import TestArguments
from ferrisstreams.testing.junit import write_junit
from ferrisstreams.testing.runner import CaseResult, Selection, run_path


def run_tests(arguments: TestArguments) -> int:
    """The exit code: 0 every case passed, 1 not. Raises FerrisError for a file that is not a test file."""
    if not arguments.path.exists():
        raise typer.BadParameter(f"{arguments.path} does not exist", param_hint="PATH")
    selection = Selection(every=arguments.all_schedules)
    with _Counter() as counter:
        report = run_path(
            arguments.path, selection=selection, rewrite_files=arguments.rewrite, report_case=counter.tell
        )
    if arguments.junit is not None:
        write_junit(report, arguments.junit)
    print(report.text())
    return 0 if report.passed else 1


class _Counter:
    """On a terminal, a line that counts the cases and goes away at the end. To be used in a `with`."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._passed = 0
        self._failed = 0

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, *error: object) -> None:
        self._draw("")

    def tell(self, result: CaseResult) -> None:
        self._passed += result.passed
        self._failed += not result.passed
        self._draw(f"{self._passed} passed, {self._failed} failed")

    def _draw(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
