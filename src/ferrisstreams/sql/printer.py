"""The canonical form of statements: one spelling for each meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sqlglot import exp

from ferrisstreams.config.values import Property
from ferrisstreams.plan.nodes import WINDOW_END, WINDOW_START
from ferrisstreams.sql.dialect import Ferris
from ferrisstreams.sql.durations import canonical_interval, is_length
from ferrisstreams.sql.statements import DeclareStream, Name, Script, Statement, StreamAs, View
from ferrisstreams.sql.syntax import TABLE_WINDOW, TABLE_WINDOW_KEYS, StreamWindow, WindowBound, Within
from ferrisstreams.sql.window_binding import is_edge

_CANONICAL_WINDOWS = {"TUMBLING": "TUMBLE", "HOPPING": "HOP", "SLIDING": "HOP", "CUMULATING": "CUMULATE"}


def print_script(script: Script) -> str:
    """The whole text: application annotations, then every statement, ending with a newline."""
    head = _annotations(script.annotations)
    body = "\n\n".join(print_statement(statement) + ";" for statement in script.statements)
    return f"{head}\n{body}\n" if head else f"{body}\n"


def print_statement(statement: Statement, annotations: bool = True) -> str:
    """One statement without its semicolon; also without its annotations, where they stand among other comments."""
    match statement:
        case DeclareStream():
            return _declaration(statement)
        case View():
            return f"CREATE VIEW {_name(statement.name)} AS\n{_query(statement.query)}"
        case StreamAs():
            kind = "TABLE" if statement.table else "STREAM"
            head = f"CREATE {kind} {_name(statement.name)} AS\n" if statement.name is not None else ""
            emit = f"\nEMIT {statement.emit.emit.name}" if statement.emit is not None else ""
            properties = f"\n{_with(statement.properties)}" if statement.properties else ""
            notes = _annotations(statement.annotations) if annotations else ""
            limit = f"\nLIMIT {statement.limit}" if statement.limit is not None else ""
            return f"{notes}{head}{_query(statement.query)}{limit}{emit}{properties}"


def _declaration(statement: DeclareStream) -> str:
    lines = [
        f"{_name(column.name)} {column.type.sql('duckdb')}{' NOT NULL' if column.not_null else ''}"
        for column in statement.columns
    ]
    if statement.watermark is not None:
        expression = _canonical(statement.watermark.expression).sql("duckdb")
        lines.append(f"WATERMARK FOR {_name(statement.watermark.column)} AS {expression}")
    if statement.key:
        lines.append(f"PRIMARY KEY ({', '.join(map(_name, statement.key))})")
    columns = ",\n".join(f"  {line}" for line in lines)
    declared = f" (\n{columns}\n)" if lines else ""
    properties = f" {_with(statement.properties)}" if statement.properties else ""
    kind = "TABLE" if statement.table else "STREAM"
    return f"CREATE {kind} {_name(statement.name)}{declared}{properties}"


def _annotations(annotations: Mapping[str, Property]) -> str:
    return "".join(f"-- @{name}: {written.value}\n" for name, written in annotations.items())


def _name(name: Name) -> str:
    return exp.Identifier(this=name.text, quoted=name.quoted).sql("duckdb")


def _with(properties: Mapping[str, Property]) -> str:
    lines = ",\n".join(f"  {_text(key)} = {_value(written.value)}" for key, written in properties.items())
    return f"WITH (\n{lines}\n)"


def _value(value: str | bool | int | float) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case _:
            return str(value)


def _text(text: str) -> str:
    return exp.Literal.string(text).sql("duckdb")


def _query(query: exp.Expression) -> str:
    return Ferris().generate(_canonical(query), pretty=True, comments=False, normalize_functions=False)


def _canonical(tree: exp.Expression) -> exp.Expression:
    """Windows as functions of GROUP BY, lengths as intervals, the window's bounds as columns."""
    holder = exp.Tuple(expressions=[tree.copy()])
    for select in list(holder.find_all(exp.Select)):
        _move_window(select)
        _name_bounds(select)
    for bound in list(holder.find_all(WindowBound)):
        bound.replace(exp.column(WINDOW_START if str(bound.this).endswith("START") else WINDOW_END))
    for window in list(holder.find_all(StreamWindow)):
        window.replace(_window(window))
    for table in holder.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and table.this.meta_get("string"):
            table.set("this", exp.Literal.string(table.name))
    for within in holder.find_all(Within):
        within.set("expressions", [canonical_interval(length) for length in within.expressions])
        if within.args.get("grace") is not None:
            within.set("grace", canonical_interval(within.args["grace"]))
    for interval in list(holder.find_all(exp.Interval)):
        interval.replace(canonical_interval(interval))
    return cast(exp.Expression, holder.expressions[0].pop())


def _move_window(select: exp.Select) -> None:
    windows = [item for item in select.args.get("windows") or [] if isinstance(item, StreamWindow)]
    source = select.args.get("from_")
    table = source.this if source is not None and source.this.args.get(TABLE_WINDOW) is not None else None
    if not windows and table is None:
        return
    select.set("windows", None)
    group = select.args.get("group") or exp.Group()
    select.set("group", group)
    if table is not None:
        windows.insert(0, table.args[TABLE_WINDOW])
        table.set(TABLE_WINDOW, None)
        table.set(TABLE_WINDOW_KEYS, None)
        group.set("expressions", [item for item in group.expressions if not is_edge(item)])
    for window in windows:
        group.append("expressions", window)


def _name_bounds(select: exp.Select) -> None:
    """The other names of the window's bounds become `window_start` and `window_end`."""
    group = select.args.get("group")
    if group is None or not any(isinstance(item, StreamWindow) for item in group.expressions):
        return
    for item in (*select.expressions, *group.expressions, select.args.get("having")):
        for node in list(item.find_all(exp.Column)) if item is not None else []:
            if is_edge(node):
                name = WINDOW_START if node.name.lower().endswith("start") else WINDOW_END
                node.replace(exp.column(name))


def _window(window: StreamWindow) -> exp.Expression:
    """The canonical call. A clause writes the size first, the function the slide."""
    spelling = str(window.this)
    arguments = [canonical_interval(argument) for argument in window.expressions]
    if window.args.get("clause") and spelling in ("SLIDING", "HOPPING", "HOP", "CUMULATING"):
        at = 0 if window.expressions and is_length(window.expressions[0]) else 1
        arguments[at : at + 2] = reversed(arguments[at : at + 2])
    named = sorted(window.args.get("named") or [], key=lambda item: _NAMED_ORDER.index(str(item.this)))
    arguments.extend(_named(item) for item in named)
    return exp.Anonymous(this=_CANONICAL_WINDOWS.get(spelling, spelling), expressions=arguments)


#: In the order of the function's arguments; the last two have no place there and are written out.
_NAMED_ORDER = ("ADVANCE BY", "SIZE", "GRACE PERIOD", "RETENTION")


def _named(item: exp.Expression) -> exp.Expression:
    length = canonical_interval(item.expression)
    return length if str(item.this) in _NAMED_ORDER[:2] else exp.var(f"{item.this} {length.sql('duckdb')}")
