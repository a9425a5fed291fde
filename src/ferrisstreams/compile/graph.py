"""A job's graph of operators, as the pipeline that a task runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from ferrisstreams.batch import Fetch, JsonValue, integer, mapping
from ferrisstreams.compile.pipeline import BatchContext, OutputStage
from ferrisstreams.compile.results import Outcome
from ferrisstreams.compile.runner import Runner
from ferrisstreams.compile.sources import MergedRows
from ferrisstreams.operators.ports import ResultPort


class GraphPipeline:
    """Operators one above the other: the first reads the source, the output takes the results of the last.

        fetch ──▶ operator ──▶ results ──▶ operator ──▶ results ──▶ output
                     │ log                    │ log

    A tick is a fetch, a move of the watermark, or the end of the input. In each, an operator first takes what the one
    below gives, then gives what it has changed, then what its own watermark lets go. `ports` are those of the operators
    that take results, from the second on.
    """

    def __init__(self, operators: Sequence[Runner], ports: Sequence[ResultPort], output: OutputStage) -> None:
        self._operators = operators
        self._ports = ports
        self._output = output
        self._tick = self._decided_tick = 0

    def process(self, fetch: Fetch, context: BatchContext, scan: int = 0) -> Outcome:
        self._tick += 1
        outcome = self._operators[0].read(fetch, context, self._tick, scan)
        for made in self._hand_on(0, self._operators[0].changes(self._tick)):
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
        self._tick += 1
        bound_us = watermark_us
        for index, operator in enumerate(self._operators):
            if index:
                bound_us = self._ports[index - 1].watermark_us(self._operators[index - 1].emitted_us)
            yield from self._hand_on(index, operator.due(bound_us))

    def finish(self) -> Iterator[Outcome]:
        self._tick += 1
        for index, operator in enumerate(self._operators):
            yield from self._hand_on(index, operator.finish())
        # What an operator above has closed by the end, the ones below must not give any more.
        for (below, above), port in reversed(list(zip(pairwise(self._operators), self._ports, strict=True))):
            below.close(port.closed_below_us(above.closed_us))

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

    def _hand_on(self, index: int, results: Iterable[MergedRows]) -> Iterator[Outcome]:
        """Give an operator's results to the one above, and what that changes on; at the top, rows of the output."""
        if index + 1 == len(self._operators):
            yield from map(self._written, results)
            return
        above = self._operators[index + 1]
        for chunk in results:
            rejected = above.take(chunk, self._tick)
            if rejected:
                yield Outcome(derived_rejected=list(rejected))
        yield from self._hand_on(index + 1, above.changes(self._tick))

    def _written(self, chunk: MergedRows) -> Outcome:
        made = Outcome()
        failed = self._output.run(chunk, chunk.parameters, made).rejected
        made.output_rejected[:0] = failed
        made.produced += len(failed)
        return made
