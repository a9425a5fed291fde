"""How an error reaches a user: place, message, code, excerpt and hint; never a traceback."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import TypeAlias

from ferrisstreams.errors import FerrisError, InternalError, as_ferris_error

#: Set in the environment to see the traceback of an internal error.
DEBUG_VARIABLE = "FERRIS_DEBUG"

ErrorFields: TypeAlias = dict[str, str | int | None]

_RED, _DIM, _PLAIN = "\033[1;31m", "\033[2m", "\033[0m"


def report(error: Exception) -> int:
    """Print an error on standard error and give the exit code. A reader that has gone, as behind `| head`, has what it
    wanted."""
    if isinstance(error, BrokenPipeError):
        abandon_stdout()
        return 0
    shown = as_ferris_error(error)
    sys.stderr.write(paint(str(shown)) + "\n")
    if isinstance(shown, InternalError):
        sys.stderr.write(_trace(error) + "\n")
    return 1


def paint(text: str) -> str:
    """An error's text with colour when standard error is a terminal that wants it."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        return text
    first, *rest = text.splitlines()
    marked = [f"{_RED}{line}{_PLAIN}" if set(line.strip()) == {"^"} else f"{_DIM}{line}{_PLAIN}" for line in rest]
    return "\n".join([f"{_RED}{first}{_PLAIN}", *marked])


def as_json(error: FerrisError) -> ErrorFields:
    """An error for machines; `path`, `line` and `column` are None when it has no place in a text."""
    place = error.position
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "path": place.path if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
    }


def _trace(error: Exception) -> str:
    text = "".join(traceback.format_exception(error))
    if os.environ.get(DEBUG_VARIABLE):
        return text
    with tempfile.NamedTemporaryFile("w", prefix="ferris-error-", suffix=".txt", delete=False) as file:
        file.write(text)
    return f"details: {file.name} ({DEBUG_VARIABLE}=1 shows them here)"


def abandon_stdout() -> None:
    """The reader of standard output went away: leave nothing for the interpreter to flush into it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
