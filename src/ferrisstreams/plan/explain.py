"""A job's plan for people and tools: an indented tree, JSON, and a Mermaid flowchart. The output is stable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.plan.bounds import Growth, StateKinds, kept_rows, kept_state
from ferrisstreams.plan.expressions import as_written
from ferrisstreams.plan.nodes import (
    Aggregate,
    AssignWindow,
    Emit,
    Facts,
    Filter,
    HeaderChange,
    JobPlan,
    Join,
    JoinKind,
    Latest,
    Named,
    Plan,
    Project,
    Scan,
    Sink,
    TimeBound,
    UnionAll,
    Window,
    WindowKind,
)
from ferrisstreams.plan.system_columns import RECORD_TIME, has_record_time
from ferrisstreams.schema import Column, Schema

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"


def _nothing(_: Aggregate) -> Mapping[str, str]:
    return {}


_UNITS = (
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
    ("microsecond", 1),
)


@dataclass(frozen=True, slots=True)
class _Step:
    """A node as shown: its operator, what it is about, and its lines."""

    operator: str
    subject: str
    lines: tuple[str, ...]
    node: Plan


def explain(job: JobPlan, state: StateKinds = _nothing) -> str:
    """The plan as an indented tree, sink first, ending with a newline. `state` says for each call of an aggregate
    what its state holds."""
    lines = [f"job {job.name}"]
    if job.depends_on:
        lines.append(f"  after: {', '.join(job.depends_on)}")
    if job.outside_law:
        lines.append(f"  outside the answer law: {', '.join(job.outside_law)}")
    for depth, step in _steps(job.plan, state):
        pad = "  " * depth
        subject = f" {step.subject}" if step.subject else ""
        lines.append(f"{pad}{step.operator}{subject} [{facts_text(step.node.facts)}]")
        lines.extend(f"{pad}    {line}" for line in step.lines)
    return "\n".join(lines) + "\n"


def explain_json(job: JobPlan, state: StateKinds = _nothing) -> str:
    """The plan as one JSON object; `plan` is the list of operators, sink first."""
    document: dict[str, Json] = {
        "job": job.name,
        "depends_on": list(job.depends_on),
        "outside_law": list(job.outside_law),
        "plan": [_json(step, state) for _, step in _steps(job.plan, state)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def explain_mermaid(job: JobPlan, state: StateKinds = _nothing) -> str:
    """The plan as a Mermaid flowchart from the scan to the sink."""
    steps = list(reversed(_steps(job.plan, state)))
    lines = ["flowchart TD"]
    for index, (_, step) in enumerate(steps):
        text = "<br/>".join(_escaped(line) for line in (f"{step.operator} {step.subject}".strip(), *step.lines))
        lines.append(f'  n{index}["{text}"]')
    depths = [depth for depth, _ in steps]
    for index, depth in enumerate(depths[:-1]):
        above = depths.index(depth - 1, index + 1)
        lines.append(f"  n{index} --> n{above}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text inside a quoted Mermaid label."""
    for char, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(char, entity)
    return text


def _steps(plan: Plan, state: StateKinds, depth: int = 1) -> list[tuple[int, _Step]]:
    """The nodes, each before its inputs, with how deep it stands."""
    below = [step for node in plan.inputs for step in _steps(node, state, depth + 1)]
    return [(depth, _step(plan, state)), *below]


def _step(node: Plan, state: StateKinds) -> _Step:
    match node:
        case Sink():
            lines = [f"emit: {node.emit.name}"] if node.emit is not None else []
            if node.message_key:
                lines.append(f"message key: {', '.join(node.message_key)}")
            lines.extend(_header_text(change, node.input) for change in node.headers)
            return _Step("Sink", node.spec.name, tuple(lines), node)
        case Project():
            shown = [named for named in node.columns if node.schema.visible.get(named.name) is not None]
            return _Step("Project", "", tuple(_definitions(shown, node.schema)), node)
        case Filter():
            return _Step("Filter", "", tuple(as_written(conjunct).sql("duckdb") for conjunct in node.conjuncts), node)
        case Aggregate():
            return _Step("Aggregate", f"{node.emit.name}", tuple(_aggregate_lines(node, state)), node)
        case AssignWindow():
            return _Step("Window", window_text(node.window), (), node)
        case UnionAll():
            return _Step("UnionAll", "", (), node)
        case Join():
            return _Step("Join", node.kind.name, tuple(_join_lines(node)), node)
        case Latest():
            return _Step("Table", "", (f"the newest row of each {', '.join(node.key)}",), node)
        case Scan():
            return _Step("Scan", node.source.name, tuple(_scan_lines(node)), node)


