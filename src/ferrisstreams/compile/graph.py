"""A job's graph of operators, as the pipeline that a task runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ferrisstreams.batch import Fetch, JsonValue, Rejected, integer, mapping
from ferrisstreams.compile.pipeline import BatchContext, Branch, OutputStage
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.sources import MergedRows
from ferrisstreams.operators.ports import ResultPort


class Running(Protocol):
    """An operator that runs: it takes rows, and gives what they change and what the watermark lets go.

    A tick brings rows to one port. Results that it gives must be taken before it is asked again. `closed_us` and
    `emitted_us`: up to where nothing is taken any more, and up to where what waited has been given.
    """

    closed_us: int

    @property
    def emitted_us(self) -> int: ...

    @property
    def windows_closed_by_end(self) -> int: ...

    @property
    def full(self) -> bool: ...

    def read(self, fetch: Fetch, context: BatchContext, tick: int, port: int) -> Outcome: ...

    def take(self, results: MergedRows, tick: int, port: int) -> Sequence[Rejected]: ...

    def changes(self, tick: int) -> Iterator[MergedRows]: ...

    def due(self, watermark_us: int) -> Iterator[MergedRows]: ...

    def finish(self) -> Iterator[MergedRows]: ...

    def close(self, bound_us: int) -> None: ...

    def prepare(self) -> None: ...

    def confirm(self) -> None: ...

    def reclaim(self) -> None: ...

    def snapshot(self) -> dict[str, JsonValue]: ...

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None: ...


@dataclass(frozen=True, slots=True)
class Into:
    """Where results go: to a port of the operator at a place. `bound` says how far they have come by the event time of
    that operator."""

    place: int
    port: int
    bound: ResultPort


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of the graph, and where its results go; None: it has none. `reads`: some of what it takes comes from
    a source."""

    operator: Running
    into: Into | OutputStage | None
    reads: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the rows of a scan go: to a port of the operator at a place, or through a branch to the output."""

    into: int | Branch
    port: int = 0


class GraphPipeline:
    """Operators, each behind those that it reads, and branches without any, that meet in the output.

        fetch ──▶ operator ──▶ results ──▶ operator ──▶ results ──▶ output
        fetch ──▶    │ log                    │ log
                                 fetch ──▶    │ log

    A tick brings rows to one port of one operator: those of a fetch as one scan reads it, or what an operator below has
    given. `entries` are those of the plan's scans.
    """

    def __init__(self, entries: Sequence[Entry], nodes: Sequence[Node]) -> None:
        self._entries = entries
        self._nodes = nodes
        self._operators = [node.operator for node in nodes]
        self._tick = self._decided_tick = 0

    def process(self, fetch: Fetch, context: BatchContext, scan: int = 0) -> Outcome:
        entry = self._entries[scan]
        if isinstance(entry.into, Branch):
            return entry.into.process(fetch, context)
        tick = self._next()
        operator = self._operators[entry.into]
        outcome = operator.read(fetch, context, tick, entry.port)
        for made in self._hand_on(entry.into, operator.changes(tick)):
            outcome.payloads += made.payloads
            outcome.derived_rejected += made.derived_rejected
            outcome.output_rejected += made.output_rejected
            outcome.produced += made.produced
        return outcome

    def prepare(self, epoch: int) -> None:
        for operator in self._operators:
            operator.prepare()

    def confirm(self) -> None:
        self._decided_tick = self._tick
        for operator in self._operators:
            operator.confirm()

    @property
    def full(self) -> bool:
        return any(operator.full for operator in self._operators)

    def advance(self, watermark_us: int) -> Iterator[Outcome]:
        """In the order of the operators: each takes what those below let go, and then what its own watermark does."""
        for place, node in enumerate(self._nodes):
            bounds = [watermark_us] if node.reads else []
            bounds += [
                below.into.bound.watermark_us(below.operator.emitted_us)
                for below in self._nodes[:place]
                if isinstance(below.into, Into) and below.into.place == place
            ]
            yield from self._hand_on(place, node.operator.due(min(bounds)))

    def finish(self) -> Iterator[Outcome]:
        for place, operator in enumerate(self._operators):
            yield from self._hand_on(place, operator.finish())
        # What an operator above has closed by the end, the ones below must not give any more.
        for node in reversed(self._nodes):
            if isinstance(node.into, Into):
                node.operator.close(node.into.bound.closed_below_us(self._operators[node.into.place].closed_us))

    @property
    def windows_closed_by_end(self) -> int:
        return sum(operator.windows_closed_by_end for operator in self._operators)

    def reclaim(self) -> None:
        for operator in self._operators:
            operator.reclaim()

    def snapshot(self) -> dict[str, JsonValue]:
        return {
            "tick": self._tick,
            "decided_tick": self._decided_tick,
            "operators": [operator.snapshot() for operator in self._operators],
        }

    def restore(self, snapshot: Mapping[str, JsonValue]) -> None:
        self._tick = self._decided_tick = integer(snapshot.get("tick", 0))
        kept = snapshot.get("operators", [])
        values = [mapping(value) for value in kept] if isinstance(kept, list) else []
        for index, operator in enumerate(self._operators):
            operator.restore(values[index] if values else {})

    # --- private ----------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._tick += 1
        return self._tick

    def _hand_on(self, place: int, results: Iterable[MergedRows]) -> Iterator[Outcome]:
        """Give an operator's results to the one above, and what that changes on; at the top, rows of the output."""
        into = self._nodes[place].into
        if isinstance(into, OutputStage):
            yield from (_written(into, chunk) for chunk in results)
            return
        tick = 0
        for chunk in results:
            assert into is not None
            above = self._operators[into.place]
            tick = tick or self._next()
            rejected = above.take(chunk, tick, into.port)
            if rejected:
                yield Outcome(derived_rejected=list(rejected))
        if tick and into is not None:
            yield from self._hand_on(into.place, self._operators[into.place].changes(tick))


def _written(output: OutputStage, chunk: MergedRows) -> Outcome:
    made = Outcome()
    failed = output.run(chunk, chunk.parameters, made).rejected
    made.output_rejected[:0] = failed
    made.produced += len(failed)
    return made
