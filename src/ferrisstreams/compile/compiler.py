"""Plan to pipeline: the one place that sees both. It cuts the plan at its stateful nodes and joins the stages."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlglot import exp

from ferrisstreams.compile.changelog import Changelog, changelog_of
from ferrisstreams.compile.current import CurrentForm, CurrentGroups, CurrentOutput
from ferrisstreams.compile.envelopes import Envelopes
from ferrisstreams.compile.graph import Chain, Entry, GraphPipeline
from ferrisstreams.compile.grouping import RETURNED, Grouping, GroupingStage, InOrder, Way
from ferrisstreams.compile.message_rows import (
    TRACE_HEADER,
    Beside,
    HeaderForm,
    MessageLines,
    escapes,
    key_expression,
)
from ferrisstreams.compile.payload import Lines, Reduction, Written
from ferrisstreams.compile.pipeline import Branch, Carrying, Input, OutputStage, Pipeline, StatelessPipeline
from ferrisstreams.compile.result_columns import result_columns
from ferrisstreams.compile.rows import AHEAD, SEEN, RowShape, judged, projected, with_computed
from ferrisstreams.compile.runner import Emission, Runner, RunnerParts, RunnerPort
from ferrisstreams.compile.settings import CompileSettings, Inputs
from ferrisstreams.compile.sources import Chunk, ResultColumns, chunk_rows, merged_table
from ferrisstreams.compile.stage import Reduce, Retries, RowStage
from ferrisstreams.compile.system_join import SystemJoin
from ferrisstreams.duck.engine import BindError, Connection, DataError, Engine, column
from ferrisstreams.duck.state_log import SliceGrid, StateLog
from ferrisstreams.errors import ConfigError, InternalError, SqlError, placed_at
from ferrisstreams.formats.base import ROW, Encoder
from ferrisstreams.operators.aggregate import aggregate
from ferrisstreams.operators.aggregates import plan_aggregates, takes_doubles
from ferrisstreams.operators.base import CLOSED_THROUGH, ROWS_IN, TICK_NUMBER, Port, bind, parameter
from ferrisstreams.operators.calls import replace_arguments
from ferrisstreams.operators.changes import INSERTED, OP, REPLACED
from ferrisstreams.operators.log import (
    FIRST_ROW,
    LAST_ROW,
    LATE_WINDOWS,
    OUTCOME,
    PARTITION,
    ROW_BASE,
    ROWS,
    START,
    STOP,
    LogShape,
    too_large,
)
from ferrisstreams.operators.log import SEEN as SEEN_COLUMN
from ferrisstreams.operators.ports import ResultPort
from ferrisstreams.operators.windows import Lateness, slice_us
from ferrisstreams.plan.expressions import typed_as
from ferrisstreams.plan.nodes import (
    Aggregate,
    Emit,
    Named,
    Scan,
    Sink,
    WindowKind,
)
from ferrisstreams.plan.stages import Operator, StageGraph, cut
from ferrisstreams.plan.stages import Stage as Edge
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.inference import reword

if TYPE_CHECKING:
    import pyarrow as pa

#: The slices of a log without time: all rows have slice 0.
_UNTIMED = SliceGrid(1)


def _header_form(graph: StageGraph) -> HeaderForm:
    types = {item.name: item.type for item in graph.schema}
    headers = graph.sink.headers
    return HeaderForm(
        tuple((change.name, change.column, types[change.column]) for change in headers if change.column),
        frozenset(change.name for change in headers),
    )


def output_schema(sink: Sink, settings: CompileSettings) -> Schema:
    """The columns of the rows that the sink is given."""
    if not _changelog(cut(sink), settings).retracts:
        return sink.schema
    return Schema((Column("op", "VARCHAR", False), *sink.schema.columns))


def message_key(sink: Sink, settings: CompileSettings) -> tuple[str, ...]:
    """The output columns that key the messages, the start of a window among them where they replace one another."""
    return _changelog(cut(sink), settings).key


def _changelog(graph: StageGraph, settings: CompileSettings) -> Changelog:
    update = settings.late_strategy == "update"
    return changelog_of(graph.sink, graph.aggregates, settings.changelog, update, settings.messages)


def compile_plan(sink: Sink, engine: Engine, inputs: Inputs, settings: CompileSettings) -> Pipeline:
    """The pipeline of a canonical plan. Raises ConfigError where settings and plan contradict."""
    graph = cut(sink)
    changelog = _changelog(graph, settings)
    _refuse_reserved(graph, changelog.retracts)
    if not graph.keeps_state:
        return _compile_stateless(graph, changelog, engine, inputs, settings)
    return _compile_graph(graph, changelog, engine, inputs, settings)


#: Names that the statements of a stage give to their own columns.
_RESERVED = re.compile(
    r"_(row|outcome|event_us|closed|last_start|failed|line|which|op|value|place|message_key)|_(computed|agg|key|header|k|a|p)\d+",
    re.IGNORECASE,
)


def is_reserved(name: str) -> bool:
    """Whether no column of a source or a result may be called so."""
    return _RESERVED.fullmatch(name) is not None


def _refuse_reserved(graph: StageGraph, retract: bool) -> None:
    """Raises SqlError for columns of the source or of the result that are named like the engine's own."""
    declared = [(column.name, source.position) for source in graph.sources for column in source.schema]
    made = [named for output in graph.outputs for named in graph.columns(output)]
    for name, position in [*declared, *((named.name, named.position) for named in made)]:
        if is_reserved(name):
            raise SqlError(
                f"the column name {name} is reserved for the engine", "E1103", "give the column another name", position
            )
    if retract and any(named.name.lower() == "op" for named in made):
        raise SqlError(
            "the column op is what a changelog of retractions is written in",
            "E1103",
            "give the column another name, or write 'changelog' = 'append'",
            graph.sources[0].position,
        )