def _aggregate_lines(node: Aggregate, state: StateKinds) -> list[str]:
    lines = [f"key {line}" for line in _definitions(node.keys, node.schema)]
    kinds = state(node)
    for call, line in zip(node.calls, _definitions(node.calls, node.schema), strict=True):
        held = f"  state: {kinds[call.name]}" if call.name in kinds else ""
        lines.append(f"call {line}{held}")
    kept = kept_state(node, kinds)
    lines += [f"keeps {kept.holds}", f"reads {kept.read}"]
    if kept.growth is None:
        return [*lines, f"bounded: {kept.bound}"]
    return [*lines, f"bounded by nothing: it grows with {kept.growth.grows}; {kept.growth.remedy}"]


def _join_lines(node: Join) -> Iterator[str]:
    for pair in node.keys:
        yield f"key {_text(pair.left)} = {_text(pair.right)}"
    if node.bound is not None:
        yield f"time {bound_text(node.bound)}"
    for conjunct in node.residual:
        yield f"and {_text(conjunct)}"
    if node.lookup:
        yield "rows of the left meet the row that the table has when they come; its changes give nothing"
        return
    if node.kind is not JoinKind.INNER:
        waits = node.bound is not None and node.emit is Emit.FINAL
        yield "rows without a partner " + (
            "are given when the watermark has passed their last possible one"
            if waits
            else "are given at once, and taken back"
        )
    kept = kept_rows(node)
    yield f"keeps {kept.holds}"
    yield f"reads {kept.read}"
    if kept.growth is None:
        yield f"bounded: {kept.bound}"
    else:
        yield f"bounded by nothing: it grows with {kept.growth.grows}; {kept.growth.remedy}"


def bound_text(bound: TimeBound) -> str:
    """How far apart the times of two sides are at most, in words."""
    low, high = (
        f"{bound.left_time} {'-' if by < 0 else '+'} {length_text(abs(by))}" if by else bound.left_time
        for by in (bound.low_us, bound.high_us)
    )
    return f"{bound.right_time} = {low}" if low == high else f"{bound.right_time} from {low} to {high}"


def _text(tree: exp.Expression) -> str:
    return as_written(tree).sql("duckdb")


def _scan_lines(node: Scan) -> list[str]:
    lines = [column_text(column) for column in node.source.schema]
    lines.extend(f"computed once a row: {line}" for line in _definitions(node.computed, node.schema))
    time = node.source.event_time
    if time is None:
        lines.append("event time: none")
    else:
        delay = f"{length_text(time.delay_us)} behind" if time.delay_us else "without delay"
        hidden = has_record_time(node.schema) and time.column == RECORD_TIME
        lines.append(f"event time: {time.column}{' (the time of the record)' if hidden else ''}, watermark {delay}")
    return lines


def _header_text(change: HeaderChange, node: Plan) -> str:
    """What becomes of a header, in words."""
    if change.column is None or not isinstance(node, Project):
        return f"header {change.name}: removed"
    value = next(named.expression for named in node.columns if named.name == change.column)
    return f"header {change.name} = {value.sql('duckdb')}"


def _definitions(columns: Sequence[Named], schema: Schema) -> list[str]:
    shown = {column.name: column_text(column) for column in schema}
    return [f"{shown[named.name]} = {named.expression.sql('duckdb')}" for named in columns]


def column_text(column: Column) -> str:
    return f"{column.name} {column.type}{'' if column.nullable else ' NOT NULL'}"


def facts_text(facts: Facts) -> str:
    """The three facts in words."""
    key = "no key"
    if facts.key is not None:
        key = f"key ({', '.join(facts.key)})"
    time = f"event time {facts.event_time}" if facts.event_time is not None else "no event time"
    return f"{'changelog' if facts.changes else 'append-only'}, {time}, {key}"


