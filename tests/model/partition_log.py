"""One partition of a topic and a job that reads it, as a machine: records, aborted records, marks of transactions,
retention, a client that fetches ahead and tells the end, and crashes; all interleavings.

How far a partition is read is decided by the product's own `PartitionRead`; all around it is the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

from ferrisstreams.connectors.kafka.partition import PartitionRead

#: What a producer may append at once: a record, a transaction of one, an aborted one.
WRITTEN = ("r", "rm", "am")

#: What the client has for the job: a record, or the end, at an offset.
Event = tuple[str, int]


@dataclass(frozen=True)
class World:
    """`log` holds an `r` for each record, `a` for an aborted one, `m` for a mark; what lies before `low` is removed.

    `fetched` is where the client fetches next and `told` the end that it told last, `queue` what it has, `buffer` the
    offsets that the source has taken from it, `given` those that the job got in this epoch. Durable are `position`, the
    offsets `done` and `passed`: how long the log was when the job, with nothing more to read, last committed.
    """

    log: str = ""
    low: int = 0
    alive: bool = True
    refused: bool = False
    fetched: int = 0
    told: int = -1
    queue: tuple[Event, ...] = ()
    read: tuple[int, int, int, int | None, int, bool, bool, bool] = astuple(PartitionRead.from_start(0, None))
    buffer: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    position: int = 0
    done: tuple[int, ...] = ()
    passed: int = 0


def records(log: str, start: int, stop: int) -> tuple[int, ...]:
    """The offsets of the committed records from `start` to `stop` (not included)."""
    return tuple(offset for offset in range(start, stop) if log[offset] == "r")


def successors(world: World, length_max: int) -> Iterator[tuple[str, World]]:
    for written in WRITTEN:
        if len(world.log) + len(written) <= length_max:
            yield f"append {written}", replace(world, log=world.log + written)
    if world.low < len(world.log):
        yield "retention", replace(world, low=len(world.log))
    if world.refused:
        return
    if not world.alive:
        yield "start", start(world)
        return
    yield "crash", replace(world, alive=False, queue=(), buffer=(), given=(), read=World.read, fetched=0, told=-1)
    yield from steps(world)


def steps(world: World) -> Iterator[tuple[str, World]]:
    """What client and job do next."""
    if world.fetched < world.low:
        return  # What the client has not fetched is gone: the job ends with an error.
    if world.fetched < len(world.log):
        yield "fetch", fetch(world)
    elif world.told != world.fetched:
        told = (*world.queue, ("end", world.fetched))
        yield "the end", replace(world, told=world.fetched, queue=told)
    if world.queue:
        yield "take", take(world)
    if world.buffer:
        yield "give", give(world)
    if world.given or PartitionRead(*world.read).position != world.position:
        yield "commit", commit(world)


def start(world: World) -> World:
    if world.position < world.low:
        return replace(world, refused=True)
    read = PartitionRead.from_start(world.position, None)
    return replace(world, alive=True, fetched=world.position, read=astuple(read))


def fetch(world: World) -> World:
    """The next record, and whatever is not a record before and behind it: all in one answer of the broker."""
    found = records(world.log, world.fetched, len(world.log))
    if not found:
        return replace(world, fetched=len(world.log))
    behind = next((at for at in range(found[0] + 1, len(world.log)) if world.log[at] == "r"), len(world.log))
    return replace(world, fetched=behind, queue=(*world.queue, ("record", found[0])))


def take(world: World) -> World:
    (kind, offset), *left = world.queue
    read, buffer = PartitionRead(*world.read), world.buffer
    if kind == "record":
        read.took(offset)
        buffer = (*buffer, offset)
    else:
        read.came_to_end(offset)
        read.gave(None, len(buffer))
    return replace(world, queue=tuple(left), buffer=buffer, read=astuple(read))


def give(world: World) -> World:
    first, *left = world.buffer
    read = PartitionRead(*world.read)
    read.gave(first, len(left))
    return replace(world, buffer=tuple(left), given=(*world.given, first), read=astuple(read))


def commit(world: World) -> World:
    position = PartitionRead(*world.read).position
    passed = position if position == len(world.log) else world.passed
    return replace(world, position=position, done=world.done + world.given, given=(), passed=passed)
