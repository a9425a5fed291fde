"""A job's graph of operators, as the pipeline that a task runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ferrisstreams.batch import Fetch, JsonValue, integer, mapping
from ferrisstreams.compile.pipeline import BatchContext, Branch, OutputStage
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.runner import Runner
from ferrisstreams.compile.sources import MergedRows
from ferrisstreams.operators.ports import ResultPort


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators one above the other: the first reads sources, the output takes the results of the last.

        fetch ──▶ operator ──▶ results ──▶ operator ──▶ results ──▶ output
                     │ log                    │ log

    In a tick, an operator first takes what the one below gives, then gives what it has changed, then what its own
    watermark lets go. `ports` are those of the operators that take results, from the second on.
    """

    operators: Sequence[Runner]
    ports: Sequence[ResultPort]
    output: OutputStage

    def read(self, fetch: Fetch, context: BatchContext, tick: int, port: int) -> Outcome:
        """Everything that comes of a fetch by itself; `port` is that of the first operator that it comes to."""
        outcome = self.operators[0].read(fetch, context, tick, port)
        for made in self._hand_on(0, self.operators[0].changes(tick), tick):
            outcome.payloads += made.payloads
            outcome.derived_rejected += made.derived_rejected
            outcome.output_rejected += made.output_rejected
            outcome.produced += made.produced
        return outcome

    def advance(self, watermark_us: int, tick: int) -> Iterator[Outcome]:
        bound_us = watermark_us
        for index, operator in enumerate(self.operators):
            if index:
                bound_us = self.ports[index - 1].watermark_us(self.operators[index - 1].emitted_us)
            yield from self._hand_on(index, operator.due(bound_us), tick)

    def finish(self, tick: int) -> Iterator[Outcome]:
        for index, operator in enumerate(self.operators):
            yield from self._hand_on(index, operator.finish(), tick)
        # What an operator above has closed by the end, the ones below must not give any more.
        for (below, above), port in reversed(list(zip(pairwise(self.operators), self.ports, strict=True))):
            below.close(port.closed_below_us(above.closed_us))

    def _hand_on(self, index: int, results: Iterable[MergedRows], tick: int) -> Iterator[Outcome]:
        """Give an operator's results to the one above, and what that changes on; at the top, rows of the output."""
        if index + 1 == len(self.operators):
            yield from map(self._written, results)
            return
        above = self.operators[index + 1]
        for chunk in results:
            rejected = above.take(chunk, tick)
            if rejected:
                yield Outcome(derived_rejected=list(rejected))
        yield from self._hand_on(index + 1, above.changes(tick), tick)

    def _written(self, chunk: MergedRows) -> Outcome:
        made = Outcome()
        failed = self.output.run(chunk, chunk.parameters, made).rejected
        made.output_rejected[:0] = failed
        made.produced += len(failed)
        return made


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the rows of a scan go: to a port of a chain's first operator, or through a branch to the output."""

    into: Chain | Branch
    port: int = 0


class GraphPipeline:
    """Chains of operators side by side, and branches without any, that meet in the output.

    A tick is a fetch as one scan reads it, a move of the watermark, or the end of the input. `entries` are those of the
    plan's scans.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        chains = {id(entry.into): entry.into for entry in entries}
        self._chains = [chain for chain in chains.values() if isinstance(chain, Chain)]
        self._operators = [operator for chain in self._chains for operator in chain.operators]
        self._tick = self._decided_tick = 0

    def process(self, fetch: Fetch, context: BatchContext, scan: int = 0) -> Outcome:
        self._tick += 1
        entry = self._entries[scan]
        if isinstance(entry.into, Branch):
            return entry.into.process(fetch, context)
        return entry.into.read(fetch, context, self._tick, entry.port)

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
        self._tick += 1
        for chain in self._chains:
            yield from chain.advance(watermark_us, self._tick)

    def finish(self) -> Iterator[Outcome]:
        self._tick += 1
        for chain in self._chains:
            yield from chain.finish(self._tick)

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