def window_text(window: Window) -> str:
    match window.kind:
        case WindowKind.TUMBLE:
            text = f"tumbling {length_text(window.size_us)}"
        case WindowKind.HOP:
            text = f"hopping {length_text(window.size_us)} every {length_text(window.slide_us)}"
        case WindowKind.CUMULATE:
            text = f"cumulating {length_text(window.size_us)} in steps of {length_text(window.slide_us)}"
        case WindowKind.GIVEN:
            text = f"the windows below, of {length_text(window.size_us)}"
        case WindowKind.SESSION:
            text = f"session with a gap of {length_text(window.size_us)}"
    origin = f", from {length_text(window.origin_us)} after the epoch" if window.origin_us else ""
    return f"{text} on {window.time}{origin}"


def length_text(length_us: int) -> str:
    """A length in the largest unit that divides it."""
    unit, size = next((unit, size) for unit, size in _UNITS if length_us % size == 0)
    count = length_us // size
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _json(step: _Step, state: StateKinds) -> Json:
    node = step.node
    shown: dict[str, Json] = {
        "operator": step.operator,
        "facts": {
            "changes": node.facts.changes,
            "event_time": node.facts.event_time,
            "key": list(node.facts.key) if node.facts.key is not None else None,
        },
        "schema": [{"name": item.name, "type": item.type, "nullable": item.nullable} for item in node.schema],
    }
    match node:
        case Sink():
            shown["name"] = node.spec.name
            shown["emit"] = node.emit.value if node.emit is not None else None
            shown["message_key"] = list(node.message_key)
            shown["headers"] = [_header_json(change, node.input) for change in node.headers]
        case Project():
            shown["columns"] = _named_json(node.columns)
        case Filter():
            shown["conjuncts"] = [as_written(conjunct).sql("duckdb") for conjunct in node.conjuncts]
        case Aggregate():
            shown["emit"] = node.emit.value
            shown["keys"] = _named_json(node.keys)
            shown["calls"] = _named_json(node.calls)
            kinds = state(node)
            shown["state"] = {call.name: kinds[call.name] for call in node.calls if call.name in kinds}
            kept = kept_state(node, kinds)
            shown["keeps"], shown["reads"], shown["bounded_by"] = kept.holds, kept.read, kept.bound
            shown["grows"] = _growth_json(kept.growth)
        case AssignWindow():
            shown["window"] = _window_json(node.window)
        case Join():
            shown["kind"], shown["lookup"], shown["emit"] = node.kind.value, node.lookup, node.emit.value
            shown["keys"] = [{"left": _text(pair.left), "right": _text(pair.right)} for pair in node.keys]
            shown["bound"] = _bound_json(node.bound) if node.bound is not None else None
            shown["residual"] = [_text(conjunct) for conjunct in node.residual]
            rows = kept_rows(node)
            shown["keeps"], shown["reads"], shown["bounded_by"] = rows.holds, rows.read, rows.bound
            shown["grows"] = _growth_json(rows.growth)
        case Latest():
            shown["keys"] = list(node.key)
        case Scan():
            time = node.source.event_time
            shown["source"] = node.source.name
            shown["computed"] = _named_json(node.computed)
            shown["event_time"] = {"column": time.column, "delay_us": time.delay_us} if time is not None else None
    return shown


def _growth_json(growth: Growth | None) -> Json:
    return {"with": growth.grows, "remedy": growth.remedy} if growth is not None else None


def _bound_json(bound: TimeBound) -> Json:
    return {"left": bound.left_time, "right": bound.right_time, "low_us": bound.low_us, "high_us": bound.high_us}


def _header_json(change: HeaderChange, node: Plan) -> Json:
    columns = node.columns if isinstance(node, Project) else ()
    value = next((as_written(named.expression).sql("duckdb") for named in columns if named.name == change.column), None)
    return {"name": change.name, "expression": value}


def _named_json(columns: Sequence[Named]) -> Json:
    return [{"name": named.name, "expression": as_written(named.expression).sql("duckdb")} for named in columns]


def _window_json(window: Window) -> Json:
    return {
        "kind": window.kind.value,
        "time": window.time,
        "size_us": window.size_us,
        "slide_us": window.slide_us,
        "origin_us": window.origin_us,
    }
