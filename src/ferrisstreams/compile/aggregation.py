"""Puts the parts of an aggregate together: the stages of its ports, its log, and the runner over them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlglot import exp

from ferrisstreams.compile.current import CurrentForm, CurrentGroups, CurrentOutput
from ferrisstreams.compile.frame import Frame, event_time, same_columns, written
from ferrisstreams.compile.grouping import RETURNED, Grouping, GroupingStage, InOrder, Way
from ferrisstreams.compile.lifting import lifted
from ferrisstreams.compile.port import RunnerPort
from ferrisstreams.compile.result_columns import result_columns
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.runner import Emission, Runner, RunnerParts
from ferrisstreams.compile.sources import Chunk, ResultColumns, chunk_rows, merged_table
from ferrisstreams.compile.stage import Reduce, RowStage
from ferrisstreams.duck.engine import BindError, DataError
from ferrisstreams.duck.state_log import SliceGrid, StateLog
from ferrisstreams.errors import SqlError
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregate import aggregate
from ferrisstreams.operators.aggregates import plan_aggregates
from ferrisstreams.operators.base import ROWS_IN, TICK_NUMBER, Port, bind, parameter
from ferrisstreams.operators.changes import OP
from ferrisstreams.operators.log import START, STOP, LogShape, too_large
from ferrisstreams.operators.windows import Lateness, slice_us
from ferrisstreams.plan.expressions import typed_as
from ferrisstreams.plan.nodes import Emit, Named, Scan, WindowKind
from ferrisstreams.plan.stages import Operator, Stage
from ferrisstreams.sql.inference import reword

if TYPE_CHECKING:
    import pyarrow as pa

#: The slices of a log without time: all rows have slice 0.
UNTIMED = SliceGrid(1)


class AggregateCompiler:
    """Puts the parts of one aggregate together: that at a place in the graph."""

    def __init__(self, frame: Frame, place: int, operator: Operator | None = None) -> None:
        """`operator`: in the place of the graph's own."""
        self._frame = frame
        self._place = place
        self._operator = operator = operator or frame.graph.operators[place]
        self._needs_old = frame.tells_changes(place)
        self._merged = merged_table(place)
        self._aggregate = node = operator.aggregate
        self._engine = frame.engine
        self._settings = frame.settings
        self._lifted: list[Named] = []
        self._keys = tuple(Named(f"_k{index}", key.expression) for index, key in enumerate(node.keys))
        calls = tuple(replace(call, expression=lifted(call.expression, self._lifted)) for call in node.calls)
        self._plan = plan_aggregates(calls, node.schema)
        timed = all(self._event_time(edge) is not None for edge in operator.ports)
        self._shape = LogShape(tuple(key.name for key in self._keys), self._plan, timed=timed)

    def compile(self) -> Runner:
        try:
            return self._compile()
        except (BindError, DataError) as error:
            raise self._refusal() or error from error

    def _compile(self) -> Runner:
        operator, exact = (aggregate(shape, self._aggregate.window) for shape in (self._shape, self._shape.exactly()))
        columns = self._columns(operator.port)
        self._check_finals(columns)
        changing = self._aggregate.emit is Emit.CHANGES or self._settings.late_strategy == "update"
        sizes = self._settings.sizes
        log = StateLog(
            self._engine,
            self._frame.log_number(self._place),
            columns,
            self._slices(),
            sizes.read_often if changing else sizes.read_once,
        )
        work = self._engine.work

        parts = RunnerParts(
            work=work,
            ports=tuple(self._port(each, operator.port, log) for each in self._operator.ports),
            shape=self._shape,
            operator=operator,
            exact=exact,
            log=log,
            keep_unless=too_large(self._shape, dict(columns)),
            current=self._current(operator.port, log, columns),
            merged=self._merged,
            columns=self._result_columns(),
            empty=self._empty(columns),
            sizes=sizes,
        )
        return Runner(parts, self._emission())

    # --- private ----------------------------------------------------------------------------------------------------

    def _event_time(self, edge: Stage) -> str | None:
        """The column of what it reads that holds the event time, when it has one."""
        if isinstance(edge.source, Scan):
            return event_time(edge.source)
        return self._aggregate.window.time if self._aggregate.window is not None else None

    def _port(self, edge: Stage, port: Port, log: StateLog) -> RunnerPort:
        scan, strategy = edge.source, self._settings.late_strategy
        source = self._frame.reads(scan) if isinstance(scan, Scan) else None
        waits = self._aggregate.window is not None
        return RunnerPort(source, self._grouping(edge, port, log), waits, strategy == "dead_letter")

    def _columns(self, port: Port) -> list[tuple[str, str]]:
        """Names and types of the partial results that the log keeps."""
        edges = self._operator.ports
        return same_columns([self._frame.columns(edge, self._row_shape(edge), port) for edge in edges])

    def _result_columns(self) -> ResultColumns:
        return result_columns(self._aggregate, self._shape, self._needs_old, chunk_rows(self._merged))

    def _grouping(self, edge: Stage, port: Port, log: StateLog) -> Grouping:
        work, rows = self._engine.work, self._row_shape(edge)
        in_order: InOrder | None = None
        window, lateness = rows.window, rows.lateness
        if port.in_order is not None and window is not None and lateness is not None:
            in_order = InOrder(window.size_us, lateness.delay_us + lateness.allowed_us)

        def insert(way: Way, append: exp.Select) -> Reduce:
            returned = RETURNED if way.returning else ()
            number = parameter(TICK_NUMBER)
            return lambda projected_rows: log.insert(number, bind(append, **{ROWS_IN: projected_rows}), returned)

        def stage(way: Way) -> GroupingStage:
            shape = replace(rows, in_order=way.in_order)
            append = port.in_order if way.in_order and port.in_order is not None else port.append
            return RowStage(work, shape, insert(way, append), work.rows, retries, insert(way, port.append_apart))

        retries = self._frame.retries(edge)
        returned_groups = self._settings.sizes.returned_groups
        if not isinstance(edge.source, Scan):
            # Several chunks of results are one tick: what it has brought so far is more than the groups of one of them.
            returned_groups = sys.maxsize
        return Grouping(work, log, stage, in_order, returned_groups)

    def _current(self, port: Port, log: StateLog, columns: Sequence[tuple[str, str]]) -> CurrentGroups | None:
        """What serves small ticks of results that change; None where results wait, or values cannot be held so."""
        aggregate, work = self._aggregate, self._engine.work
        if aggregate.emit is not Emit.CHANGES or aggregate.window is not None:
            return None
        if self._frame.graph.has_below(self._place):
            return None
        form = CurrentForm.make(self._shape, columns, self._place, self._needs_old)
        if form is None:
            return None
        stages = [partial(self._current_stage, edge, port) for edge in self._operator.ports]
        quick = result_columns(aggregate, self._shape, self._needs_old, form.results())
        output = CurrentOutput(self._result_columns(), quick, self._merged)
        return CurrentGroups(work, log, form, stages, output, self._settings.sizes)

    def _current_stage(
        self, edge: Stage, port: Port, carried: Callable[[exp.Select], exp.Select]
    ) -> RowStage[pa.Table]:
        """What makes partial results of a fetch of a scan as Arrow."""

        def reduce(append: exp.Select) -> Reduce:
            return lambda projected_rows: carried(bind(append, **{ROWS_IN: projected_rows}))

        work, retries = self._engine.work, self._frame.retries(edge)
        apart = reduce(port.append_apart)
        return RowStage(work, self._row_shape(edge), reduce(port.append), work.arrow, retries, apart)

    def _row_shape(self, edge: Stage) -> RowShape:
        window, scan = self._aggregate.window, edge.source
        columns = tuple(
            replace(named, expression=edge.source_expression(named.expression))
            for named in (*self._keys, *self._lifted)
        )
        lookups = self._frame.lookups(edge)
        if not isinstance(scan, Scan):
            time = self._event_time(edge)
            return RowShape(edge.conjuncts, columns, time=time, window=window, written=written(edge), lookups=lookups)
        lateness = None
        if window is not None:
            window = replace(window, time=edge.source_column(window.time))
            declared = scan.source.event_time
            assert declared is not None
            update = self._settings.late_strategy == "update"
            lateness = Lateness(declared.delay_us, self._frame.inputs[scan.source.name].allowed_lateness_us, update)
        return RowShape(edge.conjuncts, columns, scan.computed, event_time(scan), window, lateness, lookups=lookups)

    def _slices(self) -> SliceGrid:
        window = self._aggregate.window
        if window is None or window.kind is WindowKind.SESSION:
            return UNTIMED
        return SliceGrid(slice_us(window), window.origin_us)

    def _check_finals(self, columns: list[tuple[str, str]]) -> None:
        """Bind what is made of the merged partial results, before there are any. Raises BindError."""
        kept = [(ROW, "BIGINT"), *(((OP, "VARCHAR"),) if self._needs_old else ())]
        bounds = [(name, "BIGINT") for name in (START, STOP) if self._aggregate.window is not None]
        names = {name for name, _ in bounds}
        typed = [*kept, *bounds, *(item for item in columns if item[0] not in names)]
        empty = exp.select(*[exp.alias_(typed_as(exp.null(), type_), name, quoted=True) for name, type_ in typed])
        final = self._result_columns().all
        self._engine.work.types(final.with_(self._merged, as_=empty, copy=False), Chunk(0, 0).parameters)

    def _refusal(self) -> SqlError | None:
        """What the engine says of the first call that it does not take with the columns that hold its arguments."""
        for call in self._aggregate.calls:
            alone = replace(self._operator, node=replace(self._aggregate, calls=(call,)))
            compiler = AggregateCompiler(self._frame, self._place, alone)
            try:
                compiler._check_finals(compiler._columns(aggregate(compiler._shape, self._aggregate.window).port))
            except (BindError, DataError) as error:
                message, code, hint = reword(str(error))
                return SqlError(message, code, hint, call.position)
        return None

    def _emission(self) -> Emission:
        window = self._aggregate.window
        return Emission(
            emit=self._aggregate.emit,
            windowed=window is not None,
            allowed_us=self._frame.allowed_us(self._operator),
            update=self._settings.late_strategy == "update" and window is not None,
            retract=self._needs_old,
            single=window is None and not self._keys,
            once=self._aggregate.emit is Emit.FINAL and window is None and not self._frame.is_last(self._place),
        )

    def _empty(self, columns: list[tuple[str, str]]) -> exp.Select:
        """The merged result over no rows: one row of empty partials."""
        nulls = [
            exp.alias_(typed_as(exp.null(), type_), name, quoted=True)
            for name, type_ in columns
            if any(name == partial.name for partial in self._plan.partials)
        ]
        return exp.select(*(nulls or [exp.alias_(exp.Null(), "_nothing")]))
