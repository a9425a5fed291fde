"""Puts the parts of a join together: the stages of its sides, a log for each, and the runner over them."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from ferrisstreams.compile.frame import Frame, changes_on, event_time, same_columns, written
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.rows_runner import RowsRunner, RowsRunnerParts, rows_port, weight
from ferrisstreams.compile.sources import merged_table
from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SliceGrid, StateLog
from ferrisstreams.errors import InternalError
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.base import Port
from ferrisstreams.operators.join import JoinShape, JoinSide, join, slice_us
from ferrisstreams.operators.weights import WEIGHT, Result
from ferrisstreams.operators.windows import Lateness, number
from ferrisstreams.plan.nodes import Emit, Join, Named, Scan, Window, WindowKind
from ferrisstreams.plan.stages import Stage


class JoinCompiler:
    """That of the join at a place in the graph."""

    def __init__(self, frame: Frame, place: int) -> None:
        self._frame = frame
        self._place = place
        self._operator = frame.graph.operators[place]
        assert isinstance(self._operator.node, Join)
        self._node = self._operator.node
        self._shape = self._join_shape()

    def compile(self) -> RowsRunner:
        operator = join(self._shape)
        logs = [self._log(side, port) for side, port in enumerate(operator.ports)]
        waits = self._shape.bound is not None
        ports = [
            (rows_port(self._frame, edge, self._row_shape(edge), operator.ports[side], logs[side], waits), side)
            for side, edges in enumerate(self._operator.sides)
            for edge in edges
        ]
        return RowsRunner(
            RowsRunnerParts(
                work=self._frame.engine.work,
                ports=tuple(ports),
                operator=operator,
                exact=join(self._shape, tries=True),
                logs=tuple(logs),
                merged=merged_table(self._place),
                names=self._shape.result.names,
                sizes=self._frame.settings.sizes,
                allowed_us=self._frame.allowed_us(self._operator),
                changing=self._shape.result.changing,
            )
        )

    # --- private ----------------------------------------------------------------------------------------------------

    def _join_shape(self) -> JoinShape:
        node, frame = self._node, self._frame
        used = frame.graph.read_columns(self._place)
        changing = [any(map(changes_on, side)) for side in self._operator.sides]
        residual, bound = node.residual, node.bound
        if bound is not None and any(changing):
            # What can be taken back is in no order of time.
            left, right = (function("epoch_us", column(name)) for name in (bound.left_time, bound.right_time))
            apart = exp.paren(exp.Sub(this=right, expression=left))
            inside = exp.Between(this=apart, low=number(bound.low_us), high=number(bound.high_us))
            residual, bound = (*residual, inside), None
        needed = used | {name for tree in residual for name in _names(tree)}
        kept = [[each for each in plan.schema if each.name in needed] for plan in node.inputs]
        sides = tuple(
            JoinSide(letter, tuple(c.name for c in of), tuple(c.type for c in of), len(node.keys), changes)
            for letter, of, changes in zip("lr", kept, changing, strict=True)
        )
        changes = node.facts.changes
        key = node.facts.key
        paired = key is not None and set(key) <= used
        names = tuple(name for name in node.schema.names if name in used)
        result = Result(names, changes, frame.tells_changes(self._place), (key or ()) if paired else ())
        assert len(sides) == 2
        waits = bound is not None and node.emit is not Emit.CHANGES
        return JoinShape((sides[0], sides[1]), node.kind, residual, bound, waits, result)

    def _log(self, side: int, port: Port) -> StateLog:
        frame = self._frame
        edges = self._operator.sides[side]
        columns = same_columns([frame.columns(edge, self._row_shape(edge), port) for edge in edges])
        grid = SliceGrid(slice_us(self._shape)) if self._shape.bound is not None else SliceGrid(1)
        return StateLog(
            frame.engine, frame.log_number(self._place) + side, columns, grid, frame.settings.sizes.read_often
        )

    def _row_shape(self, edge: Stage) -> RowShape:
        """What is kept of the rows of an edge: the columns that are used, the keys, and the weight."""
        side_number = self._operator.side_of(edge)
        side, node = self._shape.sides[side_number], self._node
        pairs = [pair.right if side_number else pair.left for pair in node.keys]
        columns = [Named(kept, column(name)) for name, kept in side.kept.items()]
        columns += [Named(name, tree) for name, tree in zip(side.key_names, pairs, strict=True)]
        made = [replace(named, expression=edge.source_expression(named.expression)) for named in columns]
        if side.changing:
            made.append(Named(WEIGHT, weight(edge)))
        window, lateness, time = self._lateness(edge, side_number)
        computed = edge.source.computed if isinstance(edge.source, Scan) else ()
        lookups = self._frame.lookups(edge)
        return RowShape(
            edge.conjuncts, tuple(made), computed, time, window, lateness, written=written(edge), lookups=lookups
        )

    def _lateness(self, edge: Stage, side: int) -> tuple[Window | None, Lateness | None, str | None]:
        """A row of a join bounded in time is late when the watermark has passed its very time."""
        bound, source = self._shape.bound, edge.source
        if bound is None:
            return None, None, event_time(source) if isinstance(source, Scan) else None
        time = edge.source_column(bound.right_time if side else bound.left_time)
        window = Window(WindowKind.SESSION, time, 0, 0)
        if not isinstance(source, Scan):
            return window, None, time
        declared = source.source.event_time
        if declared is None:
            raise InternalError(f"{source.source.name} has no event time, and its join is bounded in time")
        allowed_us = self._frame.inputs[source.source.name].allowed_lateness_us
        return window, Lateness(declared.delay_us, allowed_us), time


def _names(tree: exp.Expression) -> set[str]:
    return {node.name for node in tree.find_all(exp.Column)}
