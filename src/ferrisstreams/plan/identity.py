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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ferrisstreams.batch import JsonValue, integer, mapping
from ferrisstreams.plan.expressions import columns_in, substitute
from ferrisstreams.plan.nodes import Aggregate, Named, Plan, Scan, Sink, Window, map_inputs
from ferrisstreams.plan.stages import Operator as GraphOperator
from ferrisstreams.plan.stages import Stage, StageGraph, cut
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
        found.append(_identified({**name, **_source(scans, sources[source.name], graph.operators, definitions)}, []))
    of_sources = {str(source.get("name", graph.sources[0].name)): str(source["id"]) for source in found}
    below: list[JsonValue] = []
    for operator, known in _with_definitions(graph):
        read = {port.source.source.name for port in operator.ports if isinstance(port.source, Scan)}
        if read:
            below = [of_sources[name] for name in sorted(read)]
        found.append(_identified(_aggregate(operator, known), below))
        below = [str(found[-1]["id"])]
    return found


def _with_definitions(graph: StageGraph) -> list[tuple[GraphOperator, _Definitions]]:
    """Each operator with what the columns that it reads stand for: computed ones of scans, results of the one below."""
    computed = _computed(graph)
    found: list[tuple[GraphOperator, _Definitions]] = []
    for operator in graph.operators:
        if isinstance(operator.ports[0].source, Scan):
            found.append((operator, computed))
        else:
            found.append((operator, _results(found[-1][0].node, found[-1][1])))
    return found


def _computed(graph: StageGraph) -> _Definitions:
    return {named.name: named.expression for scan in graph.scans for named in scan.computed}


def _identified(parts: dict[str, JsonValue], inputs: list[JsonValue]) -> Operator:
    text = json.dumps([parts, inputs], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS], "inputs": inputs, **parts}


_Definitions: TypeAlias = Mapping[str, exp.Expression]


def _source(
    scans: Sequence[Scan], facts: SourceFacts, operators: Sequence[GraphOperator], definitions: _Definitions
) -> dict[str, JsonValue]:
    parts: dict[str, JsonValue] = {"operator": "source", "data": dict(facts.data)}
    if len(scans) > 1:
        parts["scans"] = len(scans)
    if not operators:
        return parts  # Of the rows themselves nothing is kept.
    time = scans[0].source.event_time
    edges = [
        (operator.node, port)
        for operator in operators
        for port in operator.ports
        if any(port.source is scan for scan in scans)
    ]
    read = {name for node, port in edges for tree in _expressions(node, port, definitions) for name in columns_in(tree)}
    windows = [node.window for node, _ in edges if node.window is not None]
    read.update(port.source_column(node.window.time) for node, port in edges if node.window is not None)
    types = {column.name: column.type for scan in scans for column in scan.schema if column.name in read}
    return {
        **parts,
        "reading": dict(facts.reading),
        "columns": dict(sorted(types.items())),
        "event_time": time.column if time is not None else None,
        "delay_us": time.delay_us if time is not None and windows else None,
    }


def _expressions(node: Aggregate, port: Stage, definitions: _Definitions) -> list[exp.Expression]:
    named = [port.source_expression(item.expression) for item in (*node.keys, *node.calls)]
    return [_inlined(tree, definitions) for tree in (*named, *port.conjuncts)]


def _aggregate(operator: GraphOperator, definitions: _Definitions) -> dict[str, JsonValue]:
    node = operator.node
    of_union = operator.ports[0].columns is not None
    ports: dict[str, JsonValue] = {"ports": _ports(operator, definitions)} if of_union else {}
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
    return [*sorted({canonical_text(_inlined(tree, definitions)) for tree in port.conjuncts})]


def _ports(operator: GraphOperator, definitions: _Definitions) -> list[JsonValue]:
    """Those of an operator over a union, in an order that says nothing: the rows of all are one stream."""
    node = operator.node
    read = {name for item in (*node.keys, *node.calls) for name in columns_in(item.expression)}
    if node.window is not None:
        read.add(node.window.time)
    found: list[JsonValue] = []
    for port in operator.ports:
        assert isinstance(port.source, Scan)
        assert port.columns is not None
        made = {item.name: item.expression for item in port.columns if item.name in read}
        texts: dict[str, JsonValue] = {
            name: canonical_text(_inlined(tree, definitions)) for name, tree in sorted(made.items())
        }
        found.append({"source": port.source.source.name, "filters": _filters(port, definitions), "columns": texts})
    return sorted(found, key=lambda port: json.dumps(port))


def _results(node: Aggregate, definitions: _Definitions) -> _Definitions:
    """What an aggregate's columns are, whatever they are called: whoever reads its results knows them by that."""
    return {named.name: _inlined(named.expression, definitions) for named in (*node.keys, *node.calls)}


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


