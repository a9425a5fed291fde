"""What the compilers of a job's parts share: the graph, the engine, the settings, and what follows for an edge."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.compile.changelog import Changelog
from ferrisstreams.compile.pipeline import Input
from ferrisstreams.compile.rows import AHEAD, SEEN, RowLookup, RowShape, judged, projected, with_computed
from ferrisstreams.compile.settings import CompileSettings, Inputs
from ferrisstreams.compile.stage import Retries
from ferrisstreams.compile.system_join import SystemJoin
from ferrisstreams.config.formats import changes_of
from ferrisstreams.duck.engine import Engine, column
from ferrisstreams.errors import InternalError
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import template
from ferrisstreams.operators.base import CLOSED_THROUGH, ROWS_IN, TICK_NUMBER, Port, bind
from ferrisstreams.operators.changes import OP
from ferrisstreams.operators.log import FIRST_ROW, LAST_ROW, LATE_WINDOWS, OUTCOME, PARTITION, ROW_BASE, ROWS
from ferrisstreams.operators.log import SEEN as SEEN_COLUMN
from ferrisstreams.plan.expressions import columns_in, substitute, typed_as
from ferrisstreams.plan.nodes import DELETED, REPEATED, Aggregate, Latest, Named, Scan
from ferrisstreams.plan.stages import Lookup, Operator, Stage, StageGraph
from ferrisstreams.schema import Column

#: Columns of what a tick appends that the log does not keep.
_DELTA_ONLY = frozenset({OUTCOME, ROWS, SEEN_COLUMN, LATE_WINDOWS, FIRST_ROW, LAST_ROW, "_piece"})


@dataclass(frozen=True, slots=True)
class Frame:
    """A job's graph, how its changes are written, and what runs it."""

    graph: StageGraph
    changelog: Changelog
    engine: Engine
    inputs: Inputs
    settings: CompileSettings

    def reads(self, scan: Scan) -> Input:
        own = self.inputs[scan.source.name]
        system = self.graph.system_columns(scan)
        several = changes_of(scan.source.properties) == "debezium"  # A record can be two rows.
        joined = SystemJoin(self.engine.work, system, by_row=several) if system else None
        keyed = bool(scan.source.key)
        return Input(self.engine.work, own.decoder, event_time(scan), own.max_ahead_us, joined, keyed)

    def retries(self, edge: Stage) -> Retries:
        """Those of rows on an edge."""
        if isinstance(edge.source, Scan):
            return self.inputs[edge.source.source.name].retries
        return self.settings.output_retries

    def allowed_us(self, operator: Operator) -> int:
        """How long an operator waits for late rows: as long as the source with the most of them may be late."""
        scans = [port.source for port in operator.ports if isinstance(port.source, Scan)]
        return max((self.inputs[scan.source.name].allowed_lateness_us for scan in scans), default=0)

    def log_number(self, place: int) -> int:
        """The number of an operator's first log: each of its sides has one."""
        return sum(len(operator.sides) for operator in self.graph.operators[:place])

    def is_last(self, place: int) -> bool:
        """Whether its results become those of the job."""
        operator = self.graph.operators[place]
        return not self.graph.is_looked_up(operator) and self.graph.reader(operator).place is None

    def tells_changes(self, place: int) -> bool:
        """Whether results of an operator say how they change."""
        if self.is_last(place):
            return self.changelog.needs_old
        return self.graph.operators[place].node.facts.changes

    def lookups(self, edge: Stage) -> tuple[RowLookup, ...]:
        """What the rows of an edge meet."""
        read = {name for tree in self.graph.edge_trees(edge) for name in columns_in(tree)}
        return tuple(self._lookup(lookup, number, read) for number, lookup in enumerate(edge.lookups))

    def _lookup(self, lookup: Lookup, number: int, read: set[str]) -> RowLookup:
        place = next(at for at, operator in enumerate(self.graph.operators) if operator is lookup.table)
        kept, alias = table_names(self.graph, place), f"_table{number}"
        parts: list[exp.Expression] = []
        for pair in lookup.keys:
            own = pair.left if isinstance(pair.left, exp.Column) else template("TRY(x)", x=pair.left)
            names = {name: column(kept[name], alias) for name in columns_in(pair.right)}
            parts.append(exp.EQ(this=own, expression=substitute(pair.right, names)))
        for tree in lookup.conditions:
            met = {
                name: column(kept[lookup.columns[name]], alias) for name in columns_in(tree) if name in lookup.columns
            }
            over = substitute(tree, {**{name: column(name) for name in columns_in(tree)}, **met})
            parts.append(template("coalesce(TRY(CAST(c AS BOOLEAN)), false)", c=over))
        columns = {name: kept[of] for name, of in lookup.columns.items() if name in read}
        return RowLookup(current_table(place), alias, exp.and_(*parts, copy=False), columns, lookup.flag)

    def _met(self, edge: Stage) -> list[Column]:
        """The columns that lookups put beside the rows of an edge."""
        found = []
        for lookup in edge.lookups:
            types = {item.name: item.type for item in lookup.table.node.schema}
            found += [Column(name, types[of]) for name, of in lookup.columns.items()]
            found.append(Column(lookup.flag, "BOOLEAN"))
        return found

    def columns(self, edge: Stage, rows: RowShape, port: Port) -> list[tuple[str, str]]:
        """Names and types of what a log keeps of the rows of an edge, asked of the engine over an empty typed row."""
        source = edge.source
        read: tuple[Column, ...] = (
            (*source.source.schema, *self.graph.system_columns(source), *_deleted(source))
            if isinstance(source, Scan)
            else source.node.schema.columns
        )
        if changes_on(edge):
            read = (*read, Column(OP, "VARCHAR", False))
        read = (*read, *self._met(edge))
        nulls = [exp.alias_(typed_as(exp.null(), c.type), c.name, quoted=True) for c in read]
        rows = replace(rows, lookups=())
        empty = exp.select(exp.alias_(exp.cast(exp.Literal.number(0), "BIGINT"), ROW), *nulls)
        read_rows = projected(rows, judged(rows, with_computed(rows, empty), marked=False))
        parameters = {SEEN: 0, CLOSED_THROUGH: 0, PARTITION: "", ROW_BASE: 0, AHEAD: 0, TICK_NUMBER: 0}
        found = self.engine.work.types(bind(port.append, **{ROWS_IN: read_rows}), parameters)
        return [item for item in found if item[0] not in _DELTA_ONLY]


