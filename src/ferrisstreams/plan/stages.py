"""A canonical plan as the graph that runs: scans, operators that keep state, and the stages between them.

    Scan ──Stage──▶ Operator ──Stage──▶ Operator ──Stage──▶ Sink

What keeps nothing is fused into the stages, so that every edge of the graph is one. A plan without an operator has one
stage, from its scan to the sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.errors import InternalError
from ferrisstreams.plan.nodes import Aggregate, AssignWindow, Filter, Named, Plan, Project, Scan, Sink, walk
from ferrisstreams.plan.system_columns import used_system_columns
from ferrisstreams.schema import Column


@dataclass(frozen=True, slots=True)
class Stage:
    """What happens to rows on an edge: of those that `source` gives, the ones for which every conjunct is true."""

    source: Scan | Operator
    conjuncts: tuple[exp.Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """A node that keeps state, and the stages of what it reads. Its expressions are over the columns of these."""

    node: Aggregate
    ports: tuple[Stage, ...]

    @property
    def stage(self) -> Stage:
        """That of an operator with one port."""
        (stage,) = self.ports
        return stage


Node: TypeAlias = Scan | Operator


@dataclass(frozen=True, slots=True)
class StageGraph:
    """A job's plan as scans, operators (each behind those that it reads), and the stage whose rows `project` makes the
    columns of the sink of."""

    scans: tuple[Scan, ...]
    operators: tuple[Operator, ...]
    output: Stage
    project: Project
    sink: Sink

    @property
    def scan(self) -> Scan:
        """That of a job with one source."""
        (scan,) = self.scans
        return scan

    @property
    def keeps_state(self) -> bool:
        """Whether rows wait for others, and do not leave as they come."""
        return bool(self.operators)

    @property
    def aggregate(self) -> Aggregate | None:
        """The operator whose rows become the result; None: those of the source do."""
        return self.output.source.node if isinstance(self.output.source, Operator) else None

    @property
    def is_windowed(self) -> bool:
        """Whether an operator waits for the watermark."""
        return any(operator.node.window is not None for operator in self.operators)

    @property
    def columns(self) -> tuple[Named, ...]:
        """The columns of the output."""
        hidden = {change.column for change in self.sink.headers}
        return tuple(named for named in self.project.columns if named.name not in hidden)

    @property
    def header_columns(self) -> tuple[Named, ...]:
        """What the headers of the output's messages are set to."""
        set_to = {change.column for change in self.sink.headers}
        return tuple(named for named in self.project.columns if named.name in set_to)

    @property
    def system_columns(self) -> tuple[Column, ...]:
        """Columns of the messages beside those of their values that the job reads."""
        return used_system_columns(self.sink)


def cut(sink: Sink) -> StageGraph:
    """The graph of a canonical plan (see `plan.rewrites`)."""
    project = sink.input
    if not isinstance(project, Project):
        raise InternalError(f"a plan without a projection on top: {type(project).__name__}")
    output = _stage(project.input)
    scans = tuple(node for node in walk(sink) if isinstance(node, Scan))
    return StageGraph(scans, tuple(_operators([output])), output, project, sink)


def _stage(plan: Plan) -> Stage:
    conjuncts: tuple[exp.Expression, ...] = ()
    if isinstance(plan, Filter):
        conjuncts, plan = plan.conjuncts, plan.input
    match plan:
        case Scan():
            return Stage(plan, conjuncts)
        case Aggregate(input=AssignWindow() as window):
            return Stage(Operator(plan, (_stage(window.input),)), conjuncts)
        case Aggregate():
            return Stage(Operator(plan, (_stage(plan.input),)), conjuncts)
    raise InternalError(f"a plan that is not canonical: {type(plan).__name__}")


def _operators(stages: Sequence[Stage]) -> list[Operator]:
    found: list[Operator] = []
    for stage in stages:
        if isinstance(stage.source, Operator):
            found += [*_operators(stage.source.ports), stage.source]
    return found
