"""Ctrl-C, SIGTERM and the end of the terminal (SIGHUP): the first asks for an orderly stop, the second kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ferrisstreams.cli.streams import let_go

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_on_signal(stop: Callable[[], None], kill: Callable[[], None], tell: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal calls `tell` and `stop`, and a second one `kill`. A terminal that was closed is left
    alone from then on; it may say so several times."""
    asked = False
    of_terminal = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]  # not known once it is closed

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            kill()
            return
        asked = True
        tell()
        stop()

    def hang_up(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        let_go(of_terminal)
        if not asked:
            asked = True
            stop()

    before = [(number, signal.signal(number, handle)) for number in _SIGNALS]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` wants it
        before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, hang_up)))
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
