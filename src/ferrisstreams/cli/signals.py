"""Ctrl-C and SIGTERM: the first asks for an orderly stop, the second kills."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_on_signal(stop: Callable[[], None], kill: Callable[[], None], quiet: bool = False) -> Iterator[None]:
    """Inside, the first signal calls `stop` and a second one `kill`. `quiet` says nothing about it."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            kill()
            return
        asked = True
        if not quiet:
            sys.stderr.write("\nstopping: what was read is being committed (again: kill)\n")
        stop()

    before = [(number, signal.signal(number, handle)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
