"""Jobs of one application that run at the same time, each in a thread that waits for those that feed it.

A job that reads what an endless one writes runs beside it, from when that one runs: it holds one end of a pipe, and
when the other is closed, because those that feed it have ended, it reads what is left of a file and ends too. The
reader of a topic goes on: anyone may write to it. One job that fails does not stop the others; a job that reads what a
failed one writes is not started.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from threading import Event, Thread

from ferrisstreams.errors import FatalConnectorError, FerrisError
from ferrisstreams.plan.nodes import JobPlan

#: Seconds between two looks at what may end a wait.
LOOK_SECONDS = 0.2


class SideBySide(ABC):
    """A job among others. `running` is set from outside, when it has said how far it is; `ended` by itself."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.running = Event()
        self.ended = Event()

    @property
    @abstractmethod
    def failed(self) -> bool:
        """Whether it has ended with an error."""

    @abstractmethod
    def run(self, while_open: int | None) -> None:
        """Run the job to its end; `while_open`: as in `RunOptions`."""

    @abstractmethod
    def refuse(self, error: FerrisError) -> None:
        """It is not run, because of this."""

    @abstractmethod
    def tell_wait(self, jobs: Sequence[str]) -> None:
        """It waits until these jobs have ended."""

    def start(self, before: Sequence[SideBySide] = (), beside: Sequence[SideBySide] = ()) -> None:
        """In a thread, when the jobs `before` have ended and those that feed it run `beside` it."""
        Thread(target=self._run, args=(before, beside), name=self.job, daemon=True).start()

    def wait(self) -> None:
        """Until it has ended; an interrupt is raised meanwhile."""
        while not self.ended.wait(LOOK_SECONDS):
            pass

    def _run(self, before: Sequence[SideBySide], beside: Sequence[SideBySide]) -> None:
        try:
            if before:
                self.tell_wait([other.job for other in before])
            for other in before:
                other.ended.wait()
            for other in beside:
                while not other.running.wait(LOOK_SECONDS) and not other.ended.is_set():
                    pass
            if failed := [other.job for other in (*before, *beside) if other.failed]:
                self.refuse(not_started(self.job, failed))
            elif beside:
                self._run_beside(beside)
            else:
                self.run(None)
        finally:
            self.ended.set()

    def _run_beside(self, others: Sequence[SideBySide]) -> None:
        theirs, ours = os.pipe()
        Thread(target=_close_after, args=(ours, others), daemon=True).start()
        try:
            self.run(theirs)
        finally:
            os.close(theirs)


def start_all(jobs: Sequence[JobPlan], running: Mapping[str, SideBySide], once: bool) -> None:
    """Start each of the jobs, in the order of their dependence."""
    for job in jobs:
        names = [name for name in job.depends_on if name in running]
        beside = [name for name in names if name in job.fed_by and name in endless(jobs, once)]
        before = [running[name] for name in names if name not in beside]
        running[job.name].start(before, [running[name] for name in beside])


def endless(jobs: Sequence[JobPlan], once: bool) -> frozenset[str]:
    """The jobs that do not end by themselves."""
    return frozenset(job.name for job in jobs if job.endless and not once)


def not_started(job: str, failed: Sequence[str]) -> FerrisError:
    return FatalConnectorError(
        f"job '{job}' was not started: it reads what {' and '.join(failed)} writes, which failed",
        "E6005",
        "fix that job and run again: what is finished is not done twice",
    )


def _close_after(pipe: int, jobs: Sequence[SideBySide]) -> None:
    for job in jobs:
        job.ended.wait()
    os.close(pipe)
