"""The hash by which a state of format 2 knew its query; a state of now has an identity (see `plan.identity`).

It must not change: it is computed to recognise an older state, once.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from ferrisstreams.plan.expressions import columns_in
from ferrisstreams.plan.nodes import Aggregate, Named, Plan, Scan, Window, walk

_Part: TypeAlias = "str | int | list[_Part] | dict[str, _Part] | None"


def fingerprint(plan: Plan) -> str:
    """64 hexadecimal digits."""
    text = json.dumps(_parts(plan), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _parts(plan: Plan) -> list[_Part]:
    parts: list[_Part] = []
    read: set[str] = set()
    for node in walk(plan):
        if isinstance(node, Aggregate):
            parts.append(_aggregate(node))
            read.update(*(columns_in(named.expression) for named in (*node.keys, *node.calls)))
        elif isinstance(node, Scan):
            parts.append(_scan(node, read))
    return parts


def _aggregate(node: Aggregate) -> _Part:
    return {
        "operator": "aggregate",
        "window": _window(node.window),
        "keys": _named(node, node.keys),
        "calls": _named(node, node.calls),
        "emit": node.emit.value,
    }


def _named(node: Aggregate, columns: tuple[Named, ...]) -> list[_Part]:
    types = {column.name: column.type for column in node.schema}
    return [[named.name, _text(named.expression), types[named.name]] for named in columns]


def _text(expression: exp.Expression) -> str:
    """As it was printed then: with keys of JSON as paths."""
    tree = expression.copy()
    for arrow in tree.find_all(exp.JSONExtract, exp.JSONExtractScalar):
        arrow.set("expression", DuckDB().to_json_path(arrow.expression))
    return tree.sql("duckdb")


def _window(window: Window | None) -> _Part:
    if window is None:
        return None
    return [window.kind.value, window.time, window.size_us, window.slide_us, window.origin_us]


def _scan(node: Scan, read: set[str]) -> _Part:
    source = node.source
    time: _Part = None
    if source.event_time is not None:
        time = [source.event_time.column, source.event_time.delay_us]
    return {
        "operator": "scan",
        "source": source.name,
        "schema": [[column.name, column.type, str(column.nullable)] for column in source.schema],
        "event_time": time,
        "computed": [[named.name, _text(named.expression)] for named in node.computed if named.name in read],
    }
