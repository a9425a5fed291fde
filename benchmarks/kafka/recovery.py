"""How long a system takes after `kill -9` with many keys in an open window, from its start to its first output."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from benchmarks.kafka.data import Data, Work
from benchmarks.kafka.run import STALL_SECONDS, Bench, RunError, System, how, start
from benchmarks.kafka.topics import Positions, fill, new_producer, reader, topics_of, write

#: How long a system may take to work off the records before it is killed.
LOADING_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds from the new start to the first and to the last output row."""

    first_seconds: float
    all_seconds: float


def measure(bench: Bench, system: System, keys: int) -> Recovery:
    """All keys in one open window, committed; kill; one record closes the window; start again, and see what comes.

    Raises RunError, also when an output row is wrong, missing or repeated, and InstallError.
    """
    data = Data("recovery", keys, keys, spacing_us=55_000_000 // keys)
    fill(bench.bootstrap, data, closing=False)
    try:
        with bench.order(system, data.topic, Work.WINDOW) as order, reader(bench.bootstrap, order.sink) as output:
            watched = start(system, order)
            positions = Positions(bench.bootstrap, system.group(order), data.topic)
            try:
                if not positions.wait(keys, lambda: watched.ended() is not None, LOADING_SECONDS):
                    raise RunError(how(watched, "it did not commit all records"))
            finally:
                watched.end()
                positions.close()
            producer = new_producer(bench.bootstrap)
            write(producer, data.topic, [data.closing()])
            producer.flush()
            watched = start(system, dataclasses.replace(order, resume=True))
            try:
                if not output.wait_for_first(lambda: watched.ended() is not None, STALL_SECONDS):
                    raise RunError(how(watched, "nothing came out after the kill"))
                first_seconds = watched.seconds()
                output.wait(keys, lambda: watched.ended() is not None, STALL_SECONDS)
                all_seconds = watched.seconds()
                wrong = data.difference(Work.WINDOW, output.read(keys, STALL_SECONDS / 4).values)
                if wrong is not None:
                    raise RunError(how(watched, f"wrong: {wrong}"))
                return Recovery(first_seconds, all_seconds)
            finally:
                watched.end()
    finally:
        topics_of(bench.bootstrap).delete(data.topic)
