"""Standard input, output and error, of which the caller may have closed any."""

from __future__ import annotations

import os
import sys


def hold_standard_streams() -> None:
    """A standard stream that is closed becomes the null device, so that no file that is opened later takes its number.

    What a command says there goes nowhere. Rows do not: a job that prints them is refused (`standard_output`).
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
