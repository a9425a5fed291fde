from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ferrisstreams.errors import ConfigError
from ferrisstreams.testing.compare import lost_rows
from ferrisstreams.testing.execute import execute, prepare
from ferrisstreams.testing.parser import parse
from ferrisstreams.testing.runner import Selection, run_case, run_path
from ferrisstreams.testing.schedules import ONE_ROW

ROOT = Path(__file__).resolve().parents[3]
CALM = Selection(sample=0)

CASE = """\
stream s (k VARCHAR, v BIGINT)
  k  v
  a  1
  b  2
  a  4

# sums
query SELECT k, sum(v) AS s FROM s GROUP BY k EMIT FINAL
output
  k  s
  a  5
  b  2
ledger read 3 absorbed 3 produced 2 written 2
"""


def failures(text: str) -> str:
    (case,) = parse(Path("x.test"), text)
    return run_case(case, CALM).text()


def test_page_about_testing_holds_a_case_that_passes() -> None:
    page = (ROOT / "docs" / "testing.md").read_text("utf-8")
    examples = re.findall(r"^```test\n(.*?)^```$", page, re.M | re.S)
    assert examples
    for example in examples:
        for case in parse(Path("testing.md"), example):
            result = run_case(case, Selection(sample=4))
            assert result.passed, result.text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a  5", "a  6", "  - a  6\n  + a  5\n    b  2"),
        ("  b  2\nledger", "ledger", "  + b  2"),
        ("  k  s\n", "  k  n\n", "expected the columns k, n\ngot k, s"),
        ("absorbed 3", "absorbed 2", "absorbed: expected 2, got 3"),
        (" absorbed 3", "", "absorbed: expected 0, got 3"),
        ("output\n  k  s\n  a  5\n  b  2\n", "error E1101 k\n", "expected the error E1101 k, but nothing failed"),
        ("sum(v)", "sum(w)", "failed: "),
        ("ledger", "dead letters\n  code\n  E2104\nledger", "  - E2104"),
        ("ledger", "dead letters\n  coed\n  E2104\nledger", "a dead letter has no coed"),
    ],
)
def test_what_differs_is_shown(old: str, new: str, message: str) -> None:
    assert old in CASE
    assert message in failures(CASE.replace(old, new))


def test_rows_that_are_in_no_result_are_missed_even_without_an_expected_output() -> None:
    (case,) = parse(Path("x.test"), CASE.replace("sum(v) AS s", "count(*) AS n").replace("  a  5", "  a  2"))
    prepared = prepare(case)
    ran = execute(prepared, ONE_ROW)
    assert lost_rows(prepared, ran) is None
    assert lost_rows(prepared, replace(ran, rows=ran.rows[1:])) == "3 rows were kept for the results, which hold 1"


def test_case_that_holds_is_silent() -> None:
    assert failures(CASE) == "x.test:7: sums"


def test_wrong_error_names_both() -> None:
    text = CASE.replace("sum(v)", "sum(w)").replace("output", "error E1102\noutput")
    assert "expected the error E1102\ngot E1101" in failures(text)


def test_changes_are_folded_unless_the_cut_is_fixed() -> None:
    changing = CASE.replace("EMIT FINAL", "EMIT CHANGES")
    assert failures(changing).count("\n") == 0
    fixed = changing.replace("output", "schedule fixed 1\noutput")
    assert "+ a  1" in failures(fixed)


def test_file_is_rewritten_where_it_differs_and_stays_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "x.test"
    other = "\n# other\nquery SELECT v FROM s WHERE v > 1\n"
    file.write_text(CASE.replace("a  5", "a  0  -- comment") + other)
    assert not run_path(file, selection=CALM).passed
    assert run_path(file, selection=CALM, rewrite_files=True).passed
    expected = CASE + other + "output\n  v\n  2\n  4\nledger read 3 emitted 2 filtered 1 produced 2 written 2\n"
    assert file.read_text() == expected
    commented = expected.replace("a  5", "a  5    -- four and one")
    file.write_text(commented)
    run_path(file, selection=CALM, rewrite_files=True)
    assert file.read_text() == commented


def test_folder_gives_a_report_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.test").write_text(CASE)
    (tmp_path / "b.test").write_text(CASE.replace("a  5", "a  6"))
    seen = []
    report = run_path(tmp_path, selection=CALM, report_case=seen.append)
    assert [result.passed for result in report.results] == [False, True]
    assert report.text().endswith("1 of 2 cases passed, in 4 runs")
    assert tuple(seen) == report.results


def test_folder_without_test_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \.test file"):
        run_path(tmp_path)
