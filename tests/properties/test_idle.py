"""Partitions that are silent for a while: engine and reference model agree, step by step, on what is late and whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrisstreams.batch import Fetch, Limit, Positions
from ferrisstreams.clock import ManualClock
from ferrisstreams.config.values import Property
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.job import Job
from ferrisstreams.testing.compare import final_rows
from ferrisstreams.testing.doubles import CollectingSink, Cuts, Records, RecordSource
from ferrisstreams.testing.execute import Prepared, Ran, prepare
from ferrisstreams.testing.schedules import ONE_ROW
from tests.model.reference import Model, fold
from tests.properties.combination import SHAPES, Combination, Shape, draw_combination
from tests.properties.draw import Draw, HypothesisDraw
from tests.properties.laws import DisagreementError, ledger_difference, plain, same_rows, shown

WINDOWED = [shape for shape in SHAPES if shape.window != "none"]


@dataclass(frozen=True)
class Step:
    """After `wait_ms` there is the next record of a partition; None: nothing."""

    wait_ms: int
    partition: str | None


class StepSource(RecordSource):
    """A source that nothing waits in: each poll is a step, and behind the last one it has ended."""

    def __init__(self, records: Records, steps: Sequence[Step], block: MemoryFile, clock: ManualClock) -> None:
        super().__init__(records, Cuts(poll_ms=0), block, clock)
        self._steps = list(reversed(steps))
        self._time = clock

    def poll(self, limit: Limit) -> Fetch | None:
        step = self._steps.pop()
        self._time.advance_ms(step.wait_ms)
        if step.partition is None:
            return None
        self._only = step.partition
        fetch = super().poll(replace(limit, rows=1))
        return replace(fetch, caught_up=True) if fetch is not None else None

    def _choose(self, left: Sequence[str]) -> tuple[str, int]:
        return self._only, 1

    def partitions(self) -> Positions:
        return {} if self.ended else dict(self._next)

    def caught_up(self) -> Collection[str]:
        return set(self._next)

    @property
    def ended(self) -> bool:
        return not self._steps


def draw_steps(draw: Draw, inputs: Mapping[str, Sequence[object]]) -> list[Step]:
    left = {name: len(rows) for name, rows in inputs.items()}
    steps = [Step(0, None)]
    while names := [name for name, count in left.items() if count]:
        name = draw.pick([*names, None])
        steps.append(Step(draw.pick((100, 1_000, 3_000)), name))
        if name is not None:
            left[name] -= 1
        elif draw.below(8) == 7:
            break  # What is left never comes.
    return [*steps, Step(draw.pick((0, 5_000)), None)]


def played(combination: Combination, steps: Sequence[Step], idle_ms: int) -> Model:
    """The model, told after each step which partitions have been silent for so long."""
    model = Model(combination.query, list(combination.inputs))
    since = dict.fromkeys(combination.inputs, 0)
    now = 0
    for step in steps:
        now += step.wait_ms
        if step.partition is not None:
            model.take(step.partition, combination.inputs[step.partition][model.state.positions[step.partition]])
            since[step.partition] = now
        idle = [name for name, last in since.items() if now - last >= idle_ms]
        for name in idle:
            model.finish(name)
        if len(idle) == len(since):
            model.rest()
        model.end_batch()
    model.end()
    return model


def ran(prepared: Prepared, steps: Sequence[Step], idle_ms: int, folder: Path) -> Ran:
    clock, sink, letters = ManualClock(1_704_067_200_000_000), CollectingSink(), CollectingSink()
    given = {
        **prepared.case.settings,
        "commit.policy": "per_batch",
        "batch.enable": "false",
        "watermark.idle_timeout": f"{idle_ms}ms",
    }
    environment = Environment(
        application="test",
        folder=folder,
        overrides={name: Property(value, origin="with") for name, value in given.items()},
        clock=clock,
        sizes=ONE_ROW.sizes,
        stand_ins=StandIns(lambda _, block: StepSource(prepared.records, steps, block, clock), sink, letters),
    )
    result = Job(prepared.plan, environment).run()
    names = tuple(sink.tables[0].column_names) if sink.tables else prepared.plan.plan.schema.names
    rows = tuple(row for table in sink.tables for row in zip(*(c.to_pylist() for c in table.columns), strict=True))
    return Ran(names, rows, result.ledger.as_dict(), (), result.error)


@pytest.mark.parametrize("shape", WINDOWED, ids=lambda shape: shape.name)
@settings(max_examples=4, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_silent_partition_holds_windows_back_no_longer_than_its_timeout(
    shape: Shape, data: st.DataObject, tmp_path: Path
) -> None:
    draw = HypothesisDraw(data)
    combination = draw_combination(draw, shape)
    steps, idle_ms = draw_steps(draw, combination.inputs), draw.pick((2_000, 4_000))
    model, prepared = played(combination, steps, idle_ms), prepare(combination.case())
    got = ran(prepared, steps, idle_ms, tmp_path)
    expected = sorted(fold(model.state.output).values(), key=repr)
    rows = [tuple(map(plain, row)) for row in final_rows(prepared, got)[1]]
    if got.error is not None or not same_rows(expected, rows):
        raise DisagreementError(shown(combination, "model", expected, f"engine, {steps}, {idle_ms}", got.error or rows))
    wrong = ledger_difference(model.state.ledger, got, depends_on_cut=prepared.changes)
    if wrong:
        raise DisagreementError(shown(combination, "model's ledger", wrong, f"engine, {steps}, {idle_ms}", got.ledger))
