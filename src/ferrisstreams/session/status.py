"""How jobs are doing: at the door of each worker that runs, else from what its state says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.door_messages import StatusAnswer
from ferrisstreams.runtime.iso_time import iso_time
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.worker_epochs import joined_epochs
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.reading import Reading, read_status
from ferrisstreams.session.state import state_file
from ferrisstreams.session.workers import builders_of


@dataclass(frozen=True, slots=True)
class WaitsFor:
    """The silent partition without which windows do not close, and for how many seconds it has given nothing."""

    partition: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The run of a job: its processes, the rows of this run, rows a second lately, seconds, lag in offsets, seconds
    that the watermark is behind the clock, and those since the last epoch became final. `breakers` has the circuit
    breakers that are not closed."""

    pids: tuple[int, ...]
    rows: int
    rows_per_second: float
    seconds: float
    lag: int | None
    behind_seconds: float | None
    commit_seconds: float
    waits_for: WaitsFor | None
    breakers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as of its last final epoch (0: none), all of its workers together.

    `state`: `running` when a worker has answered, of which `run` says more; else `finished` when its input had ended,
    `stopped` when it can go on, `new` when it has not run yet. `prepared`: an epoch of which it is not known yet
    whether it is final.
    """

    job: str
    state: str
    epoch: int
    workers: int
    prepared: int | None
    committed_at: str | None
    watermark: str | None
    ledger: Ledger
    run: RunStatus | None = None


def status(application: Application, options: RunOptions) -> list[JobStatus]:
    """Every job that keeps a state. Raises StateError for a state that cannot be read."""
    found = []
    for plan in application.plan.jobs:
        if (options.jobs is None or plan.name in options.jobs) and not plan.plan.spec.anonymous:
            with builders_of(application, options, plan) as builders:
                found.append(_status(plan.name, [_reading(builder) for builder in builders]))
    # The columns of their topics become known when they are run first.
    unknown = (job.name for job in application.plan.open_jobs)
    return found + [_status(name, [None]) for name in unknown if options.jobs is None or name in options.jobs]


def _reading(builder: JobBuilder) -> Reading | None:
    """None of a job, or a worker, that keeps no state yet."""
    return read_status(builder) if state_file(builder).exists() else None


def _status(job: str, readings: Sequence[Reading | None]) -> JobStatus:
    states = [reading.state for reading in readings if reading is not None and reading.state is not None]
    rows = [state.last.row for state in states if state.last is not None]
    prepared = [state.prepared.row.epoch for state in states if state.prepared is not None]
    answers = [reading.status for reading in readings if reading is not None and reading.status is not None]
    last = joined_epochs(rows) if rows else None
    if answers:
        state = "running"
    else:
        state = "new" if last is None else "finished" if last.finished and len(rows) == len(readings) else "stopped"
    return JobStatus(
        job=job,
        state=state,
        epoch=last.epoch if last is not None else 0,
        workers=len(readings),
        prepared=max(prepared, default=None),
        committed_at=iso_time(last.at_us) if last is not None else None,
        watermark=iso_time(last.watermarks.current_us) if last is not None else None,
        ledger=last.ledger if last is not None else Ledger(),
        run=_run(answers) if answers else None,
    )


def _run(answers: Sequence[StatusAnswer]) -> RunStatus:
    """Those of the workers that run, together."""
    lag = Counter[str]()
    for answer in answers:
        lag.update(answer.lag)
    waiting = [WaitsFor(each.waits_for, each.silent_seconds or 0.0) for each in answers if each.waits_for is not None]
    return RunStatus(
        pids=tuple(answer.pid for answer in answers),
        rows=sum(answer.rows for answer in answers),
        rows_per_second=sum(answer.rate for answer in answers),
        seconds=max(answer.seconds for answer in answers),
        lag=sum(lag.values()) if lag else None,
        behind_seconds=max((each.behind_seconds for each in answers if each.behind_seconds is not None), default=None),
        commit_seconds=max(answer.commit_seconds for answer in answers),
        waits_for=max(waiting, key=lambda each: each.seconds, default=None),
        breakers={side: state for each in answers for side, state in each.breakers.items() if state != "closed"},
    )
