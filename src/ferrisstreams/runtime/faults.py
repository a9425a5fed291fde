"""Fault points: names at which a test makes a job fail, raise or die."""

from __future__ import annotations

import os
import signal
from typing import Protocol

from ferrisstreams.errors import ConfigError

#: The points of a job's life, in order. The crash tests hit each of them.
FAULT_POINTS = (
    "during_recovery",
    "after_read",
    "after_process",
    "after_write",
    "after_flush",
    "after_prepare",
    "before_confirm",
    "after_confirm",
    "during_reclaim",
    "after_reclaim",
)


#: Points of a job whose epochs are decided by transactions, besides: the names of the model in `tests/model`.
TRANSACTION_POINTS = ("after_open", "after_init", "after_offsets", "after_transaction")

#: The points of a replay of dead letters.
REPLAY_POINTS = ("after_replay_intent", "after_replay_write", "after_purge")

#: The points of a start with another parallelism.
RESCALING_POINTS = ("after_rescaling_prepare", "after_rescaling_decision")

_POINTS = (*FAULT_POINTS, *TRANSACTION_POINTS, *REPLAY_POINTS, *RESCALING_POINTS)


class Crash(BaseException):
    """A simulated kill: nothing may catch it but the test."""


class Faults(Protocol):
    def reach(self, point: str) -> None:
        """The job has come to a fault point."""


class NoFaults:
    def reach(self, point: str) -> None:
        pass


class CrashAt:
    """Raises `Crash` at the `hit`-th time (from 1) that `point` is reached."""

    def __init__(self, point: str, hit: int = 1) -> None:
        assert point in _POINTS, point
        self._point = point
        self._left = hit

    def reach(self, point: str) -> None:
        assert point in _POINTS, point
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                self.strike()

    def strike(self) -> None:
        raise Crash(self._point)


class KillAt(CrashAt):
    """Kills the process with SIGKILL there."""

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class StopAt(CrashAt):
    """Stops the process with SIGSTOP there, once; it goes on with SIGCONT."""

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


_KINDS = {"": KillAt, "kill": KillAt, "stop": StopAt}


def faults_from(text: str | None) -> Faults:
    """`FERRIS_FAULT`: `after_flush:3` kills the process at the third flush, `after_flush:3:stop` stops it there.

    Raises ConfigError E3002.
    """
    if not text:
        return NoFaults()
    point, hit, kind, *rest = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    if point not in _POINTS or not (hit or "1").isdigit() or kind not in _KINDS or rest:
        raise ConfigError(f"FERRIS_FAULT={text} names no fault point", "E3002", f"one of {', '.join(_POINTS)}")
    return _KINDS[kind](point, int(hit or "1"))
