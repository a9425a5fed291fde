"""What a state belongs to, in words."""

from __future__ import annotations

from ferrisstreams.compile.compiler import take_plan_apart
from ferrisstreams.plan.nodes import JobPlan


def description(plan: JobPlan) -> str:
    """A plan in one line, for the error when the state belongs to another one."""
    parts = take_plan_apart(plan.plan)
    source = parts.scan.source
    columns = ", ".join(f"{column.name} {column.type}" for column in source.schema)
    time = f", event time {source.event_time.column}" if source.event_time else ""
    if parts.aggregate is None:
        return f"rows of {source.name} ({columns}{time})"
    keys = ", ".join(key.expression.sql("duckdb") for key in parts.aggregate.keys) or "one group"
    calls = ", ".join(call.expression.sql("duckdb") for call in parts.aggregate.calls)
    window = parts.aggregate.window
    shown = f"; {window.kind.value} {window.size_us // 1000}/{window.slide_us // 1000} ms" if window else ""
    return f"{calls} by {keys}{shown}; emit {parts.aggregate.emit.value}; of {source.name} ({columns}{time})"
