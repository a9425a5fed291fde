"""Every case of `tests/sql/run`, under a sample of schedules, and against DuckDB itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ferrisstreams.testing.case import Case, Table
from ferrisstreams.testing.cells import Cell, agrees
from ferrisstreams.testing.chance import Chance
from ferrisstreams.testing.execute import Prepared
from ferrisstreams.testing.parser import read
from ferrisstreams.testing.runner import Selection, run_case, run_path
from ferrisstreams.testing.schedules import Schedule
from tests.sql.oracle import Inapplicable, answer

FOLDER = Path(__file__).parent / "run"
CASES_MIN = 490


class OneOfFour(Selection):
    """One of the schedules that `make fuzz` runs a case under, by the case's name."""

    def schedules_for(self, prepared: Prepared) -> list[Schedule]:
        return Chance(self.seed, "one", prepared.case.name).sample(super().schedules_for(prepared), 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files = sorted(FOLDER.glob("*.test"))
    # Named on purpose: rewriting the other kinds of cases must not touch these.
    if metafunc.config.getoption("--rewrite") and any("test_run" in given for given in metafunc.config.args):
        for file in files:
            run_path(file, selection=Selection(sample=0), rewrite_files=True)
    if "case" in metafunc.fixturenames:
        cases = [case for file in files for case in read(file)]
        metafunc.parametrize("case", cases, ids=[f"{case.path.stem}:{case.line}" for case in cases])


def test_case_gives_what_it_expects_under_every_schedule(case: Case, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--schedule-seed")
    every = request.config.getoption("--all-schedules")
    kind = Selection if every or request.config.getoption("--full") else OneOfFour
    result = run_case(case, kind(sample=2, seed=seed, every=every))
    assert result.passed, f"{result.text()}\nrepeat: pytest {__file__} --schedule-seed {seed} -k '{case.path.stem}'"


def test_case_expects_what_duckdb_answers(case: Case) -> None:
    expected = case.expected
    if expected.error or expected.output is None:
        return
    if case.batch_rows is not None:
        return  # the output depends on the cut
    if case.no_batch_answer is not None:
        assert not answers_alike(case), "DuckDB answers it: take the line `oracle none` out"
        return
    try:
        got = answer(case)
    except Inapplicable as error:
        pytest.fail(f"say so in the case: `oracle none: {error}`")
    assert same_rows(expected.output, got.rows), f"{case.name}\n{got.rows}"
    if expected.ledger is not None:
        assert got.read in (expected.ledger["read"], None)
        assert got.late == expected.ledger.get("late", 0)
        if got.filtered is not None:
            assert expected.ledger.get("filtered", 0) == got.filtered


def test_there_are_many_cases_each_under_a_name_of_its_own() -> None:
    cases = [case for file in FOLDER.glob("*.test") for case in read(file)]
    assert len(cases) >= CASES_MIN
    assert len({case.name for case in cases}) == len(cases)


def answers_alike(case: Case) -> bool:
    assert case.expected.output is not None
    try:
        return same_rows(case.expected.output, answer(case).rows)
    except Inapplicable:
        return False


def same_rows(expected: Table, rows: Sequence[Sequence[object]]) -> bool:
    left = list(rows)
    for cells in expected.rows:
        found = next((row for row in left if all(map(agrees_roughly, cells, row))), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def agrees_roughly(cell: Cell, value: object) -> bool:
    """Averages of decimals are exact with us and floats in DuckDB: the last digit of the cell decides."""
    if isinstance(value, float) and "." in cell.text and "e" not in cell.text:
        last_digit = 10.0 ** -len(cell.text.partition(".")[2])
        return agrees(cell, value) or abs(float(cell.text) - value) <= last_digit / 2 * 1.001
    return agrees(cell, value)
