"""A canonical plan as the graph that runs: scans, operators that keep state, and the stages between them.

    Scan ──Stage──▶ Operator ──Stage──▶ Operator ──Stage──▶ Sink
    Scan ──Stage──┘                        │
    Scan ──Stage───────────────────────────┘ (its second side)

What keeps nothing is fused into the stages, so that every edge of the graph is one; several that meet are a UNION ALL.
A plan without an operator has a stage from each scan to the sink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.errors import InternalError
from ferrisstreams.plan.expressions import column_name, columns_in, substitute
from ferrisstreams.plan.nodes import (
    Aggregate,
    AssignWindow,
    Filter,
    Join,
    KeyPair,
    Latest,
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
class Lookup:
    """A table whose row of the moment rows on an edge meet. `table` keeps it.

    `keys` are, for each column of its key, an expression over the rows of the edge and one over the table's columns;
    `conditions` are over the table's columns and, under the names in `columns`, over those of the edge. `columns` are
    the table's columns under names of their own, and `flag` is the name of the one that says whether a row was met.
    """

    table: Operator
    keys: tuple[KeyPair, ...]
    conditions: tuple[exp.Expression, ...]
    columns: Mapping[str, str]
    flag: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What happens to rows on an edge: of those that `source` gives, with what the `lookups` put beside them, the ones
    for which every conjunct is true.

    `columns` is what they are made into, for the output or as a branch of a union; None: nothing else.
    """

    source: Scan | Operator
    conjuncts: tuple[exp.Expression, ...] = ()
    columns: tuple[Named, ...] | None = None
    lookups: tuple[Lookup, ...] = ()

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
    """A node that keeps state, and the stages of what it reads: one for each query of a union on each of its sides. Its
    expressions are over the columns of these."""

    node: Stateful
    sides: tuple[tuple[Stage, ...], ...]

    @property
    def ports(self) -> tuple[Stage, ...]:
        return tuple(stage for side in self.sides for stage in side)

    @property
    def stage(self) -> Stage:
        """That of an operator with one port."""
        (stage,) = self.ports
        return stage

    @property
    def aggregate(self) -> Aggregate:
        """The node of one that aggregates. Raises InternalError for others."""
        if isinstance(self.node, Aggregate):
            return self.node
        raise InternalError(f"{type(self.node).__name__} where an aggregate is needed")

    def side_of(self, edge: Stage) -> int:
        """Which side one of its edges belongs to."""
        return next(side for side, stages in enumerate(self.sides) if any(stage is edge for stage in stages))


Node: TypeAlias = Scan | Operator
Stateful: TypeAlias = Aggregate | Join | Latest


