from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest

from ferrisstreams.cli.arguments import Argument
from ferrisstreams.cli.parser import parse
from ferrisstreams.cli.usage import UsageError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Given:
    files: Annotated[list[str], Argument("Files.", metavar="FILE")]
    quick: Annotated[bool, Argument("Quickly.", ("--quick",))] = False
    count: Annotated[int | None, Argument("How many.", ("--count",), metavar="N", at_least=1)] = None
    colours: Annotated[list[Colour] | None, Argument("Which.", ("--colour", "-c"))] = None
    folder: Annotated[Path | None, Argument("Where.", ("--folder",), metavar="DIR")] = None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a"], Given(["a"])),
        (["-"], Given(["-"])),
        (["a", "--quick", "b"], Given(["a", "b"], quick=True)),
        (["--count", "3", "a"], Given(["a"], count=3)),
        (["--count=3", "a"], Given(["a"], count=3)),
        (["-c", "red", "a", "--colour", "blue"], Given(["a"], colours=[Colour.RED, Colour.BLUE])),
        (["a", "--folder", "x/y"], Given(["a"], folder=Path("x/y"))),
    ],
)
def test_words_become_a_value(words: list[str], expected: Given) -> None:
    assert parse(Given, words, "ferris", "", "") == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "FILE"),
        (["a", "--count", "0"], "--count: 0 is less than 1"),
        (["a", "--count", "1.5"], "--count: '1.5' is not a whole number"),
        (["a", "--count"], "--count"),
        (["a", "-c", "green"], "--colour/-c: 'green' is not one of red, blue"),
        (["a", "--qui"], "--qui"),
        (["a", "--slow"], "--slow"),
    ],
)
def test_wrong_words_are_named(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(Given, words, "ferris", "", "")
    assert said in str(raised.value)


def test_help_shows_every_argument_that_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Given, ["--help"], "ferris look", "Looks.", "Example: ferris look a")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("usage: ferris look [OPTIONS] FILE …", "--count N", "--colour red|blue"))
