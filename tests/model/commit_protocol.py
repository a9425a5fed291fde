"""The commit as a machine: every crash, every raised error, every outcome, all interleavings, under both deciders.

One job reads endless input and writes to files, one for each epoch, and, with a broker as the decider, to a topic. A
world holds what is durable (state file, files, broker) and where the process is. `successors` are all that can happen
next: the process takes its next step, a step raises, the process dies, or the broker acts by itself (it finishes a
commit that was under way, times a transaction out, forgets old offsets).
The fault points of `runtime/faults.py` carry the names of these steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

#: The process, in order. `dead` is between two runs, `refused` a start that ended with a StateError.
STEPS = (
    "after_open",  # the state file is locked and read, the token was looked at
    "after_init",  # the old producer is fenced, its transaction settled
    "during_recovery",  # epochs that were not decided are deleted, the files cut, and those of the last epoch published
    "after_read",
    "after_write",
    "after_flush",
    "after_prepare",  # with the state file as decider, the epoch is decided
    "after_offsets",
    "after_transaction",
    "after_confirm",
    "during_reclaim",
)

#: Where a raised error goes after the open epoch was taken back: a transient one opens the job again, any other one
#: (fatal, or not ours) ends it in order, and the next start goes on.
ENDS = {"transient": "after_open", "fatal": "dead", "not ours": "dead"}


#: A start of a job that has only begun makes one more opening epoch; so many of them, then it reads without.
OPENINGS_MAX = 2


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
    written there; its first `begun` epochs hold no record and say where the job begins. `topic` has the epochs whose
    output it holds, in order; `files` those whose output is on disk, and `published` those whose file has its name.
    `old`: the last prepare is so long ago that the broker may have forgotten offsets."""

    decider: str = "broker"
    step: str = "dead"
    epoch: int = 1  # that is open in the running process: the ones before are decided
    fenced: bool = False  # the producer of the running process is no longer the broker's
    state: int = 0
    confirmed: bool = True
    begun: int = 0
    opens: bool = False  # the running process has not made its opening epoch, and makes one
    files: tuple[int, ...] = ()
    published: tuple[int, ...] = ()
    token: int | None = None
    old: bool = False
    topic: tuple[int, ...] = ()
    transaction: Transaction | None = None


class RefusedError(Exception):
    """A StateError: state and token do not fit together."""


def reconcile(state: int, confirmed: bool, token: int | None, old: bool, begun: int = 0) -> int:
    """The last epoch that is final. Raises RefusedError."""
    if token is None:
        if confirmed or (old and state == begun):
            return state
        if state == 1 and not old:
            return 0
        raise RefusedError("the token is gone, and the last epoch is not confirmed")
    if token == state or (token == state - 1 and not confirmed):
        return token
    raise RefusedError(f"state ends with {state}, the token says {token}")


def successors(world: World, epochs_max: int) -> Iterator[tuple[str, World]]:
    yield from _broker(world)
    if world.step not in ("dead", "refused"):
        yield "crash", replace(world, step="dead", fenced=False)
        if not world.fenced:
            yield from _raised(world)
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
    by_broker = world.decider == "broker"
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
            opened = Transaction(world.epoch) if by_broker else None
            if world.opens:
                yield "begin", replace(world, step="after_write", transaction=opened)
            elif world.epoch <= epochs_max:
                yield "read", replace(world, step="after_read", transaction=opened)
        case "after_read":
            yield "produce", _in_transaction(world, "after_write", produced=True)
        case "after_write":
            # What the epoch before owes comes first: the row of this one would make its files unknown.
            paid = replace(world, published=_named(world, world.epoch - 1))
            files = world.files if world.opens else (*world.files, world.epoch)
            yield "flush", replace(paid, step="after_flush", files=files)
        case "after_flush":
            # The row of this epoch also says that the one before is confirmed.
            begun = world.epoch if world.opens else world.begun
            row = replace(
                world, step="after_prepare", state=world.epoch, confirmed=not by_broker, begun=begun, old=False
            )
            yield "prepare", row if by_broker else replace(row, epoch=world.epoch + 1, opens=False)
            if not by_broker:
                yield "COMMIT raises: done", replace(row, step="dead")
                yield "COMMIT raises: not done", replace(world, step="dead")
        case "after_prepare" if by_broker:
            yield "send offsets", _in_transaction(world, "after_offsets", offsets=True)
        case "after_offsets":
            yield from _commits(world)
        case "after_prepare" | "after_transaction":
            yield "publish", replace(world, step="after_confirm", published=_named(world, world.epoch - 1))
        case "after_confirm":
            yield "no reclaim", replace(world, step="during_reclaim")
            yield "reclaim", replace(world, step="during_reclaim", confirmed=True)