@dataclass(frozen=True, slots=True)
class Reader:
    """Who takes the rows of a scan or the results of an operator: a port of the operator at a place, or (None) the
    output of the sink with that number."""

    place: int | None
    port: int


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
        nodes = [output.source.node for output in self.outputs if isinstance(output.source, Operator)]
        return tuple(node for node in nodes if isinstance(node, Aggregate))

    @property
    def results(self) -> tuple[Stateful, ...]:
        """The operators whose rows become the result."""
        return tuple(output.source.node for output in self.outputs if isinstance(output.source, Operator))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All edges."""
        return (*(port for operator in self.operators for port in operator.ports), *self.outputs)

    @property
    def log_names(self) -> tuple[str, ...]:
        """What the logs of the operators are called, in the order of their numbers: each side has one."""
        found: list[str] = []
        for operator in self.operators:
            for side, edges in enumerate(operator.sides):
                name = _log_name(operator, side, edges)
                again = sum(known.partition(" #")[0] == name for known in found)
                found.append(f"{name} #{again + 1}" if again else name)
        return tuple(found)

    def is_looked_up(self, operator: Operator) -> bool:
        """Whether an operator is a table that rows on an edge meet, and gives nothing by itself."""
        return any(lookup.table is operator for stage in self.stages for lookup in stage.lookups)

    def reader(self, source: Node) -> Reader:
        """Who takes what a scan or an operator gives. Raises StopIteration for a table that is looked up."""
        for place, operator in enumerate(self.operators):
            for port, stage in enumerate(operator.ports):
                if stage.source is source:
                    return Reader(place, port)
        return next(Reader(None, at) for at, output in enumerate(self.outputs) if output.source is source)

    def read_columns(self, place: int) -> frozenset[str]:
        """The columns of an operator's results that whoever takes them reads."""
        source = self.operators[place]
        if self.is_looked_up(source):
            return self._columns_looked_up(source)
        reader = self.reader(source)
        stage = self.outputs[reader.port] if reader.place is None else self.operators[reader.place].ports[reader.port]
        return frozenset(name for tree in self.edge_trees(stage) for name in columns_in(tree))

    def edge_trees(self, stage: Stage) -> list[exp.Expression]:
        """All that is computed on an edge, over what its source gives and its lookups put beside that."""
        met = [pair.left for lookup in stage.lookups for pair in lookup.keys]
        met += [tree for lookup in stage.lookups for tree in lookup.conditions]
        for place, operator in enumerate(self.operators):
            if any(each is stage for each in operator.ports):
                side = operator.side_of(stage)
                columns = [exp.column(exp.to_identifier(n, quoted=True)) for n in self.passed_on(place, side)]
                trees = [stage.source_expression(tree) for tree in (*expressions_over(operator, side), *columns)]
                return [*trees, *stage.conjuncts, *met]
        return [*stage.conjuncts, *(named.expression for named in stage.columns or ()), *met]

    def _columns_looked_up(self, table: Operator) -> frozenset[str]:
        found: set[str] = set()
        for stage in (stage for stage in self.stages if stage.lookups):
            read = {name for tree in self.edge_trees(stage) for name in columns_in(tree)}
            for lookup in stage.lookups:
                if lookup.table is table:
                    found |= {name for pair in lookup.keys for name in columns_in(pair.right)}
                    found |= {column for name, column in lookup.columns.items() if name in read}
        return frozenset(found)

    def passed_on(self, place: int, side: int) -> tuple[str, ...]:
        """The columns of a side that a join or a table keeps for whoever takes its results."""
        node = self.operators[place].node
        if isinstance(node, Aggregate):
            return ()
        read = self.read_columns(place)
        return tuple(name for name in node.inputs[side].schema.names if name in read)

    @property
    def direct_scans(self) -> frozenset[int]:
        """The scans, by their numbers, whose rows become the result, and wait for nothing."""
        direct = [output.source for output in self.outputs if isinstance(output.source, Scan)]
        return frozenset(at for at, scan in enumerate(self.scans) if any(scan is each for each in direct))

    @property
    def is_windowed(self) -> bool:
        """Whether an operator waits for the watermark."""
        return any(waits(operator.node) for operator in self.operators)

    def has_below(self, place: int) -> bool:
        """Whether the operator takes results of others."""
        return any(isinstance(port.source, Operator) for port in self.operators[place].ports)

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
    if isinstance(plan, UnionAll):
        return tuple(stage for branch in plan.branches for stage in _stages(branch))
    columns: tuple[Named, ...] | None = None
    conjuncts: tuple[exp.Expression, ...] = ()
    if isinstance(plan, Project):
        columns, plan = plan.columns, plan.input
    if isinstance(plan, Filter):
        conjuncts, plan = plan.conjuncts, plan.input
    if isinstance(plan, Join) and plan.lookup:
        (table,) = _stages(plan.right)
        return tuple(_with_lookup(below, plan, table, conjuncts, columns) for below in _stages(plan.left))
    return (Stage(_source(plan), conjuncts, columns),)


def _source(plan: Plan) -> Node:
    match plan:
        case Scan():
            return plan
        case Aggregate(input=AssignWindow() as window):
            return Operator(plan, (_stages(window.input),))
        case Aggregate() | Latest():
            return Operator(plan, (_stages(plan.input),))
        case Join():
            return Operator(plan, (_stages(plan.left), _stages(plan.right)))
    raise InternalError(f"a plan that is not canonical: {type(plan).__name__}")


