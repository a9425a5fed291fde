"""One run of one system: start it on a full topic, watch the output topic, check the answer, take the figures."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from benchmarks.kafka.data import Answer, Data, Work, windows_of
from benchmarks.kafka.figures import Figures, Span, Start, figures, span_of_rows, span_of_windows
from benchmarks.kafka.process import Watched
from benchmarks.kafka.topics import OUTPUT, Output, reader, topics_of
from ferrisstreams.connectors.kafka.topics import NewTopicSettings

#: An output that has not grown for this long has stopped.
STALL_SECONDS = 90.0
#: A run that takes longer is cut, and measured by what it has given: nothing of that may be wrong.
CUT_SECONDS = 75.0
#: Offsets of an output that are records at least; the others are marks of transactions.
COUNTED_SHARE = 0.9


class Guarantee(Enum):
    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class Tuned(Enum):
    """What a system's settings are for."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


class RunError(Exception):
    """A system did not do the work; the text says how."""


@dataclass(frozen=True, slots=True)
class Order:
    """The input of a system. `name` is its identity: group, application, transactions."""

    bootstrap: str
    source: str
    sink: str
    work: Work
    guarantee: Guarantee
    name: str
    state: Path
    tuned: Tuned = Tuned.THROUGHPUT
    resume: bool = False

    def arguments(self) -> list[str]:
        """The order in the form that the rivals' programs take."""
        return [
            f"bootstrap={self.bootstrap}",
            f"source={self.source}",
            f"sink={self.sink}",
            f"work={self.work.value}",
            f"guarantee={self.guarantee.value}",
            f"name={self.name}",
            f"state={self.state}",
            f"tuned={self.tuned.value}",
            f"resume={'true' if self.resume else 'false'}",
        ]


@dataclass(frozen=True, slots=True)
class Command:
    """How a system is started."""

    words: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class System:
    """A system under test. `command` raises InstallError; `group` is where it commits its positions.

    `decodes` is False for the bare loop, whose output is the input's records.
    """

    title: str
    guarantee: Guarantee
    command: Callable[[Order], Command]
    works: tuple[Work, ...] = (Work.FILTER, Work.WINDOW)
    group: Callable[[Order], str] = lambda order: order.name
    decodes: bool = True


class Bench:
    """A broker's address and a folder; gives every run topics and state of its own, and removes them."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self._folder = folder

    @contextmanager
    def order(self, system: System, source: str, work: Work, tuned: Tuned = Tuned.THROUGHPUT) -> Iterator[Order]:
        """An order with a new output topic. Afterwards all topics with the run's name are gone, and its state."""
        name = f"run-{uuid.uuid4().hex[:12]}"
        state = self._folder / name
        state.mkdir(parents=True)
        topics = topics_of(self.bootstrap)
        topics.create(f"{name}-output", NewTopicSettings(1, OUTPUT))
        try:
            yield Order(self.bootstrap, source, f"{name}-output", work, system.guarantee, name, state, tuned)
        finally:
            for topic in topics.names():
                if name in topic:
                    topics.delete(topic)
            shutil.rmtree(state, ignore_errors=True)

    def measure(self, system: System, data: Data, work: Work) -> Figures:
        """Let a system do a work. Raises RunError when it ends, stops, or gives a wrong answer, and InstallError."""
        wanted = data.outputs(work)
        with self.order(system, data.topic, work) as order, reader(self.bootstrap, order.sink) as output:
            watched = start(system, order)
            try:
                if not output.wait_for_first(lambda: watched.ended() is not None, STALL_SECONDS):
                    raise RunError(how(watched, "nothing came out"))
                first_seconds = watched.seconds()
                output.wait(wanted, lambda: watched.ended() is not None or too_long(watched), STALL_SECONDS)
                whole = watched.ended() is not None or not too_long(watched)
                if not whole:
                    watched.end()
                rows = wanted if whole else int(output.end() * COUNTED_SHARE)
                found = output.read(rows, STALL_SECONDS / 2)
                wrong = data.difference(work, found.values, Answer(whole, identities_only=not system.decodes))
                if wrong is not None:
                    raise RunError(how(watched, f"wrong: {wrong}"))
            finally:
                watched.end()
            share = len(found.values) / wanted
            return figures(span(found, data, work, share), watched.samples, Start(first_seconds, whole))


def start(system: System, order: Order) -> Watched:
    command = system.command(order)
    return Watched(command.words, order.state, command.environment)


def too_long(watched: Watched) -> bool:
    return watched.seconds() > CUT_SECONDS


def span(found: Output, data: Data, work: Work, share: float) -> Span:
    """The measured part of an output, which is this share of the whole answer."""
    if work is Work.FILTER:
        return span_of_rows(found.times_ms, round(data.records * share))
    # Of several partitions one may be ahead of the others: only a window's last row shows what was worked off.
    return span_of_windows(found.times_ms, windows_of(found.values), data.record_of_window, last=data.partitions > 1)


def how(watched: Watched, what: str) -> str:
    """What went wrong, with the exit code and the end of the log when the system has ended by itself."""
    ended = watched.ended()
    return what if ended is None else f"it ended with {ended}; {what}\n{watched.tail()}"
