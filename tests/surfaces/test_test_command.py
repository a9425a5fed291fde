"""The command `ferris test`."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.surfaces.conftest import Ferris

CASE = """\
# A key is counted.
stream clicks (k TEXT)
  k
  a
  b
  a
query SELECT k, count(*) AS n FROM clicks GROUP BY k EMIT FINAL
output
  k  n
  a  2
  b  1
ledger read 3 absorbed 3 produced 2 written 2
"""


def test_cases_that_pass_end_with_zero(ferris: Ferris) -> None:
    ferris.write(count__test=CASE)
    ran = ferris("test", ".", "--junit", "report.xml")
    assert ran.code == 0, ran.out
    assert ran.out.startswith("1 of 1 cases passed, in ")
    suite = ElementTree.parse(ferris.folder / "report.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")


def test_case_that_fails_is_named_with_its_place(ferris: Ferris) -> None:
    ferris.write(count__test=CASE.replace("a  2", "a  3"))
    ran = ferris("test", "count.test")
    assert ran.code == 1
    assert ran.out.startswith("count.test:1: A key is counted.\n")
    assert ran.out.rstrip().splitlines()[-1].startswith("0 of 1 cases passed")


def test_rewrite_puts_in_what_came_out(ferris: Ferris) -> None:
    ferris.write(count__test=CASE.replace("a  2", "a  3"))
    assert ferris("test", "count.test", "--rewrite").code == 0
    assert (ferris.folder / "count.test").read_text("utf-8") == CASE


def test_file_that_is_no_test_file_is_an_error_with_a_place(ferris: Ferris) -> None:
    ferris.write(count__test="what is this\n")
    ran = ferris("test", "count.test")
    assert ran.code == 1
    assert ran.err.startswith("count.test:1:")


def test_path_that_does_not_exist_is_wrong_usage(ferris: Ferris) -> None:
    assert ferris("test", "nowhere").code == 2
