"""What keeps a state from being that of another query: its operators beside those of now, and what differs in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sqlglot
from sqlglot import exp

from ferrisstreams.batch import JsonValue, integer, mapping
from ferrisstreams.plan.identity import Identity, Operator, is_same_text, list_in, mapping_in, operators_in


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
        data = mapping_in(operator, "data")
        shown = (operator.get("name"), data.get("path", data.get("topic")))
        return " ".join(["the source", *(str(each) for each in shown if each is not None)])
    keys = ", ".join(map(str, list_in(operator, "keys")))
    if operator["operator"] != "aggregate":
        return f"the {operator['operator']} by {_unquoted(keys)}"
    window = operator["window"]
    by = [*([_window_text(window)] if window is not None else []), *([keys] if keys else [])]
    return f"the aggregate by {' and '.join(by)}" if by else "the aggregate over all rows"


def _operator_differences(
    kept: Operator, now: Operator, operators: Identity, is_same_data: IsSameData
) -> list[Difference]:
    if kept["operator"] == "aggregate":
        return _aggregate_differences(kept, now)
    if kept["operator"] != "source":
        return _rows_differences(kept, now)
    found = _data_differences(mapping_in(kept, "data"), mapping_in(now, "data"), is_same_data)
    scans = [integer(each.get("scans", 1)) for each in (kept, now)]
    if scans[0] != scans[1]:
        found.append(Difference("how often the query reads it", *("once" if n == 1 else f"{n} times" for n in scans)))
    if "columns" not in kept or "columns" not in now:
        return found  # Of the rows themselves nothing is kept, or was.
    found += _reading_differences(kept, now)
    return found + _column_differences(mapping_in(kept, "columns"), mapping_in(now, "columns"), operators_in(operators))


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
    before, after = mapping_in(kept, "reading"), mapping_in(now, "reading")
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
        before, after = list_in(kept, key), list_in(now, key)
        removed, added = _unmatched(before, after), _unmatched(after, before)
        if removed or added:
            if key == "calls":
                before, after = removed, added
            texts = (", " if key != "filters" else " AND ").join
            found.append(Difference(part, *(texts(map(str, each)) or empty for each in (before, after))))
    if kept["window"] != now["window"]:
        found.append(Difference("the window", *(_window_text(each["window"]) for each in (kept, now))))
    found += _port_differences(list_in(kept, "ports"), list_in(now, "ports"))
    if kept["emit"] != now["emit"]:
        found.append(Difference("EMIT", *(str(each["emit"]).upper() for each in (kept, now))))
    return found


def _rows_differences(kept: Operator, now: Operator) -> list[Difference]:
    """Of a join or a table."""
    parts = {
        "kind": "the kind of the join",
        "keys": "the keys",
        "filters": "the conditions",
    }
    found = [
        Difference(part, *(_unquoted(_listed(each.get(key))) or "none" for each in (kept, now)))
        for key, part in {**parts, "emit": "EMIT"}.items()
        if kept.get(key) != now.get(key)
    ]
    if kept.get("bound") != now.get("bound"):
        found.append(Difference("the bound in time", *(_bound_text(each.get("bound")) for each in (kept, now))))
    sides = zip(list_in(kept, "ports"), list_in(now, "ports"), strict=False)
    for before, after in ((mapping(port), mapping(other)) for port, other in sides):
        for key, part in (("source", "the source"), ("filters", "WHERE"), ("columns", "the columns that are kept")):
            if before[key] != after[key]:
                word = ", " if key == "columns" else " AND "
                texts = (_unquoted(_listed(each[key]).replace(" AND ", word)) or "none" for each in (before, after))
                owner = f" of the {before['side']} side" if kept["operator"] == "join" else ""
                found.append(Difference(f"{part}{owner}", *texts))
    if len(list_in(kept, "ports")) != len(list_in(now, "ports")):
        found.append(Difference("its inputs", *(str(len(list_in(each, "ports"))) for each in (kept, now))))
    return found


def _bound_text(bound: JsonValue) -> str:
    if not isinstance(bound, Mapping):
        return "none"
    low, high = (integer(bound[key]) for key in ("low_us", "high_us"))
    times = bound["times"]
    assert isinstance(times, list)
    left, right = (_unquoted(str(time)) for time in times)
    return f"{right} from {_signed(low)} to {_signed(high)} after {left}"


def _signed(length_us: int) -> str:
    return f"-{_length(-length_us)}" if length_us < 0 else _length(length_us)


def _unquoted(text: str) -> str:
    """Names of sides and their columns as people write them."""
    return text.replace('"', "").removeprefix("'").removesuffix("'")


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
        at = next((at for at, other in enumerate(left) if is_same_text(other, text)), None)
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
    kept: Mapping[str, JsonValue], now: Mapping[str, JsonValue], operators: Sequence[Operator]
) -> list[Difference]:
    """Columns whose type is another one. Those that only one of both reads show in what reads them."""
    return [
        Difference(f"the column {name}", str(kept[name]), str(now[name]))
        for name in kept
        if name in now and kept[name] != now[name]
        if not (_is_wider(str(kept[name]), str(now[name])) and _keeps_values(name, operators))
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
    texts = [text for each in aggregates for part in ("filters", "keys", "calls") for text in list_in(each, part)]
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
