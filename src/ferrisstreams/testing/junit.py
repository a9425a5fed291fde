"""A report in the XML form of JUnit, which build servers read."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

from ferrisstreams.testing.runner import CaseResult, Report


def write_junit(report: Report, path: Path) -> None:
    """Write `<testsuites>` with a suite a file. Raises OSError."""
    root = ET.Element("testsuites")
    suites: defaultdict[Path, list[CaseResult]] = defaultdict(list)
    for result in report.results:
        suites[result.case.path].append(result)
    for file, results in suites.items():
        failed = sum(not result.passed for result in results)
        suite = ET.SubElement(root, "testsuite", name=str(file), tests=str(len(results)), failures=str(failed))
        for result in results:
            case = ET.SubElement(suite, "testcase", classname=file.stem, name=result.case.title)
            if not result.passed:
                ET.SubElement(case, "failure", message="output differs").text = _legal(result.text())
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _legal(text: str) -> str:
    """Without the control characters that XML has no place for."""
    return "".join(char if char >= " " or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
