"""A canonical plan as the graph that runs: scans, operators that keep state, and the stages between them.

    Scan ──Stage──▶ Operator ──Stage──▶ Operator ──Stage──▶ Sink
    Scan ──Stage──┘

What keeps nothing is fused into the stages, so that every edge of the graph is one; several that meet are a UNION ALL.
A plan without an operator has a stage from each scan to the sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.errors import InternalError
from ferrisstreams.plan.expressions import column_name, substitute
from ferrisstreams.plan.nodes import (
    Aggregate,
    AssignWindow,
    Filter,
    Named,
    Plan,
    Project,
    Scan,
    Sink,
    SourceSpec,
    UnionAll,
    walk,
)
from ferrisstreams.plan.system_columns import used_system_columns
from ferrisstreams.schema import Column, Schema


@dataclass(frozen=True, slots=True)
class Stage:
    """What happens to rows on an edge: of those that `source` gives, the ones for which every conjunct is true.

    `columns` is what they are made into, for the output or as a branch of a union; None: nothing else.
    """

    source: Scan | Operator
    conjuncts: tuple[exp.Expression, ...] = ()
    columns: tuple[Named, ...] | None = None

    def source_expression(self, tree: exp.Expression) -> exp.Expression:
        """An expression over the rows of this edge, as one over what `source` gives."""
        if self.columns is None:
            return tree
        return substitute(tree, {named.name: named.expression for named in self.columns})

    def source_column(self, name: str) -> str:
        """The column of `source` that one of this edge is, unchanged. Raises InternalError."""
        found = column_name(self.source_expression(exp.column(exp.to_identifier(name, quoted=True))))
        if found is None:
            raise InternalError(f"{name} is computed where a column of the source is needed")
        return found


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
class Chain:
    """An output, and the places of the operators below it among those of the graph."""

    output: Stage
    places: range


@dataclass(frozen=True, slots=True)
class StageGraph:
    """A job's plan as scans, operators (each behind those that it reads), and the stages that make the rows of the
    sink, whose columns are `schema` with the hidden ones."""

    scans: tuple[Scan, ...]
    operators: tuple[Operator, ...]
    outputs: tuple[Stage, ...]
    schema: Schema
    sink: Sink

    @property
    def scan(self) -> Scan:
        """That of a job with one source."""
        (scan,) = self.scans
        return scan

    @property
    def sources(self) -> tuple[SourceSpec, ...]:
        """What the scans read, each once, in the order in which the query names them."""
        found: dict[str, SourceSpec] = {}
        for scan in self.scans:
            found.setdefault(scan.source.name, scan.source)
        return tuple(found.values())

    @property
    def keeps_state(self) -> bool:
        """Whether rows wait for others, and do not leave as they come."""
        return bool(self.operators)

    @property
    def output(self) -> Stage:
        """That of a job without a union under its sink."""
        (output,) = self.outputs
        return output

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The operators whose rows become the result, where those of a source do not."""
        return tuple(output.source.node for output in self.outputs if isinstance(output.source, Operator))

    @property
    def chains(self) -> tuple[Chain, ...]:
        """Of each output what is below it."""
        found, place = [], 0
        for output in self.outputs:
            count = len(_operators([output]))
            found.append(Chain(output, range(place, place + count)))
            place += count
        return tuple(found)

    @property
    def direct_scans(self) -> frozenset[int]:
        """The scans, by their numbers, whose rows become the result, and wait for nothing."""
        direct = [output.source for output in self.outputs if isinstance(output.source, Scan)]
        return frozenset(at for at, scan in enumerate(self.scans) if any(scan is each for each in direct))

    @property
    def is_windowed(self) -> bool:
        """Whether an operator waits for the watermark."""
        return any(operator.node.window is not None for operator in self.operators)

    def columns(self, output: Stage) -> tuple[Named, ...]:
        """The columns of an output."""
        hidden = {change.column for change in self.sink.headers}
        return tuple(named for named in output.columns or () if named.name not in hidden)

    def header_columns(self, output: Stage) -> tuple[Named, ...]:
        """What the headers of an output's messages are set to."""
        set_to = {change.column for change in self.sink.headers}
        return tuple(named for named in output.columns or () if named.name in set_to)

    def system_columns(self, scan: Scan) -> tuple[Column, ...]:
        """Of a scan the columns of the messages, beside those of their values, that the job reads."""
        return used_system_columns(self.sink, scan)


def cut(sink: Sink) -> StageGraph:
    """The graph of a canonical plan (see `plan.rewrites`)."""
    outputs = _stages(sink.input)
    if any(output.columns is None for output in outputs):
        raise InternalError(f"a plan without a projection on top: {type(sink.input).__name__}")
    scans = tuple(node for node in walk(sink) if isinstance(node, Scan))
    return StageGraph(scans, tuple(_operators(outputs)), outputs, sink.input.schema, sink)


def _stages(plan: Plan) -> tuple[Stage, ...]:
    return tuple(map(_stage, plan.branches)) if isinstance(plan, UnionAll) else (_stage(plan),)


def _stage(plan: Plan) -> Stage:
    columns: tuple[Named, ...] | None = None
    conjuncts: tuple[exp.Expression, ...] = ()
    if isinstance(plan, Project):
        columns, plan = plan.columns, plan.input
    if isinstance(plan, Filter):
        conjuncts, plan = plan.conjuncts, plan.input
    match plan:
        case Scan():
            return Stage(plan, conjuncts, columns)
        case Aggregate(input=AssignWindow() as window):
            return Stage(Operator(plan, _stages(window.input)), conjuncts, columns)
        case Aggregate():
            return Stage(Operator(plan, _stages(plan.input)), conjuncts, columns)
    raise InternalError(f"a plan that is not canonical: {type(plan).__name__}")


def _operators(stages: Sequence[Stage]) -> list[Operator]:
    found: list[Operator] = []
    for stage in stages:
        if isinstance(stage.source, Operator):
            found += [*_operators(stage.source.ports), stage.source]
    return found
