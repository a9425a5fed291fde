"""Standard input, output and error, of which the caller may have closed any."""

from __future__ import annotations

import os
import sys
from typing import TextIO

#: Columns of a terminal that does not say how many it has.
_COLUMNS = 80


def hold_standard_streams() -> None:
    """A standard stream that is closed becomes the null device, so that no file that is opened later takes its number.

    What a command says there goes nowhere. Rows do not: a job that prints them is refused (`standard_output`).
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def terminal_columns(stream: TextIO) -> int:
    """Of the terminal behind this stream, unless `COLUMNS` says it."""
    if (given := os.environ.get("COLUMNS", "")).isdecimal() and int(given):
        return int(given)
    return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
