"""What a query's state means, as JSON: each operator that keeps something, with its inputs.

    source     which data the positions are in; below an aggregate also the columns that are read, how they are read,
               and the event time with the delay of its watermark; one of several has its name, as positions have
    aggregate  the rows that it takes (filters), its window, keys and calls, and when it emits; over a union also its
               ports: the source of each, the rows that it takes of it, and what it makes the union's columns of

Two queries with equal identities can share a state. Not part of one: where the rows go, the select list and HAVING
above the groups, names of streams and aliases, the order of conditions, keys and calls, and every setting that only
says how a job runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ferrisstreams.batch import JsonValue
from ferrisstreams.plan.expressions import columns_in, substitute
from ferrisstreams.plan.nodes import Aggregate, Join, Latest, Named, Plan, Scan, Sink, Window, map_inputs
from ferrisstreams.plan.stages import Lookup, Stage, StageGraph, cut, expressions_over, waits
from ferrisstreams.plan.stages import Operator as GraphOperator
from ferrisstreams.schema import Schema

#: One operator: its `id` and the ids of its `inputs`, its kind (`operator`), and what its state means.
Operator: TypeAlias = Mapping[str, JsonValue]
Identity: TypeAlias = Sequence[Operator]

#: Digits of an operator's id.
_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What only the settings say of a source: which data it is, and what its bytes mean."""

    data: Mapping[str, JsonValue]
    reading: Mapping[str, JsonValue]


def identity_of(plan: Sink, sources: Mapping[str, SourceFacts]) -> Identity:
    """The sources, by name, and the operators of a canonical plan, inputs first."""
    graph = cut(plan)
    definitions = _computed(graph)
    several = len(graph.sources) > 1
    found = []
    for source in sorted(graph.sources, key=lambda each: each.name):
        name: dict[str, JsonValue] = {"name": source.name} if several else {}
        scans = [scan for scan in graph.scans if scan.source.name == source.name]
        found.append(_identified({**name, **_source(scans, sources[source.name], graph, definitions)}, []))
    ids: dict[str | int, JsonValue] = {str(each.get("name", graph.sources[0].name)): each["id"] for each in found}
    for place, operator, known in _with_definitions(graph):
        read = [
            port.source.source.name if isinstance(port.source, Scan) else id(port.source) for port in operator.ports
        ]
        if isinstance(operator.node, Aggregate):
            of_sources = [ids[each] for each in sorted({each for each in read if isinstance(each, str)})]
            of_operators = sorted({str(ids[each]) for each in read if not isinstance(each, str)})
            named = [each if isinstance(each, str) else str(ids[each]) for each in read]
            found.append(_identified(_aggregate(operator, graph, known, named), [*of_sources, *of_operators]))
        else:
            found.append(_identified(_rows(graph, place, known), [ids[each] for each in read]))
        ids[id(operator)] = found[-1]["id"]
    return found


def _with_definitions(graph: StageGraph) -> list[tuple[int, GraphOperator, list[_Definitions]]]:
    """Each operator with its place, and with what the columns that each of its ports reads stand for: computed ones of
    scans, results of an operator below."""
    computed = _computed(graph)
    results: dict[int, _Definitions] = {}
    found = []
    for place, operator in enumerate(graph.operators):
        known: list[_Definitions] = [
            {**(computed if isinstance(port.source, Scan) else results[id(port.source)]), **_met(port)}
            for port in operator.ports
        ]
        node = operator.node
        if isinstance(node, Aggregate):
            results[id(operator)] = _results(node, _grouped(operator, graph, known))
        else:
            results[id(operator)] = _pairs(operator, known)
        found.append((place, operator, known))
    return found


def _computed(graph: StageGraph) -> _Definitions:
    return {named.name: named.expression for scan in graph.scans for named in scan.computed}


def _identified(parts: dict[str, JsonValue], inputs: list[JsonValue]) -> Operator:
    text = json.dumps([parts, inputs], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS], "inputs": inputs, **parts}


