from __future__ import annotations

import os
import signal

import pytest

from ferrisstreams.cli.signals import stopping_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_stops_and_second_kills(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.getsignal(number)
    with stopping_on_signal(lambda: told.append("stop"), lambda: told.append("kill"), lambda: told.append("say")):
        os.kill(os.getpid(), number)
        assert told == ["say", "stop"]
        os.kill(os.getpid(), number)
        assert told == ["say", "stop", "kill"]
    assert signal.getsignal(number) is before
