"""Puts the parts of an aggregate over rows that can be taken back together."""

from __future__ import annotations

from dataclasses import replace

from ferrisstreams.compile.frame import Frame, same_columns, written
from ferrisstreams.compile.lifting import lifted
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.rows_runner import RowsRunner, RowsRunnerParts, rows_port, weight
from ferrisstreams.compile.sources import merged_table
from ferrisstreams.duck.engine import BindError, DataError, column
from ferrisstreams.duck.state_log import SliceGrid, StateLog
from ferrisstreams.errors import SqlError
from ferrisstreams.operators.aggregates import plan_weighted
from ferrisstreams.operators.regroup import Groups, regroup
from ferrisstreams.operators.weights import WEIGHT, Result
from ferrisstreams.plan.expressions import typed_as
from ferrisstreams.plan.nodes import Emit, Named, Scan
from ferrisstreams.plan.stages import Stage
from ferrisstreams.sql.inference import reword


class RegroupCompiler:
    """That of the aggregate at a place in the graph, whose input changes."""

    def __init__(self, frame: Frame, place: int) -> None:
        self._frame = frame
        self._place = place
        self._operator = frame.graph.operators[place]
        self._node = node = self._operator.aggregate
        self._lifted: list[Named] = []
        calls = [replace(call, expression=lifted(call.expression, self._lifted)) for call in node.calls]
        types = {item.name: item.type for item in node.schema}
        keys = tuple(Named(key.name, typed_as(column(f"_k{at}"), types[key.name])) for at, key in enumerate(node.keys))
        final = node.emit is Emit.FINAL
        tells = frame.tells_changes(place)
        result = Result(node.schema.names, not final, tells, tuple(key.name for key in node.keys))
        self._groups = Groups(keys, plan_weighted(calls, node.schema, WEIGHT), result, final)

    def compile(self) -> RowsRunner:
        try:
            return self._compile()
        except (BindError, DataError) as error:
            message, code, hint = reword(str(error))
            raise SqlError(message, code, hint, self._node.calls[0].position if self._node.calls else None) from error

    def _compile(self) -> RowsRunner:
        frame, operator = self._frame, regroup(self._groups)
        edges, (port,) = self._operator.ports, operator.ports
        columns = same_columns([frame.columns(edge, self._row_shape(edge), port) for edge in edges])
        log = StateLog(
            frame.engine, frame.log_number(self._place), columns, SliceGrid(1), frame.settings.sizes.read_often
        )
        return RowsRunner(
            RowsRunnerParts(
                work=frame.engine.work,
                ports=tuple((rows_port(frame, edge, self._row_shape(edge), port, log), 0) for edge in edges),
                operator=operator,
                exact=None,
                logs=(log,),
                merged=merged_table(self._place),
                names=self._groups.result.names,
                sizes=frame.settings.sizes,
                allowed_us=0,
                changing=self._groups.result.changing,
            )
        )

    def _row_shape(self, edge: Stage) -> RowShape:
        keys = [Named(f"_k{at}", key.expression) for at, key in enumerate(self._node.keys)]
        made = [replace(named, expression=edge.source_expression(named.expression)) for named in (*keys, *self._lifted)]
        made.append(Named(WEIGHT, weight(edge)))
        computed = edge.source.computed if isinstance(edge.source, Scan) else ()
        lookups = self._frame.lookups(edge)
        return RowShape(edge.conjuncts, tuple(made), computed, written=written(edge), lookups=lookups)
