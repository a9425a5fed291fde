"""Ctrl-C and SIGTERM: the first asks for an orderly stop, the second kills."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NOTE = b"\nstopping: what was read is being committed (again: kill)\n"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_on_signal(stop: Callable[[], None], kill: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal calls `stop` and a second one `kill`. On a terminal a line says so."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            kill()
            return
        asked = True
        if sys.stderr.isatty():
            os.write(2, _NOTE)  # the handler may run inside a write to sys.stderr, which is not reentrant
        stop()

    before = [(number, signal.signal(number, handle)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
