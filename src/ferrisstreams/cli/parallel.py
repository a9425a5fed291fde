"""One job in several worker processes: each reads its share of the partitions, and together they are one job.

The first worker that fails fails the job: the others are stopped in order, and the user sees that error.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Thread

from ferrisstreams.batch import JsonValue
from ferrisstreams.cli.arguments import RunArguments
from ferrisstreams.cli.failure import ErrorFields, paint
from ferrisstreams.cli.signals import stopping_on_signal
from ferrisstreams.cli.summary import JobSummary
from ferrisstreams.cli.views import LogView, View
from ferrisstreams.cli.workers import Start, Worker, WorkerGroup, worker_command, worker_input
from ferrisstreams.connectors.base import ClientFigures, SourceProgress
from ferrisstreams.runtime.breaker import BreakerState
from ferrisstreams.runtime.observer import Observer, ProgressEvent
from ferrisstreams.workers.fork_server import ForkServer

#: Seconds between two looks at the signals while workers run.
_LOOK_SECONDS = 0.2

#: Of a circuit breaker's states that of a job is its worst worker's.
_WORST_FIRST = (BreakerState.OPEN.value, BreakerState.HALF_OPEN.value, BreakerState.CLOSED.value)


class ParallelJob:
    """The workers of one job. `run` once; `stop` from anywhere."""

    def __init__(self, job: str, workers: int, server: ForkServer) -> None:
        self._job = job
        self._count = workers
        self._group = WorkerGroup(LogView(), server)

    def stop(self) -> None:
        """Ask all workers to end after their current batches."""
        self._group.stop()

    def run(self, arguments: RunArguments, text: str, view: View) -> JobSummary:
        """Start all workers, wait for their ends, and give the job's summary. Workers are given `text` as of
        `run_in_workers`."""
        reports = _Reports(self._job, self._count, view)
        given = worker_input(arguments, text)
        workers = [
            Worker(
                self._job,
                Start([*worker_command(arguments, self._job), "--worker-number", str(number)], given),
                self._group,
                reports.reporter(number),
                number,
            )
            for number in range(self._count)
        ]
        ended: SimpleQueue[Worker] = SimpleQueue()
        with stopping_on_signal(self._group.stop, self._group.kill, view.tell_stopping):
            for worker in workers:
                worker.start()
                Thread(target=_tell_end, args=(worker, ended), daemon=True).start()
            first = self._wait(workers, ended, view)
        summary = joined([worker.summary for worker in workers])
        if first is None:
            return summary
        sys.stderr.write(paint(shown(first.summary.error)) + "\n")
        return replace(summary, state="failed", error=first.summary.error)

    def _wait(self, workers: Sequence[Worker], ended: SimpleQueue[Worker], observer: Observer) -> Worker | None:
        """Until all have ended; the first that failed."""
        first: Worker | None = None
        left = len(workers)
        while left:
            try:
                worker = ended.get(timeout=_LOOK_SECONDS)
            except Empty:
                continue
            left -= 1
            error = worker.summary.error
            if worker.summary.state != "failed":
                continue
            if first is None:
                first = worker
                self._group.stop()
            elif error is not None:
                observer.event("worker_failed", job=self._job, worker=worker.number, message=error["message"])
        return first


def _tell_end(worker: Worker, ended: SimpleQueue[Worker]) -> None:
    worker.ended.wait()
    ended.put(worker)


def joined(parts: Sequence[JobSummary]) -> JobSummary:
    """The summary of a job from those of its workers: sums, the least watermark, all positions.

    Of a worker that died nothing is known; then the job has no ledger, rather than one that is too small.
    """
    states = {part.state for part in parts}
    ledger: Counter[str] = Counter()
    this_run: Counter[str] = Counter()
    positions: dict[str, JsonValue] = {}
    for part in parts:
        ledger.update(part.ledger)
        this_run.update(part.this_run)
        positions |= part.positions if isinstance(part.positions, Mapping) else {}
    watermarks = [part.watermark for part in parts]
    return JobSummary(
        name=parts[0].name,
        state=next((state for state in ("failed", "stopped") if state in states), "finished"),
        seconds=max(part.seconds for part in parts),
        rows=sum(part.rows for part in parts),
        ledger=dict(ledger) if all(part.ledger for part in parts) else {},
        watermark=min((each for each in watermarks if each is not None), default=None) if all(watermarks) else None,
        positions=dict(sorted(positions.items())),
        breakers=_worst([part.breakers for part in parts]),
        windows_closed_by_end=sum(part.windows_closed_by_end for part in parts),
        this_run=dict(this_run),
    )


def shown(error: ErrorFields | None) -> str:
    """The error of a worker, for people."""
    if error is None:
        return "the job failed"
    hint = f"\nhint: {error['hint']}" if error["hint"] else ""
    return f"{error['message']} [{error['code']}]{hint}"


def _worst(breakers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    sides = {side for each in breakers for side in each}
    return {
        side: min((each[side] for each in breakers if side in each), key=_WORST_FIRST.index) for side in sorted(sides)
    }


class _Reports:
    """What the workers report, as from one job: their progress summed, their events with the worker's number."""

    def __init__(self, job: str, workers: int, observer: Observer) -> None:
        self._job = job
        self._workers = workers
        self._observer = observer
        self._last: dict[int, ProgressEvent] = {}

    def reporter(self, worker: int) -> Observer:
        """Who one worker tells. The group's lock is held meanwhile."""
        return _ReportsBy(self, worker)

    def progress(self, worker: int, event: ProgressEvent) -> None:
        self._last[worker] = event
        if len(self._last) == self._workers:
            self._observer.progress(summed(list(self._last.values())))

    def event(self, name: str, **fields: object) -> None:
        self._observer.event(name, **fields)


