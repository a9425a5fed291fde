"""What can be wrong with a command line, and the question that a command asks."""

from __future__ import annotations

import sys


class UsageError(Exception):
    """The command line is wrong: `message` says why, `argument` is the part of it that is meant."""

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(f"{argument}: {message}" if argument else message)


def confirm(question: str) -> bool:
    """Ask on the terminal, by standard error, until the answer is yes or no; the end of input is no."""
    while True:
        sys.stderr.write(f"{question} [y/N]: ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        match answer.strip().lower():
            case "y" | "yes":
                return True
            case "n" | "no" | "":
                return False