def _is_same_text(kept: JsonValue, now: JsonValue) -> bool:
    """Whether two texts are one expression, also where a version before printed it otherwise."""
    return kept == now or _reprinted(str(kept)) == _reprinted(str(now))


def _reprinted(text: str) -> str | None:
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except SqlglotError:
        return None
    return canonical_text(tree) if isinstance(tree, exp.Expression) else None


# --- the state's order ------------------------------------------------------------------------------------------------


def reorder_like(plan: Sink, kept: Identity) -> Sink:
    """The plan with keys and calls in the order in which the state has them. Both have the same."""
    ordered: dict[int, Aggregate] = {}
    for (operator, definitions), before in zip(_with_definitions(cut(plan)), _aggregates(kept), strict=True):
        ordered[id(operator.node)] = _reordered(operator.node, before, definitions)

    def with_ordered(node: Plan) -> Plan:
        return map_inputs(ordered.get(id(node), node), with_ordered)

    return replace(plan, input=with_ordered(plan.input))


def _reordered(aggregate: Aggregate, kept: Operator, definitions: _Definitions) -> Aggregate:
    keys = _ordered(aggregate.keys, _list(kept, "keys"), definitions)
    calls = _ordered(aggregate.calls, _list(kept, "calls"), definitions)
    bounds = aggregate.schema.columns[: len(aggregate.schema) - len(keys) - len(calls)]
    types = {column.name: column for column in aggregate.schema}
    schema = Schema((*bounds, *(types[named.name] for named in (*keys, *calls))))
    return replace(aggregate, keys=keys, calls=calls, schema=schema)


def _ordered(named: tuple[Named, ...], kept: Sequence[JsonValue], definitions: _Definitions) -> tuple[Named, ...]:
    left = list(zip(named, _texts(named, definitions), strict=True))
    found = []
    for text in kept:
        at = next(at for at, (_, now) in enumerate(left) if _is_same_text(text, now))
        found.append(left.pop(at)[0])
    return tuple(found)


# --- differences ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """A part that means something else now: what it was and what it is, never the same text."""

    part: str
    kept: str
    now: str

    def __str__(self) -> str:
        return f"{self.part}: was {self.kept}, is {self.now}"


#: Whether data that is named otherwise is the same: (kept, now).
IsSameData: TypeAlias = Callable[[Mapping[str, JsonValue], Mapping[str, JsonValue]], bool]


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """What becomes of one operator of a state: `kept`, `changed` (by what differs), `new` or `gone`."""

    operator: str
    fate: str
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.fate}: {self.operator}", *map(str, self.differences)])


def compare(kept: Identity, now: Identity, is_same_data: IsSameData) -> list[OperatorChange]:
    """The operators of both, inputs first. A state can go on when all of them are kept."""
    found = []
    for before, after in _paired(kept, now):
        if before is None or after is None:
            fate, operator = ("new", after) if before is None else ("gone", before)
            assert operator is not None
            found.append(OperatorChange(_operator_text(operator), fate))
        else:
            differs = _operator_differences(before, after, now, is_same_data)
            found.append(OperatorChange(_operator_text(before), "changed" if differs else "kept", tuple(differs)))
    return found


def differences(kept: Identity, now: Identity, is_same_data: IsSameData) -> list[OperatorChange]:
    """What keeps a state from being that of the query now: all operators; none when all that differs carries over."""
    found = compare(kept, now, is_same_data)
    return found if any(change.fate != "kept" for change in found) else []


def _aggregates(identity: Identity) -> list[Operator]:
    return [operator for operator in identity if operator["operator"] != "source"]


def _paired(kept: Identity, now: Identity) -> list[tuple[Operator | None, Operator | None]]:
    """Each operator beside the one that it is now. The same parts say that it is the same one, then its place among
    those of its kind; an operator above one that changed has another id, and is not another one for that."""
    partners: dict[int, int] = {}
    for is_same in (_has_same_parts, _is_of_kind):
        for place, before in enumerate(kept):
            left = (
                [other for other in range(len(now)) if other not in partners.values()] if place not in partners else []
            )
            fitting = (each for each in left if is_same(before, now[each]) and not _crosses(place, each, partners))
            found = next(fitting, None)
            if found is not None:
                partners[place] = found
    pairs: list[tuple[Operator | None, Operator | None]] = []
    done = 0
    for place, before in enumerate(kept):
        partner = partners.get(place)
        if partner is None:
            pairs.append((before, None))
            continue
        pairs += [(None, each) for each in now[done:partner]]
        pairs.append((before, now[partner]))
        done = partner + 1
    return [*pairs, *((None, each) for each in now[done:])]


def _crosses(place: int, other: int, partners: Mapping[int, int]) -> bool:
    return any((place < kept) != (other < now) for kept, now in partners.items())


