"""Fault points: names at which a test makes a job raise an error of any class, die or stand still."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from ferrisstreams.errors import ConfigError, FatalConnectorError, TransientError

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

    @property
    def struck(self) -> bool:
        """Whether the job has come there often enough."""
        return self._left <= 0

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


class RaiseAt(CrashAt):
    """Raises an error there, of the class that `kind` names, as many times in a row as `times` says."""

    def __init__(self, point: str, hit: int = 1, kind: str = "transient", times: int = 1) -> None:
        super().__init__(point, hit)
        self._kind = kind
        self._times = times

    def strike(self) -> None:
        if self._times > 1:
            self._times, self._left = self._times - 1, 1
        raise _raised(self._kind)


def _raised(kind: str) -> BaseException:
    match kind:
        case "transient":
            return TransientError("a simulated failure that passes", "E4102")
        case "fatal":
            return FatalConnectorError("a simulated failure that stays", "E4003")
        case "memory":
            return MemoryError("simulated")
        case "interrupt":
            return KeyboardInterrupt("simulated")
        case _:
            return RuntimeError("a simulated error that nothing foresaw")


#: What a step can raise: what passes, what stays, no memory, and an error that is not ours.
RAISED = ("transient", "fatal", "memory", "foreign")

_KINDS: Mapping[str, Callable[[str, int], Faults]] = {
    "": KillAt,
    "kill": KillAt,
    "stop": StopAt,
    **{kind: partial(RaiseAt, kind=kind) for kind in (*RAISED, "interrupt")},
}


def faults_from(text: str | None) -> Faults:
    """`FERRIS_FAULT`: `after_flush:3` kills the process at the third flush, `after_flush:3:stop` stops it there, and
    `after_flush:3:fatal` raises an error of that class (`transient`, `fatal`, `memory`, `foreign`, `interrupt`).

    Raises ConfigError E3002.
    """
    if not text:
        return NoFaults()
    point, hit, kind, *rest = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    if point not in _POINTS or not (hit or "1").isdigit() or kind not in _KINDS or rest:
        raise ConfigError(f"FERRIS_FAULT={text} names no fault point", "E3002", f"one of {', '.join(_POINTS)}")
    return _KINDS[kind](point, int(hit or "1"))
