"""The first commands of a new user: help, a new project, completion."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ferrisstreams.cli.main import app
from tests.broker import Cluster
from tests.surfaces.conftest import Ferris

COLUMNS = 80


def helps() -> Iterator[tuple[str, str]]:
    """Each command and group, and its help on a terminal of 80 columns."""
    waiting: list[Any] = [typer.Context(typer.main.get_command(app), info_name="ferris", terminal_width=COLUMNS)]
    while waiting:
        context = waiting.pop()
        yield context.command_path, context.get_help()
        for name, command in getattr(context.command, "commands", {}).items():
            waiting.append(typer.Context(command, parent=context, info_name=name))


@pytest.mark.parametrize(("command", "text"), [pytest.param(*each, id=each[0]) for each in helps()])
def test_help_fits_has_an_example_and_speaks_no_python(command: str, text: str) -> None:
    assert all(len(line) <= COLUMNS for line in text.splitlines())
    example = re.search(r"Example:  (ferris .*)", text)
    assert example is not None
    assert shlex.split(example[1])[: len(command.split())] == command.split() or command == "ferris"
    assert not re.search(r"<(str|int|float|bool|path|list)\b|x>=|[{}]|\bNone\b", text), text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "a.sql", "--max-records", "many"], "Invalid value for '--max-records': it must be a whole number"),
        (["run", "a.sql", "--max-records", "-1"], "Invalid value for '--max-records': it must be at least 0"),
        (
            ["explain", "a.sql", "--format", "xml"],
            "Invalid value for '--format': 'xml' is not one of 'text', 'json', 'mermaid'.",
        ),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["help", "nothing"], "Invalid value for COMMAND: there is no command 'nothing'"),
        (["completion", "tcsh"], "Invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    ],
)
def test_wrong_usage_is_told_in_our_words(arguments: list[str], told: str, ferris: Ferris) -> None:
    ran = ferris(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"Error: {told}"


def test_help_of_a_command_is_that_of_its_option(ferris: Ferris) -> None:
    for words in (["dlq", "list"], ["run"], []):
        assert ferris("help", *words).out == ferris(*words, "--help").out


def test_version_is_one_line(ferris: Ferris) -> None:
    assert re.fullmatch(r"ferrisstreams \d+\.\d+\.\d+\n", ferris("--version").out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completes_commands(shell: str, ferris: Ferris) -> None:
    script = ferris("completion", shell)
    assert script.code == 0
    assert "_FERRIS_COMPLETE=complete_" + shell in script.out
    words = {"COMP_WORDS": "ferris st", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "ferris st"}
    found = ferris(_FERRIS_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **words)
    assert {"state", "status"} <= set(re.findall(r"\w+", found.out))
    assert "explain" not in found.out


def run_session(folder: Path, ferris: Ferris) -> str:
    """Run the commands of a project's README; what the last has printed."""
    printed = ""
    session = re.search(r"```console\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    assert session is not None
    for line in session[1].splitlines():
        words = shlex.split(line.removeprefix("$ "))
        if words[0] == "cat":
            printed = (folder / words[1]).read_text("utf-8")
            continue
        ran = ferris(*words[1:])
        assert ran.code == 0, f"{line}\n{ran.out}{ran.err}"
        printed = ran.out
    return printed


def test_new_project_runs_as_its_readme_says(tmp_path: Path) -> None:
    made = Ferris(tmp_path)("new", "my sales")
    assert made.code == 0, made.err
    folder = tmp_path / "my sales"
    assert run_session(folder, Ferris(folder)).splitlines() == [
        '{"window_start":"2024-05-01T10:00:00Z","product":"milk","orders":1,"sold":1}',
        '{"window_start":"2024-05-01T10:00:00Z","product":"tea","orders":2,"sold":3}',
        '{"window_start":"2024-05-01T10:01:00Z","product":"tea","orders":1,"sold":3}',
    ]


def test_new_project_between_topics_runs_as_its_readme_says(kafka: Cluster, topic_name: str, tmp_path: Path) -> None:
    folder = tmp_path / "sales"
    assert Ferris(tmp_path)("new", "sales", "--kafka").code == 0
    for name in ("app.sql", "load.sql"):
        text = (folder / name).read_text("utf-8").replace("localhost:9092", kafka.bootstrap_servers)
        for topic in ("orders", "sales"):
            text = text.replace(f"'topic' = '{topic}'", f"'topic' = '{topic_name}-{topic}'")
        (folder / name).write_text(text, "utf-8")
    summary = [line.split() for line in run_session(folder, Ferris(folder)).splitlines()]
    assert ["late", "1"] in summary
    assert ["written", "3"] in summary


def test_new_project_leaves_what_is_there(ferris: Ferris) -> None:
    ferris.write(mine__txt="mine")
    ran = ferris("new", ".")
    assert (ran.code, ran.out) == (1, "")
    assert ". is not empty: it holds mine.txt [E3002]" in ran.err
    assert [path.name for path in ferris.folder.iterdir()] == ["mine.txt"]