def _compile_stateless(
    graph: StageGraph, changelog: Changelog, engine: Engine, inputs: Inputs, settings: CompileSettings
) -> Pipeline:
    return StatelessPipeline(
        [_compile_branch(graph, output, changelog, engine, inputs, settings) for output in graph.outputs]
    )


def _compile_branch(
    graph: StageGraph,
    output: Edge,
    changelog: Changelog,
    engine: Engine,
    inputs: Inputs,
    settings: CompileSettings,
) -> Branch:
    scan = output.source
    assert isinstance(scan, Scan)
    columns = graph.columns(output)
    if changelog.retracts:
        columns = (Named("op", exp.Literal.string("+I")), *columns)
    name = _event_time(scan)
    changes = (Named(OP, exp.Literal.string(INSERTED)),) if changelog.enveloped else ()
    rows = (*columns, *graph.header_columns(output), *changes)
    shape = RowShape(output.conjuncts, rows, scan.computed, name)
    retries = inputs[scan.source.name].retries
    reduction = _reduction(settings, graph, changelog, columns, timed=name is not None)
    stage = _row_stage(engine.work, shape, reduction, retries)
    written = OutputStage(stage, reduction, settings.output_retries)
    carrying = None
    if settings.messages is not None:
        reduction = _reduction(settings, graph, changelog, columns, timed=name is not None, carries=True)
        stage = _row_stage(engine.work, shape, reduction, retries)
        carrying = Carrying(
            OutputStage(stage, reduction, settings.output_retries),
            not changelog.key,
            TRACE_HEADER not in _header_form(graph).changed,
        )
    return Branch(_input(graph, scan, engine, inputs), written, carrying)


def _event_time(scan: Scan) -> str | None:
    return scan.source.event_time.column if scan.source.event_time is not None else None


def _input(graph: StageGraph, scan: Scan, engine: Engine, inputs: Inputs) -> Input:
    own = inputs[scan.source.name]
    system = graph.system_columns(scan)
    joined = SystemJoin(engine.work, system) if system else None
    return Input(engine.work, own.decoder, _event_time(scan), own.max_ahead_us, joined)


def _compile_graph(
    graph: StageGraph, changelog: Changelog, engine: Engine, inputs: Inputs, settings: CompileSettings
) -> Pipeline:
    if any(len(chain.places) > 1 for chain in graph.chains) and settings.late_strategy == "update":
        raise ConfigError(
            "'late.data.strategy' = 'update' changes results that an aggregate has already taken",
            "E3008",
            "use 'allowed.lateness', which keeps windows open for longer, or another strategy",
        )
    entries: list[Entry] = []
    for chain in graph.chains:
        if not chain.places:
            entries.append(Entry(_compile_branch(graph, chain.output, changelog, engine, inputs, settings)))
            continue
        compilers = [_AggregateCompiler(graph, at, changelog, engine, inputs, settings) for at in chain.places]
        operators = [graph.operators[at] for at in chain.places]
        runners = [compiler.compile() for compiler in compilers]
        ports = [_result_port(operator) for operator in operators[1:]]
        compiled = Chain(runners, ports, compilers[-1].output(chain.output))
        entries += [Entry(compiled, port) for port in range(len(operators[0].ports))]
    return GraphPipeline(entries)