_Definitions: TypeAlias = Mapping[str, exp.Expression]


def _source(
    scans: Sequence[Scan], facts: SourceFacts, graph: StageGraph, definitions: _Definitions
) -> dict[str, JsonValue]:
    parts: dict[str, JsonValue] = {"operator": "source", "data": dict(facts.data)}
    if len(scans) > 1:
        parts["scans"] = len(scans)
    if not graph.operators:
        return parts  # Of the rows themselves nothing is kept.
    time = scans[0].source.event_time
    edges = [
        (operator, number)
        for operator in graph.operators
        for number, port in enumerate(operator.ports)
        if any(port.source is scan for scan in scans)
    ]
    read = {
        name
        for operator, number in edges
        for tree in graph.edge_trees(operator.ports[number])
        for name in columns_in(_inlined(tree, definitions))
    }
    waiting = any(waits(operator.node) for operator, _ in edges)
    types = {column.name: column.type for scan in scans for column in scan.schema if column.name in read}
    return {
        **parts,
        "reading": dict(facts.reading),
        "columns": dict(sorted(types.items())),
        "event_time": time.column if time is not None else None,
        "delay_us": time.delay_us if time is not None and waiting else None,
    }


def _expressions(graph: StageGraph, place: int, number: int) -> list[exp.Expression]:
    """What an operator reads of the rows of one of its ports, over the columns of their source."""
    operator = graph.operators[place]
    port = operator.ports[number]
    side = operator.side_of(port)
    kept = [exp.column(exp.to_identifier(name, quoted=True)) for name in graph.passed_on(place, side)]
    trees = [*expressions_over(operator, side), *kept]
    return list(map(port.source_expression, trees))


def _is_of_union(operator: GraphOperator) -> bool:
    return operator.ports[0].columns is not None


def _grouped(operator: GraphOperator, graph: StageGraph, known: Sequence[_Definitions]) -> _Definitions:
    """What the columns stand for that an aggregate reads: those of a union are its own."""
    return _computed(graph) if _is_of_union(operator) else known[0]


def _aggregate(
    operator: GraphOperator, graph: StageGraph, known: Sequence[_Definitions], sources: Sequence[str]
) -> dict[str, JsonValue]:
    node = operator.aggregate
    of_union = _is_of_union(operator)
    definitions = _grouped(operator, graph, known)
    ports: dict[str, JsonValue] = {"ports": _ports(operator, known, sources)} if of_union else {}
    return {
        "operator": "aggregate",
        "filters": [] if of_union else _filters(operator.stage, definitions),
        "window": _window(node.window, of_union or isinstance(operator.stage.source, GraphOperator)),
        "keys": _texts(node.keys, definitions),
        "calls": _texts(node.calls, definitions),
        "emit": node.emit.value,
        **ports,
    }


def _filters(port: Stage, definitions: _Definitions) -> list[JsonValue]:
    found = {canonical_text(_inlined(tree, definitions)) for tree in port.conjuncts}
    for lookup in port.lookups:
        keys = [exp.EQ(this=pair.left, expression=pair.right) for pair in lookup.keys]
        texts = sorted(canonical_text(_inlined(tree, definitions)) for tree in (*keys, *lookup.conditions))
        found.add(f"meets {_table_name(lookup)} by {' AND '.join(texts)}")
    return [*sorted(found)]


def _met(port: Stage) -> _Definitions:
    """What the columns that lookups put beside rows are: of which table, and there."""
    found: dict[str, exp.Expression] = {}
    for lookup in port.lookups:
        table = _table_name(lookup)
        found[lookup.flag] = exp.column(exp.to_identifier(table, quoted=True))
        for name, of in lookup.columns.items():
            found[name] = exp.column(exp.to_identifier(f"{table}.{of}", quoted=True))
    return found


def _table_name(lookup: Lookup) -> str:
    return next(port.source.source.name for port in lookup.table.ports if isinstance(port.source, Scan))


