"""The commit with Kafka as the decider, as a machine: every crash point, every outcome, all interleavings.

One job reads endless input and writes to a Kafka topic and to a file. A world holds what is durable (state file, file,
broker) and where the process is. `successors` are all that can happen next: the process takes its next step, dies, or
the broker acts by itself (it finishes a commit that was under way, times a transaction out, forgets old offsets).
The fault points of `runtime/faults.py` carry the names of these steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

#: The process, in order. `dead` is between two runs, `refused` a start that ended with a StateError.
STEPS = (
    "after_open",  # the state file is locked and read, the token was looked at
    "after_init",  # the old producer is fenced, its transaction settled
    "during_recovery",  # epochs that were not decided are deleted, and the file cut
    "after_read",
    "after_write",
    "after_flush",
    "after_prepare",
    "after_offsets",
    "after_transaction",
    "after_confirm",
    "during_reclaim",
)


@dataclass(frozen=True)
class Transaction:
    """An open transaction: which epoch's output it holds, and whether its offsets carry the token.

    `committing`: the coordinator has been asked to commit, and does so whatever happens to the process.
    """

    epoch: int
    produced: bool = False
    offsets: bool = False
    committing: bool = False


@dataclass(frozen=True)
class World:
    """Epochs are numbers from 1. `state` is the last epoch row of the state file and `confirmed` whether that is
    written there; `file` and `topic` are the epochs whose output they hold, in order. `old`: the last prepare is so
    long ago that the broker may have forgotten offsets."""

    step: str = "dead"
    epoch: int = 1  # of the running process
    fenced: bool = False  # the producer of the running process is no longer the broker's
    state: int = 0
    confirmed: bool = True
    file: tuple[int, ...] = ()
    token: int | None = None
    old: bool = False
    topic: tuple[int, ...] = ()
    transaction: Transaction | None = None


class RefusedError(Exception):
    """A StateError: state and token do not fit together."""


def reconcile(state: int, confirmed: bool, token: int | None, old: bool) -> int:
    """The last epoch that is final. Raises RefusedError."""
    if token is None:
        if confirmed:
            return state
        if state == 1 and not old:
            return 0
        raise RefusedError("the token is gone, and the last epoch is not confirmed")
    if token == state or (token == state - 1 and not confirmed):
        return token
    raise RefusedError(f"state ends with {state}, the token says {token}")


def successors(world: World, epochs_max: int) -> Iterator[tuple[str, World]]:
    yield from _broker(world)
    if world.step != "dead":
        yield "crash", replace(world, step="dead", fenced=False)
    if world.step != "refused":
        yield from _process(world, epochs_max)


def _broker(world: World) -> Iterator[tuple[str, World]]:
    found = world.transaction
    if found is not None and found.committing:
        yield "broker commits", _committed(world)
    elif found is not None:
        yield "broker times out", replace(world, transaction=None, fenced=world.step != "dead")
    elif world.step == "dead" and world.token is not None:
        yield "offsets expire", replace(world, token=None, old=True)


def _committed(world: World) -> World:
    done = world.transaction
    assert done is not None
    topic = (*world.topic, done.epoch) if done.produced else world.topic
    return replace(world, topic=topic, token=done.epoch if done.offsets else world.token, transaction=None)


def _process(world: World, epochs_max: int) -> Iterator[tuple[str, World]]:
    match world.step:
        case "dead":
            yield from _guarded(world, "after_open", lambda: _look(world))
        case "after_open":
            if world.transaction is not None and world.transaction.committing:
                return  # init_transactions waits until the coordinator has finished it
            yield "init", replace(world, step="after_init", fenced=False, transaction=None)
        case "after_init":
            yield from _guarded(world, "during_recovery", lambda: _settled(world))
        case _ if world.fenced:
            yield "fenced: reconcile", replace(world, step="after_open")
        case "during_recovery" | "during_reclaim":
            if world.epoch <= epochs_max:
                opened = Transaction(world.epoch)
                yield "read", replace(world, step="after_read", transaction=opened)
        case "after_read":
            yield "produce", _in_transaction(world, "after_write", produced=True)
        case "after_write":
            yield "flush", replace(world, step="after_flush", file=(*world.file, world.epoch))
        case "after_flush":
            # The row of this epoch also says that the one before is confirmed.
            yield "prepare", replace(world, step="after_prepare", state=world.epoch, confirmed=False, old=False)
        case "after_prepare":
            yield "send offsets", _in_transaction(world, "after_offsets", offsets=True)
        case "after_offsets":
            asked = _in_transaction(world, "after_offsets", committing=True)
            if not (world.transaction and world.transaction.committing):
                yield "commit: no answer", replace(asked, step="after_open")
                yield "commit: time-out before it began", replace(world, step="after_open")
            yield "commit", replace(_committed(asked), step="after_transaction")
        case "after_transaction":
            yield "confirm", replace(world, step="after_confirm", epoch=world.epoch + 1)
        case "after_confirm":
            yield "no reclaim", replace(world, step="during_reclaim")
            yield "reclaim", replace(world, step="during_reclaim", confirmed=True)


def _guarded(world: World, step: str, act: Callable[[], World]) -> Iterator[tuple[str, World]]:
    try:
        yield f"to {step}", replace(act(), step=step)
    except RefusedError:
        yield "refuse", replace(world, step="refused")


def _look(world: World) -> World:
    """Before the producer is fenced: a state that cannot be right touches nothing."""
    reconcile(world.state, world.confirmed, world.token, world.old)
    return world


def _settled(world: World) -> World:
    """Epochs that were not decided go; a token that the broker forgot is given to it again."""
    final = reconcile(world.state, world.confirmed, world.token, world.old)
    kept = tuple(epoch for epoch in world.file if epoch <= final)
    return replace(world, state=final, confirmed=True, file=kept, epoch=final + 1, token=final or None)


def _in_transaction(world: World, step: str, **changes: bool) -> World:
    assert world.transaction is not None
    return replace(world, step=step, transaction=replace(world.transaction, **changes))