def _with_lookup(
    below: Stage, join: Join, table: Stage, conjuncts: tuple[exp.Expression, ...], columns: tuple[Named, ...] | None
) -> Stage:
    """The rows of an edge beside those of a table, and what stands above the join of the two."""
    assert isinstance(table.source, Operator)
    number = len(below.lookups)
    flag = _column(f"_met{number}")
    names = {name: f"_met{number}_{at}" for at, name in enumerate(table.source.node.schema.names)}
    keys = tuple(KeyPair(below.source_expression(pair.left), table.source_expression(pair.right)) for pair in join.keys)
    meant = {name: below.source_expression(_column(name)) for name in join.left.schema.names}
    # A key that fails must fail its row, which without one it would only leave without a partner.
    guards = [pair.left for pair in keys if not isinstance(pair.left, exp.Column)]
    for name in join.right.schema.names:
        tree = table.source_expression(_column(name))
        beside = substitute(tree, {each: _column(names[each]) for each in columns_in(tree)})
        meant[name] = _unless_null(guards, beside, exp.null())
    conditions = tuple(
        substitute(tree, {each: _column(names[each]) for each in columns_in(tree)}) for tree in table.conjuncts
    ) + tuple(substitute(tree, meant) for tree in join.residual)
    lookup = Lookup(table.source, keys, conditions, {new: name for name, new in names.items()}, flag.name)
    matched = () if join.kind.keeps_left else (_unless_null(guards, flag, exp.false()),)
    above = tuple(substitute(tree, {name: meant[name] for name in columns_in(tree)}) for tree in conjuncts)
    shown = columns if columns is not None else tuple(Named(name, _column(name)) for name in join.schema.names)
    made = tuple(
        replace(named, expression=substitute(named.expression, {n: meant[n] for n in columns_in(named.expression)}))
        for named in shown
    )
    return Stage(below.source, (*below.conjuncts, *matched, *above), made, (*below.lookups, lookup))


def _unless_null(guards: Sequence[exp.Expression], value: exp.Expression, otherwise: exp.Expression) -> exp.Expression:
    if not guards:
        return value
    missing = exp.or_(*[exp.Is(this=exp.paren(guard.copy()), expression=exp.null()) for guard in guards])
    return exp.Paren(this=exp.Case().when(missing, otherwise).else_(value))


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _operators(stages: Sequence[Stage]) -> list[Operator]:
    found: list[Operator] = []
    for stage in stages:
        for lookup in stage.lookups:
            found += [*_operators(lookup.table.ports), lookup.table]
        if isinstance(stage.source, Operator):
            found += [*_operators(stage.source.ports), stage.source]
    return [operator for at, operator in enumerate(found) if not any(operator is each for each in found[:at])]


def _log_name(operator: Operator, side: int, edges: Sequence[Stage]) -> str:
    node = operator.node
    if isinstance(node, Latest):
        names = [edge.source.source.name for edge in edges if isinstance(edge.source, Scan)]
        return f"table {', '.join(names)}"
    if isinstance(node, Join):
        return f"join, {'right' if side else 'left'} side"
    return "aggregate"


def waits(node: Stateful) -> bool:
    """Whether a node gives rows when the watermark has passed them, and forgets by it."""
    return (isinstance(node, Aggregate) and node.window is not None) or (
        isinstance(node, Join) and node.bound is not None
    )


def expressions_over(operator: Operator, side: int) -> list[exp.Expression]:
    """What an operator itself computes of the rows of a side."""
    node = operator.node
    match node:
        case Aggregate():
            time = [exp.column(exp.to_identifier(node.window.time, quoted=True))] if node.window is not None else []
            return [*(named.expression for named in (*node.keys, *node.calls)), *time]
        case Latest():
            return [exp.column(exp.to_identifier(name, quoted=True)) for name in node.key]
    keys = [pair.right if side else pair.left for pair in node.keys]
    times = [] if node.bound is None else [node.bound.right_time if side else node.bound.left_time]
    own = set((node.right if side else node.left).schema.names)
    columns = [name for tree in node.residual for name in columns_in(tree) if name in own]
    return [*keys, *(exp.column(exp.to_identifier(name, quoted=True)) for name in dict.fromkeys((*times, *columns)))]
