"""Runs test files: every case under many schedules, each of which must give what the case expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ferrisstreams.duck.scratch import keep_scratch
from ferrisstreams.errors import ConfigError, FerrisError
from ferrisstreams.testing.case import Case
from ferrisstreams.testing.compare import disagreement, error_disagreement, final_rows
from ferrisstreams.testing.execute import Prepared, execute, prepare
from ferrisstreams.testing.parser import LEDGER_NAMES, read
from ferrisstreams.testing.rewrite import Found, rewrite
from ferrisstreams.testing.schedules import ALL_AT_ONCE, Schedule, all_schedules, fixed, sampled


@dataclass(frozen=True, slots=True)
class Selection:
    """Which schedules: one row a batch, all at once, and `sample` others chosen by `seed` and the case; or `every`."""

    sample: int = 3
    seed: int = 0
    every: bool = False

    def schedules_for(self, prepared: Prepared) -> list[Schedule]:
        case = prepared.case
        if case.batch_rows is not None:
            return [fixed(case.batch_rows)]
        if self.every:
            return all_schedules(prepared.partitions)
        return sampled(prepared.partitions, (self.seed, case.name), self.sample)


@dataclass(frozen=True, slots=True)
class Failure:
    """What differed under a schedule."""

    schedule: str
    message: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    case: Case
    schedules: int
    failures: tuple[Failure, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def text(self) -> str:
        """What went wrong, with the place; the schedules that failed alike are named together."""
        head = f"{self.case.path}:{self.case.line}: {self.case.title}"
        if self.passed:
            return head
        by_message: dict[str, list[str]] = {}
        for failure in self.failures:
            by_message.setdefault(failure.message, []).append(failure.schedule)
        parts = [f"under {', '.join(names)}:\n{message}" for message, names in by_message.items()]
        return "\n".join((head, *parts))


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all cases, in the order of files and lines."""

    results: tuple[CaseResult, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        return tuple(result for result in self.results if not result.passed)

    def text(self) -> str:
        """The failures, and a last line with the counts."""
        runs = sum(result.schedules for result in self.results)
        good = len(self.results) - len(self.failed)
        last = f"{good} of {len(self.results)} cases passed, in {runs} runs"
        return "\n\n".join([*(result.text() for result in self.failed), last])


def run_path(
    path: Path,
    *,
    selection: Selection = Selection(),
    rewrite_files: bool = False,
    report_case: Callable[[CaseResult], None] = lambda result: None,
) -> Report:
    """Run a `.test` file, or all below a folder.

    `rewrite_files` puts what came out into the files where it differs; cases that disagree between schedules stay as
    they are. `report_case` is called after each case. Raises `SqlError` for a file that cannot be read as test file,
    and `ConfigError` when there is none.
    """
    results: list[CaseResult] = []
    with keep_scratch():
        for file in test_files(path):
            cases = read(file)
            if rewrite_files:
                rewrite(file, {case.line: found for case in cases if (found := _found(case))}, cases)
                cases = read(file)
            for case in cases:
                results.append(run_case(case, selection))
                report_case(results[-1])
    return Report(tuple(results))


def test_files(path: Path) -> Sequence[Path]:
    """The file, or the `.test` files below the folder, in order of their names."""
    files = sorted(path.rglob("*.test")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"there is no .test file below {path}", "E3002", "give a .test file or a folder of them")
    return files


def run_case(case: Case, selection: Selection) -> CaseResult:
    """Run one case under the selected schedules."""
    try:
        prepared = prepare(case)
    except FerrisError as error:
        message = error_disagreement(case.expected.error, error)
        return CaseResult(case, 1, (Failure("any schedule", message),) if message else ())
    schedules = selection.schedules_for(prepared)
    failures = (
        Failure(schedule.name, message)
        for schedule in schedules
        if (message := disagreement(prepared, execute(prepared, schedule))) is not None
    )
    return CaseResult(case, len(schedules), tuple(failures))


def _found(case: Case) -> Found | None:
    """What a case gives under one schedule, when it is not what the case expects."""
    try:
        prepared = prepare(case)
    except FerrisError:
        return None
    ran = execute(prepared, fixed(case.batch_rows) if case.batch_rows else ALL_AT_ONCE)
    if ran.error is not None or (disagreement(prepared, ran) is None and case.expected.output and case.expected.ledger):
        return None
    columns, rows = final_rows(prepared, ran)
    free = ("produced", "written") if prepared.changes and not case.batch_rows else ()
    return Found(columns, rows, {name: ran.ledger[name] for name in LEDGER_NAMES if name not in free})
