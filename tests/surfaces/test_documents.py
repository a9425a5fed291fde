"""Pages say what is true: their files are written, their SQL is run, their sessions are repeated.

A block ```` ```sql name ```` (or json) writes a file of that name. One of SQL without a name is checked, one of `test`
is run. In a block ```` ```console ````, `$ ferris …` and `$ cat …` are run, and what follows must come out; `...`
stands for anything.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scripts.reference import configuration_page, errors_page, metrics_page
from tests.surfaces.conftest import Ferris

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/sql.md",
    "docs/tables.md",
    "docs/files.md",
    "docs/kafka.md",
    "docs/scheduling.md",
    "docs/configuration.md",
    "docs/testing.md",
    "docs/failures.md",
    "docs/reading.md",
)

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_page_is_what_happens(page: str, ferris: Ferris) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    assert blocks
    for language, name, text in blocks:
        if language == "console":
            repeat(text, ferris)
        elif name:
            (ferris.folder / name).write_text(text, "utf-8")
        elif language == "sql":
            ran = ferris("check", "-", stdin=text)
            assert ran.code == 0, text + ran.err
        elif language == "test":
            (ferris.folder / "page.test").write_text(text, "utf-8")
            ran = ferris("test", "page.test")
            assert ran.code == 0, ran.out + ran.err


def repeat(session: str, ferris: Ferris) -> None:
    """Run the commands of a session and compare what they print."""
    for step in re.split(r"^\$ ", session, flags=re.M)[1:]:
        line, _, expected = step.partition("\n")
        printed = "\n".join(text.rstrip() for text in run(shlex.split(line), ferris).splitlines()) + "\n"
        assert re.fullmatch(pattern(expected), printed), f"$ {line}\n{printed}"


def run(words: list[str], ferris: Ferris) -> str:
    if words[0] == "cat":
        return "".join((ferris.folder / name).read_text("utf-8") for name in words[1:])
    assert words[0] == "ferris", words
    ran = ferris(*words[1:])
    return ran.out or ran.err


def pattern(expected: str) -> str:
    """A line `...` stands for any lines, `...` within a line for any text."""
    lines = (line.rstrip() for line in expected.splitlines())
    return "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n" for line in lines
    )


@pytest.mark.parametrize(
    ("page", "made"),
    [("configuration.md", configuration_page), ("errors.md", errors_page), ("metrics.md", metrics_page)],
)
def test_reference_page_is_current(page: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / "docs" / page).read_text("utf-8") == made(), "run: make docs"


def test_help_lists_every_command_of_the_makefile(ferris: Ferris) -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([\w-]+):.*## ", text, re.M))