def _has_same_parts(kept: Operator, now: Operator) -> bool:
    """A source has a name only beside others."""
    parts = {**kept, "id": None, "inputs": None}, {**now, "id": None, "inputs": None}
    if "name" in kept and "name" in now:
        return parts[0] == parts[1]
    return {**parts[0], "name": None} == {**parts[1], "name": None}


def _is_of_kind(kept: Operator, now: Operator) -> bool:
    return (kept["operator"], kept.get("name")) == (now["operator"], now.get("name"))


def _operator_text(operator: Operator) -> str:
    """Which operator it is, in a few words."""
    if operator["operator"] == "source":
        data = _mapping(operator, "data")
        shown = (operator.get("name"), data.get("path", data.get("topic")))
        return " ".join(["the source", *(str(each) for each in shown if each is not None)])
    keys = ", ".join(map(str, _list(operator, "keys")))
    window = operator["window"]
    by = [*([_window_text(window)] if window is not None else []), *([keys] if keys else [])]
    return f"the aggregate by {' and '.join(by)}" if by else "the aggregate over all rows"


def _operator_differences(
    kept: Operator, now: Operator, operators: Identity, is_same_data: IsSameData
) -> list[Difference]:
    if kept["operator"] != "source":
        return _aggregate_differences(kept, now)
    found = _data_differences(_mapping(kept, "data"), _mapping(now, "data"), is_same_data)
    scans = [integer(each.get("scans", 1)) for each in (kept, now)]
    if scans[0] != scans[1]:
        found.append(Difference("how often the query reads it", *("once" if n == 1 else f"{n} times" for n in scans)))
    if "columns" not in kept or "columns" not in now:
        return found  # Of the rows themselves nothing is kept, or was.
    found += _reading_differences(kept, now)
    return found + _column_differences(_mapping(kept, "columns"), _mapping(now, "columns"), _aggregates(operators))


def _data_differences(
    kept: Mapping[str, JsonValue], now: Mapping[str, JsonValue], is_same_data: IsSameData
) -> list[Difference]:
    if kept == now or is_same_data(kept, now):
        return []
    if kept.get("connector") != now.get("connector"):
        keys = ["connector"]
    else:
        keys = [key for key in (*kept, *(key for key in now if key not in kept)) if kept.get(key) != now.get(key)]
    return [Difference(f"the source's {key}", _shown(kept.get(key)), _shown(now.get(key))) for key in keys]


