"""One job of an application in the calling process, alone or beside others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from ferrisstreams.errors import FerrisError, RowError
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.observer import Observer, ProgressEvent
from ferrisstreams.session.side_by_side import SideBySide

#: Makes a job for an observer; the number is `RunOptions.while_open`.
MakeJob = Callable[[Observer, int | None], Job]


class JobRun(SideBySide):
    """`result` is there when it has `ended`; `raised` is what kept it from having one. `observer` is shared: it hears
    under the `lock`."""

    def __init__(self, name: str, make: MakeJob, observer: Observer, lock: Lock) -> None:
        super().__init__(name)
        self.result = JobResult(name, "stopped", 0.0, 0, Ledger(), None, {})
        self.raised: Exception | None = None
        self.row_error: RowError | None = None
        self._make = make
        self._observer = observer
        self._lock = lock

    @property
    def failed(self) -> bool:
        return self.raised is not None or self.result.error is not None

    def run(self, while_open: int | None) -> None:
        try:
            job = self._make(self, while_open)
            self.result = job.run()
            if isinstance(self.result.error, RowError) and job.is_strict():
                self.row_error = self.result.error
        except Exception as error:
            self.raised = error

    def refuse(self, error: FerrisError) -> None:
        self.result = JobResult(self.job, "failed", 0.0, 0, Ledger(), None, {}, error)

    def tell_wait(self, jobs: Sequence[str]) -> None:
        self.event("job_waits", job=self.job, until_finished=list(jobs))

    def progress(self, event: ProgressEvent) -> None:
        self.running.set()
        with self._lock:
            self._observer.progress(event)

    def event(self, name: str, **fields: object) -> None:
        with self._lock:
            self._observer.event(name, **fields)