class _ReportsBy:
    def __init__(self, reports: _Reports, worker: int) -> None:
        self._reports = reports
        self._worker = worker

    def progress(self, event: ProgressEvent) -> None:
        self._reports.progress(self._worker, event)

    def event(self, name: str, **fields: object) -> None:
        self._reports.event(name, **fields, worker=self._worker)


def summed(events: Sequence[ProgressEvent]) -> ProgressEvent:
    """The progress of a job from that of its workers."""
    totals = [event.source.total for event in events if event.source.total is not None]
    behind = [event.behind_seconds for event in events if event.behind_seconds is not None]
    marks = [event.watermark_us for event in events if event.watermark_us is not None]
    silent = [event.waits_for for event in events if event.waits_for is not None]
    return ProgressEvent(
        job=events[0].job,
        rows=sum(event.rows for event in events),
        source=SourceProgress(
            done=sum(event.source.done for event in events),
            total=sum(totals) if len(totals) == len(events) else None,
            unit=events[0].source.unit,
            lag={partition: lag for event in events for partition, lag in event.source.lag.items()},
            client=_clients([event.source.client for event in events]),
        ),
        watermark_us=min(marks) if len(marks) == len(events) else None,
        seconds=max(event.seconds for event in events),
        breakers=_worst([event.breakers for event in events]),
        behind_seconds=max(behind) if len(behind) == len(events) else None,
        commit_seconds=max(event.commit_seconds for event in events),
        sink=_clients([event.sink for event in events]),
        waits_for=max(silent, key=lambda each: each.silent_ms, default=None),
    )


def _clients(figures: Sequence[ClientFigures | None]) -> ClientFigures | None:
    """What the clients of all workers report: sums, and the slowest round trips."""
    known = [each for each in figures if each is not None]
    if not known:
        return None
    transactions: Counter[str] = Counter()
    for each in known:
        transactions.update(each.transactions)
    return ClientFigures(
        waiting_records=sum(each.waiting_records for each in known),
        waiting_bytes=sum(each.waiting_bytes for each in known),
        round_trip_ms=max((each.round_trip_ms for each in known if each.round_trip_ms is not None), default=None),
        round_trip_p99_ms=max(
            (each.round_trip_p99_ms for each in known if each.round_trip_p99_ms is not None), default=None
        ),
        transmission_errors=sum(each.transmission_errors for each in known),
        timeouts=sum(each.timeouts for each in known),
        transactions=dict(transactions),
    )
