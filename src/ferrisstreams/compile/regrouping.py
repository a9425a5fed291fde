"""Puts the parts of an aggregate over rows that can be taken back together."""

from __future__ import annotations

from dataclasses import replace

from ferrisstreams.compile.frame import Frame, written
from ferrisstreams.compile.lifting import lifted
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.rows_runner import RowsRunner, one_sided, weight
from ferrisstreams.duck.engine import BindError, DataError, column
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
        self._node = node = frame.graph.operators[place].aggregate
        self._lifted: list[Named] = []
        calls = [replace(call, expression=lifted(call.expression, self._lifted)) for call in node.calls]
        types = {item.name: item.type for item in node.schema}
        keys = tuple(Named(key.name, typed_as(column(f"_k{at}"), types[key.name])) for at, key in enumerate(node.keys))
        final = node.emit is Emit.FINAL
        tells = frame.tells_changes(place)
        result = Result(node.schema.names, not final, tells, tuple(key.name for key in node.keys))
        self._groups = Groups(keys, plan_weighted(calls, node.schema, WEIGHT), result, final)

    def compile(self) -> RowsRunner:
        operator, result = regroup(self._groups), self._groups.result
        try:
            return RowsRunner(one_sided(self._frame, self._place, operator, result, self._row_shape))
        except (BindError, DataError) as error:
            message, code, hint = reword(str(error))
            raise SqlError(message, code, hint, self._node.calls[0].position if self._node.calls else None) from error

    def _row_shape(self, edge: Stage) -> RowShape:
        keys = [Named(f"_k{at}", key.expression) for at, key in enumerate(self._node.keys)]
        made = [replace(named, expression=edge.source_expression(named.expression)) for named in (*keys, *self._lifted)]
        made.append(Named(WEIGHT, weight(edge)))
        computed = edge.source.computed if isinstance(edge.source, Scan) else ()
        lookups = self._frame.lookups(edge)
        return RowShape(edge.conjuncts, tuple(made), computed, written=written(edge), lookups=lookups)