def _result_port(operator: Operator) -> ResultPort:
    """Of an operator over the results of another."""
    source, window = operator.stage.source, operator.node.window
    assert isinstance(source, Operator)
    if window is None:
        return ResultPort(source.node.window)
    return ResultPort(source.node.window, window.time, window.kind is WindowKind.GIVEN)


def _row_stage(work: Connection, shape: RowShape, reduction: Reduction, retries: Retries) -> RowStage[Written]:
    return RowStage(work, shape, reduction.reduce, lambda text, bound: reduction.run(work, text, bound), retries)


def _reduction(
    settings: CompileSettings,
    graph: StageGraph,
    changelog: Changelog,
    columns: tuple[Named, ...],
    timed: bool,
    carries: bool = False,
) -> Reduction:
    names = tuple(named.name for named in columns)
    schema = graph.schema.visible
    if settings.encoder is None:
        # Imported here: a job between files does without Arrow and its 25 MB.
        from ferrisstreams.compile.tables import Tables

        return Tables(names, timed)
    if len(columns) > len(schema):
        schema = Schema((Column("op", "VARCHAR", False), *schema.columns))
    lines = Lines(_line(settings.encoder, schema, columns), names, timed)
    if settings.messages is None:
        return lines
    key = key_expression(schema, changelog.key) if changelog.key else None
    also = Beside(key, _header_form(graph), carries)
    if changelog.enveloped:
        if escapes(settings.encoder):
            raise ConfigError("'changelog' = 'debezium' is written as JSON", "E3005", "use 'format' = 'json'")
        return Envelopes(lines, also, escapes=False)
    return MessageLines(lines, also, escapes(settings.encoder), OP if changelog.deletes else None)


def _line(encoder: Encoder, schema: Schema, columns: tuple[Named, ...]) -> exp.Expression:
    """The row as the format writes it. Raises SqlError, at its place, for a column that the format cannot hold."""
    try:
        return encoder.line(schema)
    except SqlError:
        for column_, named in zip(schema, columns, strict=True):
            with placed_at(named.position):
                encoder.line(Schema((column_,)))
        raise