def _ports(operator: GraphOperator, known: Sequence[_Definitions], sources: Sequence[str]) -> list[JsonValue]:
    """Those of an operator over a union, in an order that says nothing: the rows of all are one stream. `sources` are
    the names of what they read, of an operator its id."""
    node = operator.aggregate
    read = {name for item in (*node.keys, *node.calls) for name in columns_in(item.expression)}
    if node.window is not None:
        read.add(node.window.time)
    found: list[JsonValue] = []
    for port, definitions, source in zip(operator.ports, known, sources, strict=True):
        assert port.columns is not None
        made = {item.name: item.expression for item in port.columns if item.name in read}
        texts: dict[str, JsonValue] = {
            name: canonical_text(_inlined(tree, definitions)) for name, tree in sorted(made.items())
        }
        found.append({"source": source, "filters": _filters(port, definitions), "columns": texts})
    return sorted(found, key=lambda port: json.dumps(port))


def _results(node: Aggregate, definitions: _Definitions) -> _Definitions:
    """What an aggregate's columns are, whatever they are called: whoever reads its results knows them by that."""
    return {named.name: _inlined(named.expression, definitions) for named in (*node.keys, *node.calls)}


def _pairs(operator: GraphOperator, known: Sequence[_Definitions]) -> _Definitions:
    """What the columns of a join are, whatever its sides are called: a side, and a column of it."""
    found: dict[str, exp.Expression] = {}
    for number, port in reversed(list(enumerate(operator.ports))):
        side = operator.side_of(port)
        for name in operator.node.inputs[side].schema.names:
            tree = _inlined(port.source_expression(exp.column(exp.to_identifier(name, quoted=True))), known[number])
            found[name] = exp.column(exp.to_identifier(f"{_SIDES[side]}.{canonical_text(tree)}", quoted=True))
    return found


_SIDES = ("left", "right")


def _rows(graph: StageGraph, place: int, known: Sequence[_Definitions]) -> dict[str, JsonValue]:
    """A join, or a table."""
    operator = graph.operators[place]
    node = operator.node
    ports: list[JsonValue] = []
    for number, port in enumerate(operator.ports):
        source = port.source.source.name if isinstance(port.source, Scan) else ""
        trees = _expressions(graph, place, number)
        columns: list[JsonValue] = [*sorted({canonical_text(_inlined(tree, known[number])) for tree in trees})]
        side = _SIDES[operator.side_of(port)]
        ports.append({"side": side, "source": source, "filters": _filters(port, known[number]), "columns": columns})
    if isinstance(node, Latest):
        return {"operator": "table", "keys": [*node.key], "ports": ports}
    assert isinstance(node, Join)
    over = _pairs(operator, known)
    pairs = [exp.EQ(this=_sided(pair.left, over), expression=_sided(pair.right, over)) for pair in node.keys]
    bound: JsonValue = None
    if node.bound is not None:
        times = [over[name].name for name in (node.bound.left_time, node.bound.right_time)]
        bound = {"times": [*times], "low_us": node.bound.low_us, "high_us": node.bound.high_us}
    return {
        "operator": "join",
        "kind": node.kind.value,
        "keys": [*sorted(canonical_text(pair) for pair in pairs)],
        "filters": [*sorted(canonical_text(_inlined(tree, over)) for tree in node.residual)],
        "bound": bound,
        "emit": node.emit.value,
        "ports": ports,
    }


def _sided(tree: exp.Expression, over: _Definitions) -> exp.Expression:
    return _inlined(tree, {name: over[name] for name in columns_in(tree)})


def _texts(columns: Sequence[Named], definitions: _Definitions) -> list[JsonValue]:
    return [canonical_text(_inlined(named.expression, definitions)) for named in columns]


def _inlined(tree: exp.Expression, definitions: _Definitions) -> exp.Expression:
    """The expression with the scan's computed columns written out: their numbers say nothing."""
    used = {name: definitions[name] for name in columns_in(tree) if name in definitions}
    if not used:
        return tree
    whole = {name: used.get(name, exp.column(exp.to_identifier(name, quoted=True))) for name in columns_in(tree)}
    return substitute(tree, whole)


