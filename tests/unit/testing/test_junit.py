from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from ferrisstreams.testing.case import Case, Expectation
from ferrisstreams.testing.junit import write_junit
from ferrisstreams.testing.runner import CaseResult, Failure, Report


def result(file: str, title: str, *failures: Failure) -> CaseResult:
    return CaseResult(Case(Path(file), 1, title, (), {}, "SELECT 1", Expectation()), 2, failures)


def test_report_has_a_suite_a_file_and_its_failures(tmp_path: Path) -> None:
    bad = result("a.test", "bad <&>", Failure("one row a batch", "output:\n - \x1b[1m"))
    write_junit(Report((result("a.test", "good"), bad, result("b.test", "other"))), tmp_path / "report.xml")
    suites = ET.parse(tmp_path / "report.xml").getroot().findall("testsuite")
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in suites] == [
        ("a.test", "2", "1"),
        ("b.test", "1", "0"),
    ]
    failure = suites[0].find("testcase[@name='bad <&>']/failure")
    assert failure is not None
    assert failure.text is not None
    assert "under one row a batch" in failure.text