class _AggregateCompiler:
    """Puts the parts of one aggregate together: that at a place in the graph."""

    def __init__(
        self,
        graph: StageGraph,
        place: int,
        changelog: Changelog,
        engine: Engine,
        inputs: Inputs,
        settings: CompileSettings,
    ) -> None:
        self._graph = graph
        self._place = place
        self._operator = operator = graph.operators[place]
        below = operator.ports[0].source
        self._below = below.node if isinstance(below, Operator) else None
        self._is_last = any(chain.places and chain.places[-1] == place for chain in graph.chains)
        self._needs_old = changelog.needs_old and self._is_last
        self._merged = merged_table(place)
        self._changelog = changelog
        self._aggregate = aggregate = operator.node
        self._engine = engine
        self._inputs = inputs
        self._settings = settings
        self._lifted: list[Named] = []
        self._keys = tuple(Named(f"_k{index}", key.expression) for index, key in enumerate(aggregate.keys))
        calls = tuple(replace(call, expression=self._lift(call.expression)) for call in aggregate.calls)
        self._plan = plan_aggregates(calls, aggregate.schema)
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
            self._engine, self._place, columns, self._slices(), sizes.read_often if changing else sizes.read_once
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

    def _event_time(self, edge: Edge) -> str | None:
        """The column of what it reads that holds the event time, when it has one."""
        if isinstance(edge.source, Scan):
            return _event_time(edge.source)
        return self._aggregate.window.time if self._aggregate.window is not None else None

    def _port(self, edge: Edge, port: Port, log: StateLog) -> RunnerPort:
        scan = edge.source
        source = _input(self._graph, scan, self._engine, self._inputs) if isinstance(scan, Scan) else None
        return RunnerPort(source, self._grouping(edge, port, log))

    def _columns(self, port: Port) -> list[tuple[str, str]]:
        """Names and types of the partial results that the log keeps, which are the same of every port."""
        found = [
            [item for item in self._delta_types(edge, port) if item[0] not in _DELTA_ONLY]
            for edge in self._operator.ports
        ]
        if any(columns != found[0] for columns in found):
            raise InternalError(f"the queries of a union have different partial results: {found}")
        return found[0]

    def _result_columns(self) -> ResultColumns:
        return result_columns(self._aggregate, self._shape, self._needs_old, chunk_rows(self._merged))

    def _grouping(self, edge: Edge, port: Port, log: StateLog) -> Grouping:
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

        if isinstance(edge.source, Scan):
            retries = self._inputs[edge.source.source.name].retries
            returned_groups = self._settings.sizes.returned_groups
        else:
            # Several chunks of results are one tick: what it has brought so far is more than the groups of one of them.
            retries, returned_groups = self._settings.output_retries, sys.maxsize
        return Grouping(work, log, stage, in_order, returned_groups)

    def _current(self, port: Port, log: StateLog, columns: Sequence[tuple[str, str]]) -> CurrentGroups | None:
        """What serves small ticks of results that change; None where results wait, or values cannot be held so."""
        aggregate, work = self._aggregate, self._engine.work
        if aggregate.emit is not Emit.CHANGES or aggregate.window is not None or self._below is not None:
            return None
        form = CurrentForm.make(self._shape, columns, self._place, self._needs_old)
        if form is None:
            return None
        stages = [partial(self._current_stage, edge, port) for edge in self._operator.ports]
        quick = result_columns(aggregate, self._shape, self._needs_old, form.results())
        output = CurrentOutput(self._result_columns(), quick, self._merged)
        return CurrentGroups(work, log, form, stages, output, self._settings.sizes)

    def _current_stage(self, edge: Edge, port: Port, carried: Callable[[exp.Select], exp.Select]) -> RowStage[pa.Table]:
        """What makes partial results of a fetch of a scan as Arrow."""

        def reduce(append: exp.Select) -> Reduce:
            return lambda projected_rows: carried(bind(append, **{ROWS_IN: projected_rows}))

        assert isinstance(edge.source, Scan)
        work, retries = self._engine.work, self._inputs[edge.source.source.name].retries
        apart = reduce(port.append_apart)
        return RowStage(work, self._row_shape(edge), reduce(port.append), work.arrow, retries, apart)

    def _lift(self, call: exp.Expression) -> exp.Expression:
        """The call over columns `_a0` … that hold its arguments, so that they are made in the row statement."""
        condition = call.expression.this.unnest() if isinstance(call, exp.Filter) else None
        is_cast = takes_doubles(call)

        def lift(argument: exp.Expression) -> exp.Expression:
            while isinstance(argument, exp.Paren):
                argument = argument.this  # What a DISTINCT call is of, and ordered by, are one column.
            guarded = argument.copy()
            if is_cast and argument != condition and not isinstance(argument, exp.Column):
                # A value that is not a number fails its row, not the group.
                guarded = exp.cast(guarded, "DOUBLE")
            if condition is not None and argument != condition and not isinstance(argument, exp.Column):
                guarded = exp.Case().when(condition.copy(), guarded)
            for named in self._lifted:
                if named.expression == guarded:
                    return column(named.name)
            self._lifted.append(Named(f"_a{len(self._lifted)}", guarded))
            return column(self._lifted[-1].name)

        return replace_arguments(call, lift)

    def _row_shape(self, edge: Edge) -> RowShape:
        window, scan = self._aggregate.window, edge.source
        columns = tuple(
            replace(named, expression=edge.source_expression(named.expression))
            for named in (*self._keys, *self._lifted)
        )
        if not isinstance(scan, Scan):
            written = (*scan.node.keys, *scan.node.calls)
            return RowShape(edge.conjuncts, columns, time=self._event_time(edge), window=window, written=written)
        lateness = None
        if window is not None:
            window = replace(window, time=edge.source_column(window.time))
            time = scan.source.event_time
            assert time is not None
            update = self._settings.late_strategy == "update"
            lateness = Lateness(time.delay_us, self._inputs[scan.source.name].allowed_lateness_us, update)
        return RowShape(edge.conjuncts, columns, scan.computed, _event_time(scan), window, lateness)

    def _slices(self) -> SliceGrid:
        window = self._aggregate.window
        if window is None or window.kind is WindowKind.SESSION:
            return _UNTIMED
        return SliceGrid(slice_us(window), window.origin_us)

    def _delta_types(self, edge: Edge, port: Port) -> list[tuple[str, str]]:
        """Names and types of the batch's partial results, asked of the engine over an empty typed row."""
        rows, source = self._row_shape(edge), edge.source
        read: tuple[Column, ...] = (
            (*source.source.schema, *self._graph.system_columns(source))
            if isinstance(source, Scan)
            else source.node.schema.columns
        )
        nulls = [exp.alias_(typed_as(exp.null(), c.type), c.name, quoted=True) for c in read]
        empty = exp.select(exp.alias_(exp.cast(exp.Literal.number(0), "BIGINT"), ROW), *nulls)
        read_rows = projected(rows, judged(rows, with_computed(rows, empty), marked=False))
        statement = bind(port.append, **{ROWS_IN: read_rows})
        return self._engine.work.types(
            statement, {SEEN: 0, CLOSED_THROUGH: 0, PARTITION: "", ROW_BASE: 0, AHEAD: 0, TICK_NUMBER: 0}
        )

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
            operators = self._graph.operators
            graph = replace(self._graph, operators=(*operators[: self._place], alone, *operators[self._place + 1 :]))
            compiler = _AggregateCompiler(
                graph, self._place, self._changelog, self._engine, self._inputs, self._settings
            )
            try:
                compiler._check_finals(compiler._columns(aggregate(compiler._shape, self._aggregate.window).port))
            except (BindError, DataError) as error:
                message, code, hint = reword(str(error))
                return SqlError(message, code, hint, call.position)
        return None

    def output(self, edge: Edge) -> OutputStage:
        """What makes rows of the output of the last operator's results."""
        columns, above = self._graph.columns(edge), edge.conjuncts
        changes: tuple[Named, ...] = ()
        if self._changelog.retracts:
            columns = (Named("op", column(OP)), *columns)
        elif self._changelog.enveloped:
            changes = (Named(OP, column(OP)),)
        elif self._changelog.deletes:
            # What is replaced needs no message of its own; what disappears is one without a value.
            changes = (Named(OP, column(OP)),)
            above = (*above, column(OP).neq(exp.Literal.string(REPLACED)))
        reduction = _reduction(self._settings, self._graph, self._changelog, columns, timed=False)
        retries = self._settings.output_retries
        written = (*self._aggregate.keys, *self._aggregate.calls)
        shape = RowShape(above, (*columns, *self._graph.header_columns(edge), *changes), written=written)
        stage = _row_stage(self._engine.work, shape, reduction, retries)
        return OutputStage(stage, reduction, retries)

    def _emission(self) -> Emission:
        strategy = self._settings.late_strategy
        window = self._aggregate.window
        return Emission(
            emit=self._aggregate.emit,
            windowed=window is not None,
            allowed_us=self._allowed_us(),
            update=strategy == "update" and window is not None,
            retract=self._needs_old,
            late_letters=strategy == "dead_letter",
            single=window is None and not self._keys,
            once=window is None and not self._is_last,
        )

    def _allowed_us(self) -> int:
        """How long windows wait for late rows: as long as the source with the most of them may be late."""
        scans = [port.source for port in self._operator.ports if isinstance(port.source, Scan)]
        return max((self._inputs[scan.source.name].allowed_lateness_us for scan in scans), default=0)

    def _empty(self, columns: list[tuple[str, str]]) -> exp.Select:
        """The merged result over no rows: one row of empty partials."""
        nulls = [
            exp.alias_(typed_as(exp.null(), type_), name, quoted=True)
            for name, type_ in columns
            if any(name == partial.name for partial in self._plan.partials)
        ]
        return exp.select(*(nulls or [exp.alias_(exp.Null(), "_nothing")]))


#: Columns of the batch's partial results that the log does not keep.
_DELTA_ONLY = frozenset({OUTCOME, ROWS, SEEN_COLUMN, LATE_WINDOWS, FIRST_ROW, LAST_ROW, "_piece"})


def state_kinds(aggregate: Aggregate) -> Mapping[str, str]:
    """How each call of an aggregate is kept (`decomposable`, `ordered`, `holistic`), for EXPLAIN."""
    return plan_aggregates(aggregate.calls, aggregate.schema).kinds
