"""What a job keeps of itself, looked at, or given up so that the job starts over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.batch import JsonValue
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.errors import StateError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.door_name import remove_stale
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.identity import STATE_FILE
from ferrisstreams.runtime.iso_time import iso_time
from ferrisstreams.runtime.layout import LAYOUT_FILE, holds_state, read_layout
from ferrisstreams.runtime.observer import Silent
from ferrisstreams.runtime.reconcile import Token, newest
from ferrisstreams.runtime.state_identity import load_state, require_same_query
from ferrisstreams.runtime.state_store import StateStore
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.outside import committed
from ferrisstreams.session.reading import no_state, read_final
from ferrisstreams.session.workers import builders_of


@dataclass(frozen=True, slots=True)
class StateReport:
    """The state of a job: where it is, how large, and what its last final epoch says. `epoch` 0: nothing is committed.

    `running`: a worker has answered. `prepared` is an epoch behind the last one of which it is not known yet whether it
    is final; without one the last epoch is `confirmed`. `token` is the last epoch that the decider outside knows, None
    where the state file decides or there is none.
    `worker`: which of several workers' it is.
    """

    job: str
    worker: int | None
    path: str
    running: bool
    bytes: int
    state_id: str
    epoch: int
    confirmed: bool
    prepared: int | None
    committed_at: str | None
    rows: int
    rows_by_operator: Mapping[str, int]
    watermark: str | None
    positions: Mapping[str, JsonValue]
    ledger: Mapping[str, JsonValue]
    token: int | None


@dataclass(frozen=True, slots=True)
class OpenState:
    """The state of a job, held alone: no job runs over it meanwhile."""

    builder: JobBuilder
    engine: Engine
    store: StateStore
    last: EpochRow | None


@contextmanager
def builder_of(application: Application, options: RunOptions, plan: JobPlan) -> Iterator[JobBuilder]:
    """The components of a job, none of them opened."""
    builder = JobBuilder(plan, application.environment(options, Silent()))
    try:
        yield builder
    finally:
        builder.close()


@contextmanager
def open_state(builder: JobBuilder) -> Iterator[OpenState]:
    """Raises StateError: there is none (E5003), another process holds it (E5001), it is another plan's (E5002)."""
    path = state_file(builder)
    if not path.exists():
        raise no_state(builder)
    engine = Engine(EngineSettings(str(path)))
    try:
        store = StateStore(engine.state)
        last = load_state(store, builder, rewrite=False).last
        yield OpenState(builder, engine, store, last)
    finally:
        engine.close()


def kept_folder(application: Application, options: RunOptions, plan: JobPlan) -> Path | None:
    """The folder of what a job keeps; None when it keeps nothing yet."""
    with builder_of(application, options, plan) as builder:
        folder = builder.job_folder()
    layout = read_layout(folder)
    return folder if layout is not None and holds_state(folder, layout) else None


def state_file(builder: JobBuilder) -> Path:
    """Where the job's state is, or would be."""
    return builder.state_folder() / STATE_FILE


def show(application: Application, options: RunOptions, plan: JobPlan) -> list[StateReport]:
    """The state of one job, of each of its workers. Raises StateError where it has none."""
    with builders_of(application, options, plan) as builders:
        return [_report(builder) for builder in builders]


def _report(builder: JobBuilder) -> StateReport:
    reading = read_final(builder, count=True)
    state = reading.state
    last = state.last if state is not None else None
    if state is not None:
        require_same_query(builder, state.kept, (last or state.prepared))
    row = last.row if last is not None else None
    token = newest(found.metadata for found in committed(builder, row.epoch if row is not None else 0).values())
    prepared = state.prepared if state is not None else None
    return StateReport(
        job=builder.plan.name,
        worker=builder.share.worker if builder.share.workers > 1 else None,
        path=str(state_file(builder)),
        running=reading.is_running,
        bytes=_bytes_in(builder.state_folder()),
        state_id=state.state_id if state is not None else "",
        epoch=row.epoch if row is not None else 0,
        confirmed=prepared is None,
        prepared=prepared.row.epoch if prepared is not None else None,
        committed_at=iso_time(row.at_us) if row is not None else None,
        rows=sum(last.rows) if last is not None else 0,
        rows_by_operator=dict(zip(builder.graph.log_names, last.rows, strict=False)) if last is not None else {},
        watermark=iso_time(row.watermarks.current_us) if row is not None else None,
        positions=row.positions if row is not None else {},
        ledger=row.ledger.as_dict() if row is not None else {},
        token=token.epoch if isinstance(token, Token) else None,
    )


def _bytes_in(folder: Path) -> int:
    """A file that a running job takes away meanwhile has none."""
    found = 0
    for file in folder.glob("**/*"):
        with suppress(FileNotFoundError):
            found += file.stat().st_size if file.is_file() else 0
    return found


def reset(application: Application, options: RunOptions, plan: JobPlan) -> list[str]:
    """Give the job's state up: it starts over. What was done, in words. Raises StateError E5001 while it runs."""
    done = []
    with (
        builder_of(application, options, plan) as whole,
        builders_of(application, options, plan, to_be_kept=False) as builders,
    ):
        folder = whole.job_folder()
        if folder.exists():
            for builder in builders:
                _require_free(builder)
                remove_stale(builder.state_folder())
            if (folder / LAYOUT_FILE).exists():
                _settle_transactions([*builders, whole])
            shutil.rmtree(folder)
            done.append(f"deleted {folder}")
        transactions = whole.transactions()
        if transactions is not None:
            try:
                if transactions.committed():
                    transactions.forget_committed()
                    done.append(f"forgot the positions that are kept outside for {plan.name}")
            finally:
                transactions.close()
    return done


def _settle_transactions(builders: Sequence[JobBuilder]) -> None:
    """A worker that was killed may have left a transaction open, and there may never be a worker of its number again
    that settles it: readers would wait behind it until the broker gives it up."""
    for builder in builders:
        transactions = builder.transactions()
        if transactions is not None:
            try:
                transactions.init()
            finally:
                transactions.close()


def _require_free(builder: JobBuilder) -> None:
    """Opening it is what says whether another process has it; a state that cannot be read may go."""
    path = state_file(builder)
    if not path.exists():
        return
    try:
        Engine(EngineSettings(str(path))).close()
    except StateError as error:
        if error.code == "E5001":
            raise
