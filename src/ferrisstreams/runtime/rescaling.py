"""A job that is started with another parallelism than its state is of.

One that keeps no state of its plan goes on: what it knows (positions, ledger) is dealt to new workers, in steps that a
crash may cut anywhere.

1. Intend: the layout says to how many workers the job is going.
2. Settle: each old worker's transaction is settled, and its last final epoch is what counts.
3. Prepare: a state for each new worker, with a first epoch that holds its share.
4. Decide: one transaction gives every partition the token of its new worker. Without transactions step 5 decides.
5. Confirm: the layout says that the job has the new workers. What belonged to the others is deleted.

At the next start a layout that is still going somewhere is settled first: the tokens say whether step 4 has happened.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from ferrisstreams.connectors.base import Transactions
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.durable_file import sync_folder
from ferrisstreams.errors import StateError
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.identity import STATE_FILE
from ferrisstreams.runtime.layout import (
    Layout,
    delete,
    holds_state,
    others,
    read_layout,
    workers_folder,
    write_layout,
)
from ferrisstreams.runtime.reconcile import Token, final_epoch, newest
from ferrisstreams.runtime.state_identity import load_state
from ferrisstreams.runtime.state_store import StateStore
from ferrisstreams.runtime.worker_epochs import dealt, joined_epochs

#: The epoch with which each new worker begins.
_FIRST_EPOCH = 1


def settle_layout(builder: JobBuilder, partitions: int | None = None) -> None:
    """Make the job's folder that of so many workers as the job has. Called before any of them starts.

    `partitions`: those of the topic that the state is dealt by. Raises StateError E5007 where that cannot be, E5001
    while another process runs the job.
    """
    folder = builder.job_folder()
    kept, wanted = read_layout(folder), Layout(builder.parallelism, partitions)
    if kept is None and wanted.workers == 1:
        return
    # A first start that was refused leaves no state behind, and then nothing of it counts.
    if kept is None or not holds_state(folder, kept):
        write_layout(folder, wanted)
        return
    if kept.going_to is not None:
        kept = _resumed(builder, kept)
    elif others(folder, kept):
        # Of workers before these. While their states are open, nobody prepares others.
        with _states(builder, kept.workers):
            left = others(folder, kept)
        delete(left)
    if kept.workers == wanted.workers:
        return
    if builder.environment.overwrite:
        with _transactions(builder) as transactions:
            if transactions is not None:  # what it has decided names the states that would be deleted
                raise _refused(builder, kept.workers, "Kafka holds the positions of its last epochs")
        _begin_anew(builder, kept, wanted)
    elif builder.graph.keeps_state:
        raise _refused(builder, kept.workers, "its state holds results that belong to the old shares")
    else:
        _rescale(builder, kept, wanted)


@dataclass(frozen=True, slots=True)
class _WorkerState:
    """The state of one worker, held alone."""

    builder: JobBuilder
    store: StateStore
    last: EpochRow | None


@contextmanager
def _states(builder: JobBuilder, workers: int) -> Iterator[list[_WorkerState]]:
    """The states of all workers of a layout; no process runs over them meanwhile."""
    with ExitStack() as stack:
        states = []
        for worker in range(workers):
            own = builder.for_worker(worker, workers)
            own.state_folder().mkdir(parents=True, exist_ok=True)
            engine = Engine(EngineSettings(str(own.state_folder() / STATE_FILE)))
            stack.callback(engine.close)
            store = StateStore(engine.state)
            last = load_state(store, own).last
            states.append(_WorkerState(own, store, last))
        yield states


# --- the steps --------------------------------------------------------------------------------------------------------


def _rescale(builder: JobBuilder, kept: Layout, wanted: Layout) -> None:
    folder, faults = builder.job_folder(), builder.environment.faults
    with _states(builder, kept.workers) as old:
        rows = _settled(builder, old)
        if rows:
            shares = _dealt(builder, rows, wanted)
            write_layout(folder, replace(kept, going_to=wanted.workers))
            tokens = _prepare(builder, wanted, shares)
            faults.reach("after_rescaling_prepare")
            _decide(builder, shares, tokens)
            faults.reach("after_rescaling_decision")
        write_layout(folder, wanted)
    delete(others(folder, wanted))


def _dealt(builder: JobBuilder, rows: Sequence[EpochRow], wanted: Layout) -> list[EpochRow]:
    joined = replace(joined_epochs(rows), epoch=_FIRST_EPOCH, confirmed=builder.transactions() is None)
    shares = [dealt(joined, share) for share in wanted.shares]
    if not all(share.positions for share in shares):
        raise _refused(builder, len(rows), "some of its partitions have not been read yet")
    return shares


def _settled(builder: JobBuilder, states: Sequence[_WorkerState]) -> list[EpochRow]:
    """The last final epoch of each worker; nothing when none has any. A state that cannot be right is refused before
    it fences anyone."""
    for state in states:
        _final(state, settled=False)
    for state in states:
        with _transactions(state.builder) as transactions:
            if transactions is not None:
                transactions.init()
    rows = []
    for state in states:
        last = state.last
        if last is not None and _final(state, settled=True) < last.epoch:
            state.store.delete(last.epoch)
            last = state.store.last()
        if last is not None:
            rows.append(last)
    if rows and len(rows) < len(states):
        raise _refused(builder, len(states), "not all of them have committed anything yet")
    return rows


def _final(state: _WorkerState, settled: bool) -> int:
    """The last final epoch of a worker, by its token where there is one."""
    with _transactions(state.builder) as transactions:
        if transactions is None:
            return state.last.epoch if state.last is not None else 0
        token = newest(found.metadata for found in transactions.committed().values())
    return final_epoch(state.last, state.store.state_id, token, state.builder.environment.clock.now_us(), settled)


def _prepare(builder: JobBuilder, wanted: Layout, rows: Sequence[EpochRow]) -> list[Token]:
    """A new state for each worker, whose only epoch is its share; the tokens of these epochs."""
    made = workers_folder(builder.job_folder(), wanted.workers)
    if made.exists():
        shutil.rmtree(made)
    made.mkdir()
    tokens = []
    with _states(builder, wanted.workers) as states:
        for state, row in zip(states, rows, strict=True):
            state.store.write(row)
            state.store.commit(_FIRST_EPOCH)
            tokens.append(Token(state.store.state_id, _FIRST_EPOCH))
    for folder in (*made.iterdir(), made):
        sync_folder(folder)
    return tokens


def _decide(builder: JobBuilder, rows: Sequence[EpochRow], tokens: Sequence[Token]) -> None:
    with _transactions(builder, whole=True) as transactions:
        if transactions is None:
            return
        transactions.init()
        transactions.begin()
        for row, token in zip(rows, tokens, strict=True):
            transactions.send(row.positions, token.epoch, str(token))
        transactions.commit()
        # The offsets follow the answer; behind another `init` they are sure to be seen.
        transactions.close()
        transactions.init()


@contextmanager
def _transactions(builder: JobBuilder, whole: bool = False) -> Iterator[Transactions | None]:
    """What decides the epochs of one worker, or of all partitions together."""
    transactions = (builder.for_worker(None, builder.parallelism) if whole else builder).transactions()
    try:
        yield transactions
    finally:
        if transactions is not None:
            transactions.close()


# --- at the next start ------------------------------------------------------------------------------------------------


def _resumed(builder: JobBuilder, kept: Layout) -> Layout:
    """What has become of a rescaling that was cut off."""
    assert kept.going_to is not None
    folder, new = builder.job_folder(), Layout(kept.going_to)
    workers_folder(folder, new.workers).mkdir(exist_ok=True)
    with _states(builder, kept.workers) as old, _states(builder, new.workers) as made:
        if not _is_decided(builder, old, made):
            new = replace(kept, going_to=None)
        write_layout(folder, new)
    delete(others(folder, new))
    return new


def _is_decided(builder: JobBuilder, old: Sequence[_WorkerState], made: Sequence[_WorkerState]) -> bool:
    """Whether the transaction that gives the new workers their tokens was committed. Raises StateError E5003 where the
    tokens are of other states, before anybody is fenced."""
    with _transactions(builder, whole=True) as transactions:
        if transactions is None:
            return False
        ours = {state.store.state_id for state in (*old, *made)}
        foreign = [token for token in _tokens(transactions) if token.state_id not in ours]
        if foreign:
            raise StateError(
                f"{builder.plan.name} has run with another state: its last epoch outside is {foreign[0].epoch} of state"
                f" {foreign[0].state_id}",
                "E5003",
                "bring the right state folder back (--state-dir), or start over with `ferris state reset`",
            )
        transactions.init()
        return not {token.state_id for token in _tokens(transactions)}.isdisjoint(
            state.store.state_id for state in made
        )


def _tokens(transactions: Transactions) -> list[Token]:
    """Those of all partitions."""
    return [token for found in transactions.committed().values() if (token := newest([found.metadata])) is not None]


def _begin_anew(builder: JobBuilder, kept: Layout, wanted: Layout) -> None:
    folder = builder.job_folder()
    with _states(builder, kept.workers):
        write_layout(folder, wanted)
    delete(others(folder, wanted))


def _refused(builder: JobBuilder, kept: int, why: str) -> StateError:
    name, wanted = builder.plan.name, builder.parallelism
    return StateError(
        f"the state of {name} is of {_workers(kept)}, and 'parallelism' is {wanted} now: {why}",
        "E5007",
        f"run it with --set parallelism={kept}, or start over with `ferris state reset`, which writes again what"
        " is written already",
    )


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
