"""Ctrl-C and SIGTERM: the first asks for an orderly stop, the second kills."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_on_signal(stop: Callable[[], None], kill: Callable[[], None], tell: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal calls `tell` and `stop`, and a second one `kill`."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            kill()
            return
        asked = True
        tell()
        stop()

    before = [(number, signal.signal(number, handle)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