def _reading_differences(kept: Operator, now: Operator) -> list[Difference]:
    before, after = _mapping(kept, "reading"), _mapping(now, "reading")
    found = [
        Difference(f"'{key}' of the source", _shown(before.get(key)), _shown(after.get(key)))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    if kept["event_time"] != now["event_time"]:
        found.append(Difference("the event time", _shown(kept["event_time"]), _shown(now["event_time"])))
    if None is not kept["delay_us"] != now["delay_us"] is not None:
        found.append(Difference("the watermark's delay", *(_length(each["delay_us"]) for each in (kept, now))))
    return found


def _aggregate_differences(kept: Operator, now: Operator) -> list[Difference]:
    found = []
    for part, key, empty in _LISTS:
        before, after = _list(kept, key), _list(now, key)
        removed, added = _unmatched(before, after), _unmatched(after, before)
        if removed or added:
            if key == "calls":
                before, after = removed, added
            texts = (", " if key != "filters" else " AND ").join
            found.append(Difference(part, *(texts(map(str, each)) or empty for each in (before, after))))
    if kept["window"] != now["window"]:
        found.append(Difference("the window", *(_window_text(each["window"]) for each in (kept, now))))
    found += _port_differences(_list(kept, "ports"), _list(now, "ports"))
    if kept["emit"] != now["emit"]:
        found.append(Difference("EMIT", *(str(each["emit"]).upper() for each in (kept, now))))
    return found


def _port_differences(kept: Sequence[JsonValue], now: Sequence[JsonValue]) -> list[Difference]:
    """Of the queries of a UNION ALL, which an operator over one stream does not have."""
    before, after = ([mapping(port) for port in ports] for ports in (kept, now))
    sources = [", ".join(str(port["source"]) for port in ports) or "one stream" for ports in (before, after)]
    if sources[0] != sources[1]:
        return [Difference("the streams of the UNION ALL", *sources)]
    found = []
    for port, other in zip(before, after, strict=True):
        for key, part in (("filters", "WHERE"), ("columns", "the columns")):
            if port[key] != other[key]:
                texts = (_listed(each[key]) or "no condition" for each in (port, other))
                found.append(Difference(f"{part} of the query over {port['source']}", *texts))
    return found


def _listed(value: JsonValue) -> str:
    match value:
        case list():
            return " AND ".join(map(str, value))
        case dict():
            return ", ".join(f"{text} AS {name}" for name, text in value.items())
    return _shown(value)


#: Lists without an order: what they are called, their key, and what an empty one is. Of the aggregates, which may be
#: many, only those that differ are shown.
_LISTS = (
    ("WHERE", "filters", "no condition"),
    ("GROUP BY", "keys", "one group"),
    ("the aggregates that differ", "calls", "none"),
)


def _unmatched(texts: Sequence[JsonValue], others: Sequence[JsonValue]) -> list[JsonValue]:
    """The texts without one of their own among the others."""
    left, found = list(others), []
    for text in texts:
        at = next((at for at, other in enumerate(left) if _is_same_text(other, text)), None)
        if at is None:
            found.append(text)
        else:
            del left[at]
    return found


def _window_text(window: JsonValue) -> str:
    if not isinstance(window, Mapping):
        return "no window"
    size, slide, origin = (integer(window[key]) for key in ("size_us", "slide_us", "origin_us"))
    kind = "the windows below," if window["kind"] == "given" else str(window["kind"]).upper()
    text = f"{kind} of {_length(size)}"
    text += f" every {_length(slide)}" if slide != size else ""
    return text + (f" from {_length(origin)}" if origin else "")


_UNITS = (("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000))


def _length(length: JsonValue) -> str:
    """A length in words, in the largest unit that divides it."""
    length_us = integer(length or 0)
    unit, size = next(((unit, size) for unit, size in _UNITS if length_us % size == 0), ("microsecond", 1))
    count = length_us // size
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _shown(value: JsonValue) -> str:
    return "not given" if value is None else repr(value) if isinstance(value, str) else json.dumps(value)


# --- columns ----------------------------------------------------------------------------------------------------------


def _column_differences(
    kept: Mapping[str, JsonValue], now: Mapping[str, JsonValue], aggregates: Sequence[Operator]
) -> list[Difference]:
    """Columns whose type is another one. Those that only one of both reads show in what reads them."""
    return [
        Difference(f"the column {name}", str(kept[name]), str(now[name]))
        for name in kept
        if name in now and kept[name] != now[name]
        if not (_is_wider(str(kept[name]), str(now[name])) and _keeps_values(name, aggregates))
    ]


_INTEGERS = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63, "HUGEINT": 127}
_UNSIGNED = {"UTINYINT": 8, "USMALLINT": 16, "UINTEGER": 32, "UBIGINT": 64, "UHUGEINT": 128}

#: What gives the same value of a wider number, or the same order.
_SAME_WHEN_WIDER = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Star, exp.Filter, exp.Where),
    *(exp.Add, exp.Sub, exp.Mul, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between),
    *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Count, exp.Sum, exp.Avg, exp.Max, exp.Min),
)
_SAME_CALLS = frozenset({"min", "max", "first", "last", "any_value", "arg_min", "arg_max", "list", "array_agg"})


def _keeps_values(name: str, aggregates: Sequence[Operator]) -> bool:
    """Whether what is kept of a column is what it would be if the column had had a wider type from the start."""
    texts = [text for each in aggregates for part in ("filters", "keys", "calls") for text in _list(each, part)]
    trees = [sqlglot.parse_one(str(text), dialect="duckdb") for text in texts]
    reading = [tree for tree in trees if name in {column.name for column in tree.find_all(exp.Column)}]
    return all(_is_plain(node) for tree in reading for node in tree.walk())


def _is_plain(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in _SAME_CALLS
    return isinstance(node, _SAME_WHEN_WIDER) or (isinstance(node, exp.Func) and node.sql_name().lower() in _SAME_CALLS)


def _is_wider(kept: str, now: str) -> bool:
    """Whether every value of the one type is exactly the same value in the other."""
    if now in _INTEGERS:
        return {**_INTEGERS, **_UNSIGNED}.get(kept, 128) <= _INTEGERS[now]
    if now in _UNSIGNED:
        return _UNSIGNED.get(kept, 129) <= _UNSIGNED[now]
    (kept_kind, *kept_size), (now_kind, *now_size) = (_numbers(each) for each in (kept, now))
    decimals = (kept_kind, now_kind) == ("DECIMAL", "DECIMAL")
    return decimals and kept_size[1:] == now_size[1:] and int(kept_size[0]) <= int(now_size[0])


def _numbers(type_: str) -> list[str]:
    """`DECIMAL(10,2)` as its name and numbers."""
    return type_.replace("(", ",").replace(")", "").replace(" ", "").split(",")


def _mapping(operator: Operator, key: str) -> Mapping[str, JsonValue]:
    value = operator.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(operator: Operator, key: str) -> Sequence[JsonValue]:
    value = operator.get(key)
    return value if isinstance(value, list) else []
