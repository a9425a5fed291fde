"""Collects `parse/*.test`, `plan/*.test` and `errors/*.test`.

A file is a prelude (statements put before every case, if any) and cases:

    # title of the case
    SQL
    ----
    what is expected

`parse` expects the canonical form, `plan` the text of EXPLAIN of every job, `errors` the whole error. With `--rewrite`
the expectation is filled in from what happens; review the difference like code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.errors import SqlError
from ferrisstreams.plan.explain import explain
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.printer import print_script
from ferrisstreams.sql.statements import parse_statements

_SEPARATOR = "----"
_PATH = "app.sql"


@dataclass
class Case:
    title: str
    sql: str
    expected: str


def _canonical(prelude: str, sql: str) -> str:
    printed = print_script(parse_statements(prelude + sql, _PATH))
    assert print_script(parse_statements(printed, _PATH)) == printed, "the canonical form is not stable"
    return printed


def _plans(prelude: str, sql: str) -> str:
    application = parse_application(prelude + sql, _PATH, resolve_reference=lambda _: _REFERENCE)
    declared = len(parse_application(prelude, _PATH).jobs) if "SELECT" in prelude else 0
    warnings = "".join(f"warning: {warning}\n" for warning in application.warnings)
    return warnings + "\n".join(explain(job) for job in application.jobs[declared:])


def _error(prelude: str, sql: str) -> str:
    try:
        parse_application(prelude + sql, _PATH)
    except SqlError as error:
        return str(error)
    pytest.fail("no error was raised")


_REFERENCE = Schema((Column("id", "BIGINT"), Column("name", "VARCHAR")))

KINDS: dict[str, Callable[[str, str], str]] = {"parse": _canonical, "plan": _plans, "errors": _error}


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> pytest.Collector | None:
    if (
        file_path.suffix == ".test"
        and file_path.parent.name in KINDS
        and file_path.parent.parent == Path(__file__).parent
    ):
        return TestFile.from_parent(parent, path=file_path)
    return None


class TestFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        self.prelude, self.cases = read(self.path.read_text())
        for case in self.cases:
            yield TestCase.from_parent(self, name=case.title, case=case)

    def write(self) -> None:
        blocks = [f"# {case.title}\n{case.sql}\n{_SEPARATOR}\n{case.expected}\n" for case in self.cases]
        head = f"{self.prelude}\n" if self.prelude else ""
        self.path.write_text(head + "\n".join(blocks))


class TestCase(pytest.Item):
    def __init__(self, *, case: Case, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.case = case

    def runtest(self) -> None:
        file = self.parent
        assert isinstance(file, TestFile)
        got = KINDS[self.path.parent.name](file.prelude, self.case.sql).rstrip("\n")
        if self.config.getoption("--rewrite") and got != self.case.expected:
            self.case.expected = got
            file.write()
        assert got == self.case.expected

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def read(text: str) -> tuple[str, list[Case]]:
    """The prelude and the cases of a file."""
    prelude, *blocks = re.split(r"^# ", text, flags=re.MULTILINE)
    cases = []
    for block in blocks:
        title, _, body = block.partition("\n")
        sql, _, expected = body.partition(f"\n{_SEPARATOR}\n")
        cases.append(Case(title.strip(), sql.removesuffix(f"\n{_SEPARATOR}").strip("\n"), expected.strip("\n")))
    return prelude.strip("\n") + "\n" if prelude.strip() else "", cases