def _window(window: Window | None, of_results: bool) -> JsonValue:
    if window is None:
        return None
    time: dict[str, JsonValue] = {"time": window.time} if of_results else {}
    return {
        **time,
        "kind": window.kind.value,
        "size_us": window.size_us,
        "slide_us": window.slide_us,
        "origin_us": window.origin_us,
    }


# --- expressions ------------------------------------------------------------------------------------------------------

#: What stands for itself inside any operator.
_CLOSED = (exp.Func, exp.Column, exp.Literal, exp.Identifier, exp.Tuple, exp.Array, exp.Interval, exp.DataType)


def canonical_text(tree: exp.Expression) -> str:
    """One text for all spellings of an expression: with the same parentheses however many were written."""
    holder = exp.Tuple(expressions=[tree.copy()])
    for paren in list(holder.find_all(exp.Paren)):
        paren.replace(paren.this)
    for node in list(holder.find_all(exp.Binary, exp.Unary, exp.Between, exp.In)):
        loose = not isinstance(node, exp.Dot | exp.Paren) and not isinstance(node, exp.Func)
        if loose and isinstance(node.parent, exp.Binary | exp.Unary | exp.Between | exp.In | exp.Bracket | exp.Cast):
            node.replace(exp.Paren(this=node.copy()))
    return str(holder.expressions[0].sql("duckdb"))


def is_same_text(kept: JsonValue, now: JsonValue) -> bool:
    """Whether two texts are one expression, also where a version before printed it otherwise."""
    return kept == now or _reprinted(str(kept)) == _reprinted(str(now))


def _reprinted(text: str) -> str | None:
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except SqlglotError:
        return None
    return canonical_text(tree) if isinstance(tree, exp.Expression) else None


# --- the parts of an identity --------------------------------------------------------------------------------------


def operators_in(identity: Identity) -> list[Operator]:
    return [operator for operator in identity if operator["operator"] != "source"]


def mapping_in(operator: Operator, key: str) -> Mapping[str, JsonValue]:
    value = operator.get(key)
    return value if isinstance(value, Mapping) else {}


def list_in(operator: Operator, key: str) -> Sequence[JsonValue]:
    value = operator.get(key)
    return value if isinstance(value, list) else []


# --- the state's order ------------------------------------------------------------------------------------------------


def reorder_like(plan: Sink, kept: Identity) -> Sink:
    """The plan with keys and calls in the order in which the state has them. Both have the same."""
    ordered: dict[int, Aggregate] = {}
    graph = cut(plan)
    for (_, operator, known), before in zip(_with_definitions(graph), operators_in(kept), strict=True):
        if isinstance(operator.node, Aggregate):
            ordered[id(operator.node)] = _reordered(operator.node, before, _grouped(operator, graph, known))

    def with_ordered(node: Plan) -> Plan:
        return map_inputs(ordered.get(id(node), node), with_ordered)

    return replace(plan, input=with_ordered(plan.input))


def _reordered(aggregate: Aggregate, kept: Operator, definitions: _Definitions) -> Aggregate:
    keys = _ordered(aggregate.keys, list_in(kept, "keys"), definitions)
    calls = _ordered(aggregate.calls, list_in(kept, "calls"), definitions)
    bounds = aggregate.schema.columns[: len(aggregate.schema) - len(keys) - len(calls)]
    types = {column.name: column for column in aggregate.schema}
    schema = Schema((*bounds, *(types[named.name] for named in (*keys, *calls))))
    return replace(aggregate, keys=keys, calls=calls, schema=schema)


def _ordered(named: tuple[Named, ...], kept: Sequence[JsonValue], definitions: _Definitions) -> tuple[Named, ...]:
    left = list(zip(named, _texts(named, definitions), strict=True))
    found = []
    for text in kept:
        at = next(at for at, (_, now) in enumerate(left) if is_same_text(text, now))
        found.append(left.pop(at)[0])
    return tuple(found)