def _deleted(scan: Scan) -> tuple[Column, ...]:
    """The hidden columns of a table's source."""
    return tuple(Column(name, "BOOLEAN", hidden=True) for name in (DELETED, REPEATED) if scan.source.key)


def table_names(graph: StageGraph, place: int) -> dict[str, str]:
    """The columns that the table at a place keeps, and their names in its log: `_k0` … of the key, `_c0` …"""
    node = graph.operators[place].node
    assert isinstance(node, Latest)
    others = [name for name in graph.passed_on(place, 0) if name not in node.key]
    return {**{n: f"_k{at}" for at, n in enumerate(node.key)}, **{n: f"_c{at}" for at, n in enumerate(others)}}


def current_table(place: int) -> str:
    """The rows that a table which is looked up has at the moment."""
    return f"_current{place}"


def same_columns(found: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """What the edges of one log keep, which is the same of each."""
    if any(columns != found[0] for columns in found):
        raise InternalError(f"the queries of a union keep different columns: {found}")
    return found[0]


def event_time(scan: Scan) -> str | None:
    """The column of the event time. Nothing waits for the rows of a table, and a delete may have none."""
    if scan.source.key:
        return None
    return scan.source.event_time.column if scan.source.event_time is not None else None


def written(edge: Stage) -> tuple[Named, ...]:
    """What columns of the results on an edge stand for in the query, where that is not their name."""
    if isinstance(edge.source, Operator) and isinstance(edge.source.node, Aggregate):
        return (*edge.source.node.keys, *edge.source.node.calls)
    return ()


def changes_on(edge: Stage) -> bool:
    """Whether rows of an edge can be taken back."""
    return isinstance(edge.source, Operator) and edge.source.node.facts.changes