def _commits(world: World) -> Iterator[tuple[str, World]]:
    asked = _in_transaction(world, "after_offsets", committing=True)
    if not (world.transaction and world.transaction.committing):
        for error, touched in (("no answer", "after_open"), ("not ours", "dead")):
            yield f"commit raises: {error}", replace(asked, step=touched)
            yield f"commit raises: {error}, before it began", replace(world, step=touched)
    yield "commit", replace(_committed(asked), step="after_transaction", epoch=world.epoch + 1, opens=False)


def _raised(world: World) -> Iterator[tuple[str, World]]:
    """A step raises. Before the decision the open epoch is taken back; after it the epoch stands, and the process goes
    on without what the step was to do."""
    decided = "after_prepare" if world.decider == "state" else "after_transaction"
    if world.step in (decided, "after_confirm"):
        following = "after_confirm" if world.step == decided else "during_reclaim"
        yield f"{world.step} raises: logged", replace(world, step=following)
        return
    for error, step in ENDS.items():
        for kept, left in _taken_back(world):
            yield f"{world.step} raises: {error}{kept}", replace(left, step=step)


def _taken_back(world: World) -> Iterator[tuple[str, World]]:
    """The open epoch is taken back, as far as that goes: what cannot be done is left to the next start. A start that
    raises takes nothing back: it does not know yet what is decided."""
    yield ", nothing is taken back", world
    if world.step in ("after_open", "after_init"):
        return
    aborted = replace(world, transaction=None)
    row = replace(
        aborted,
        state=min(world.state, world.epoch - 1),
        begun=min(world.begun, world.epoch - 1),
        confirmed=world.confirmed or world.state == world.epoch,
    )
    for done, left in (("row kept", aborted), ("row deleted", row)):
        yield f", {done}", left
        yield f", {done}, files cut", replace(left, files=tuple(n for n in world.files if n < world.epoch))


def _guarded(world: World, step: str, act: Callable[[], World]) -> Iterator[tuple[str, World]]:
    try:
        yield f"to {step}", replace(act(), step=step)
    except RefusedError:
        yield "refuse", replace(world, step="refused")


def _final(world: World) -> int:
    if world.decider == "state":
        return world.state
    return reconcile(world.state, world.confirmed, world.token, world.old, world.begun)


def _look(world: World) -> World:
    """Before the producer is fenced: a state that cannot be right touches nothing."""
    _final(world)
    return world


def _settled(world: World) -> World:
    """Epochs that were not decided go, with all files that the last mark does not know; a token that the broker forgot
    is given to it again."""
    final = _final(world)
    kept = tuple(epoch for epoch in world.files if epoch in world.published or epoch == final)
    given = final or None if world.decider == "broker" else None
    named = _named(world, final)
    begun = min(world.begun, final)
    return replace(
        world,
        state=final,
        confirmed=True,
        begun=begun,
        opens=final == begun < OPENINGS_MAX,
        files=kept,
        published=named,
        epoch=final + 1,
        token=given,
    )


def _named(world: World, epoch: int) -> tuple[int, ...]:
    return world.published if epoch <= world.begun or epoch in world.published else (*world.published, epoch)


def _in_transaction(world: World, step: str, **changes: bool) -> World:
    if world.transaction is None:
        return replace(world, step=step)
    return replace(world, step=step, transaction=replace(world.transaction, **changes))
