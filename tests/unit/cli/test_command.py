from __future__ import annotations

import subprocess
import sys

import pytest

from ferrisstreams.cli.command import Command, Group, Words
from ferrisstreams.cli.usage import UsageError


def _look(command: Command, words: Words) -> int:
    """Looks."""
    if words != ["well"]:
        raise UsageError("look well", "words")
    return 0


TOP = Group(
    "ferris", "Streams.", (Group("eye", "Eyes.", (Command("look", _look, "well", "ferris eye"),), "ferris eye"),)
)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["eye", "look", "well"], 0, ""),
        (["eye", "look"], 2, "ferris eye look: words: look well\nTry 'ferris eye look --help'.\n"),
        (
            ["eye", "blink"],
            2,
            "ferris eye: there is no command blink; the commands are look\nTry 'ferris eye --help'.\n",
        ),
        (["--quick"], 2, "ferris: there is no option --quick; the commands are eye\nTry 'ferris --help'.\n"),
    ],
)
def test_words_lead_to_a_command(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert TOP.call(words) == code
    assert capsys.readouterr().err == said


def test_help_lists_the_commands_and_is_an_error_where_it_was_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert TOP.call(["eye", "--help"]) == 0
    asked = capsys.readouterr().out
    assert "look  Looks." in asked
    assert TOP.call(["eye"]) == 2
    assert capsys.readouterr().err == asked


def test_help_imports_neither_the_engine_nor_any_library() -> None:
    code = (
        "import sys; own = set(sys.modules); from ferrisstreams.cli.main import FERRIS; FERRIS.call(['--help']);"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - own}"
        " - set(sys.stdlib_module_names) - {'ferrisstreams'}), *({'inspect', 'argparse'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
