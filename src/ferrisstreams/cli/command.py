"""Commands and groups of commands, and how the words behind a command become one value.

    COMMANDS = Group("ferris", "…", (Command("run", run, "app.sql --once"), …))
    COMMANDS.call(sys.argv[1:])  # the exit code

A command is a function of itself and of its words; its docstring is its help. It asks for its arguments as a dataclass,
whose fields are annotated with an `Argument`, and imports what it needs after that, so that help costs next to nothing:
hence no dataclasses here, which import half of the library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from ferrisstreams.cli.usage import UsageError

Arguments = TypeVar("Arguments")
Words: TypeAlias = Sequence[str]

_HELP = ("--help", "-h")


class Command(NamedTuple):
    """`example` is what to write behind the command's name."""

    name: str
    run: Callable[[Command, Words], int]
    example: str
    group: str = "ferris"

    @property
    def help(self) -> str:
        return self.run.__doc__ or ""

    @property
    def path(self) -> str:
        return f"{self.group} {self.name}"

    def arguments(self, kind: type[Arguments], words: Words) -> Arguments:
        """The words as a value. Ends the process for --help. Raises UsageError."""
        from ferrisstreams.cli.parser import parse

        return parse(kind, words, self.path, self.help, f"Example: {self.path} {self.example}".rstrip())

    def call(self, words: Words) -> int:
        """The exit code: 2 when the words are wrong."""
        try:
            return self.run(self, words)
        except UsageError as error:
            return _refuse(self.path, str(error))


class Group(NamedTuple):
    """Commands below one name."""

    name: str
    help: str
    commands: Sequence[Command | Group]
    path: str = "ferris"

    def call(self, words: Words) -> int:
        """Call the command that the first word names. The exit code: 2 when there is none."""
        if not words:
            sys.stderr.write(self._page())
            return 2
        first, *rest = words
        if first in _HELP:
            sys.stdout.write(self._page())
            return 0
        for command in self.commands:
            if command.name == first:
                return command.call(rest)
        kind = "option" if first.startswith("-") else "command"
        return _refuse(self.path, f"there is no {kind} {first}; the commands are {', '.join(self._names())}")

    def _names(self) -> list[str]:
        return [command.name for command in self.commands]

    def _page(self) -> str:
        width = max(map(len, self._names()))
        lines = [f"  {command.name:<{width}}  {command.help}" for command in self.commands]
        usage = f"Usage: {self.path} COMMAND …\n\n{self.help}\n\nCommands:\n"
        return usage + "\n".join(lines) + f"\n\n{self.path} COMMAND --help shows what a command takes.\n"


def _refuse(path: str, message: str) -> int:
    sys.stderr.write(f"{path}: {message}\nTry '{path} --help'.\n")
    return 2
