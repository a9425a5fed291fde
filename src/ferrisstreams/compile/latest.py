"""Puts the parts of a table together: the stages of what it reads, its log, and the runner over it."""

from __future__ import annotations

from dataclasses import replace

from ferrisstreams.compile.frame import Frame, current_table, written
from ferrisstreams.compile.lookup_runner import LookupRunner
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.rows_runner import RowsRunner, one_sided
from ferrisstreams.duck.engine import column
from ferrisstreams.operators.table import GONE, TableShape, table
from ferrisstreams.operators.weights import Result
from ferrisstreams.plan.nodes import DELETED, REPEATED, Latest, Named, Scan
from ferrisstreams.plan.stages import Stage


class TableCompiler:
    """That of the table at a place in the graph."""

    def __init__(self, frame: Frame, place: int) -> None:
        self._frame = frame
        self._place = place
        self._operator = frame.graph.operators[place]
        assert isinstance(self._operator.node, Latest)
        self._node = self._operator.node
        self._shape = self._table_shape()

    def compile(self) -> RowsRunner:
        frame = self._frame
        parts = one_sided(frame, self._place, table(self._shape), self._shape.result, self._row_shape)
        if frame.graph.is_looked_up(self._operator):
            return LookupRunner(parts, self._shape.key_names, current_table(self._place))
        return RowsRunner(parts)

    # --- private ----------------------------------------------------------------------------------------------------

    def _table_shape(self) -> TableShape:
        graph, key = self._frame.graph, self._node.key
        used = graph.read_columns(self._place)
        names = tuple(name for name in self._node.schema.names if name in used)
        result = Result(names, True, True, key if set(key) <= used else ())
        return TableShape(key, result)

    def _row_shape(self, edge: Stage) -> RowShape:
        named = {kept: name for name, kept in self._shape.names.items()}
        columns = [Named(kept, column(name)) for kept, name in {**named, GONE: DELETED, REPEATED: REPEATED}.items()]
        made = tuple(replace(each, expression=edge.source_expression(each.expression)) for each in columns)
        computed = edge.source.computed if isinstance(edge.source, Scan) else ()
        return RowShape(edge.conjuncts, made, computed, written=written(edge))
