"""Plan to pipeline: the one place that sees both. It cuts the plan at the operators and joins the stages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import assert_never

from sqlglot import exp

from ferrisstreams.compile.aggregation import AggregateCompiler
from ferrisstreams.compile.changelog import Changelog, changelog_of
from ferrisstreams.compile.envelopes import Envelopes
from ferrisstreams.compile.frame import Frame, changes_on, event_time, written
from ferrisstreams.compile.graph import Entry, GraphPipeline, Into, Node, Running
from ferrisstreams.compile.joining import JoinCompiler
from ferrisstreams.compile.latest import TableCompiler
from ferrisstreams.compile.message_rows import (
    TRACE_HEADER,
    Beside,
    HeaderForm,
    MessageLines,
    escapes,
    key_expression,
)
from ferrisstreams.compile.payload import Lines, Reduction, Written
from ferrisstreams.compile.pipeline import Branch, Carrying, OutputStage, Pipeline, StatelessPipeline
from ferrisstreams.compile.regrouping import RegroupCompiler
from ferrisstreams.compile.rows import RowShape
from ferrisstreams.compile.settings import CompileSettings, Inputs
from ferrisstreams.compile.stage import Retries, RowStage
from ferrisstreams.duck.engine import Connection, Engine, column
from ferrisstreams.errors import ConfigError, SqlError, placed_at
from ferrisstreams.formats.base import Encoder
from ferrisstreams.operators.aggregates import plan_aggregates, template, weighted_kinds
from ferrisstreams.operators.changes import INSERTED, OP, REPLACED
from ferrisstreams.operators.ports import ResultPort
from ferrisstreams.plan.nodes import WINDOW_END, Aggregate, Join, Latest, Named, Scan, Sink, WindowKind
from ferrisstreams.plan.stages import Operator, Reader, Stage, StageGraph, cut
from ferrisstreams.schema import Column, Schema


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
    return changelog_of(graph, settings.changelog, update, settings.messages)


def compile_plan(sink: Sink, engine: Engine, inputs: Inputs, settings: CompileSettings) -> Pipeline:
    """The pipeline of a canonical plan. Raises ConfigError where settings and plan contradict."""
    graph = cut(sink)
    changelog = _changelog(graph, settings)
    _refuse_reserved(graph, changelog.retracts)
    frame = Frame(graph, changelog, engine, inputs, settings)
    return _compile_graph(frame) if graph.keeps_state else _compile_stateless(frame)


#: Names that the statements of a stage give to their own columns.
_RESERVED = re.compile(
    r"_(row|outcome|event_us|closed|last_start|failed|line|which|op|value|place|message_key|ferris_\w+)"
    r"|_(met\d+_|computed|met|agg|key|header|k|a|p)\d+",
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


def _compile_stateless(frame: Frame) -> Pipeline:
    return StatelessPipeline([_compile_branch(frame, output) for output in frame.graph.outputs])


def _compile_branch(frame: Frame, output: Stage) -> Branch:
    graph, changelog, settings = frame.graph, frame.changelog, frame.settings
    scan = output.source
    assert isinstance(scan, Scan)
    columns = graph.columns(output)
    if changelog.retracts:
        columns = (Named("op", exp.Literal.string("+I")), *columns)
    name = event_time(scan)
    changes = (Named(OP, exp.Literal.string(INSERTED)),) if changelog.enveloped else ()
    rows = (*columns, *graph.header_columns(output), *changes)
    shape = RowShape(output.conjuncts, rows, scan.computed, name, lookups=frame.lookups(output))
    retries = frame.retries(output)
    reduction = _reduction(settings, graph, changelog, columns, timed=name is not None)
    stage = _row_stage(frame.engine.work, shape, reduction, retries)
    made = OutputStage(stage, reduction, settings.output_retries)
    carrying = None
    if settings.messages is not None:
        reduction = _reduction(settings, graph, changelog, columns, timed=name is not None, carries=True)
        stage = _row_stage(frame.engine.work, shape, reduction, retries)
        carrying = Carrying(
            OutputStage(stage, reduction, settings.output_retries),
            not changelog.key,
            TRACE_HEADER not in _header_form(graph).changed,
        )
    return Branch(frame.reads(scan), made, carrying)


def _compile_graph(frame: Frame) -> Pipeline:
    graph = frame.graph
    if frame.settings.late_strategy == "update" and not all(map(frame.is_last, range(len(graph.operators)))):
        raise ConfigError(
            "'late.data.strategy' = 'update' changes results that an aggregate has already taken",
            "E3008",
            "use 'allowed.lateness', which keeps windows open for longer, or another strategy",
        )
    entries = [_entry(frame, scan, graph.reader(scan)) for scan in graph.scans]
    nodes = [
        Node(
            _operator(frame, place),
            None if graph.is_looked_up(operator) else _taker(frame, operator, graph.reader(operator)),
            any(isinstance(port.source, Scan) for port in operator.ports),
        )
        for place, operator in enumerate(graph.operators)
    ]
    return GraphPipeline(entries, nodes)


def _entry(frame: Frame, scan: Scan, reader: Reader) -> Entry:
    if reader.place is not None:
        return Entry(reader.place, reader.port)
    return Entry(_compile_branch(frame, frame.graph.outputs[reader.port]))


def _operator(frame: Frame, place: int) -> Running:
    node = frame.graph.operators[place].node
    match node:
        case Aggregate():
            changes = any(changes_on(edge) for edge in frame.graph.operators[place].ports)
            return RegroupCompiler(frame, place).compile() if changes else AggregateCompiler(frame, place).compile()
        case Join():
            return JoinCompiler(frame, place).compile()
        case Latest():
            return TableCompiler(frame, place).compile()
    assert_never(node)


def _taker(frame: Frame, operator: Operator, reader: Reader) -> Into | OutputStage:
    if reader.place is None:
        return _output(frame, frame.graph.outputs[reader.port])
    above = frame.graph.operators[reader.place]
    return Into(reader.place, reader.port, _result_port(operator, above, reader.port))


def _result_port(below: Operator, above: Operator, port: int) -> ResultPort:
    window = below.node.window if isinstance(below.node, Aggregate) else None
    if isinstance(below.node, Join) and below.node.bound is not None:
        return ResultPort(None, behind_us=max(below.node.bound.high_us, 0))
    match above.node:
        case Aggregate(window=own) if own is not None:
            return ResultPort(window, own.time, own.kind is WindowKind.GIVEN)
        case Join(bound=bound) if bound is not None:
            time = bound.right_time if above.side_of(above.ports[port]) else bound.left_time
            return ResultPort(window, above.ports[port].source_column(time))
    return ResultPort(window, WINDOW_END)


#: An old row and a new one as rows that have nothing to do with each other.
_APART = "CASE op WHEN '-U' THEN '-D' WHEN '+U' THEN '+I' ELSE op END"


def _output(frame: Frame, edge: Stage) -> OutputStage:
    """What makes rows of the output of an operator's results."""
    changelog, settings = frame.changelog, frame.settings
    columns, above = frame.graph.columns(edge), edge.conjuncts
    changes: tuple[Named, ...] = ()
    # Of an old row and a new one a condition may let only one through.
    op = template(_APART, op=column(OP)) if above else column(OP)
    if changelog.retracts:
        columns = (Named("op", op), *columns)
    elif changelog.enveloped:
        changes = (Named(OP, op),)
    elif changelog.deletes:
        # What is replaced needs no message of its own; what disappears is one without a value.
        changes = (Named(OP, op),)
        above = (*above, op.copy().neq(exp.Literal.string(REPLACED)))
    reduction = _reduction(settings, frame.graph, changelog, columns, timed=False)
    rows = (*columns, *frame.graph.header_columns(edge), *changes)
    shape = RowShape(above, rows, written=written(edge), lookups=frame.lookups(edge))
    stage = _row_stage(frame.engine.work, shape, reduction, settings.output_retries)
    return OutputStage(stage, reduction, settings.output_retries)


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


def state_kinds(aggregate: Aggregate) -> Mapping[str, str]:
    """How each call of an aggregate is kept (`decomposable`, `ordered`, `holistic`), for EXPLAIN."""
    if aggregate.input.facts.changes:
        return weighted_kinds(aggregate.calls, aggregate.schema)
    return plan_aggregates(aggregate.calls, aggregate.schema).kinds
