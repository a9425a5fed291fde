"""What an operator keeps, how that is read again, and what bounds it: for EXPLAIN, and for whoever starts a job whose
state nothing bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.plan.expressions import as_written
from ferrisstreams.plan.nodes import Aggregate, Emit, Join, Latest, Named, Plan, Scan, Sink, WindowKind, walk
from ferrisstreams.plan.stages import cut

#: For each call of an aggregate, by its name, how its state is kept (`decomposable`, `ordered`, `holistic`).
StateKinds: TypeAlias = Callable[[Aggregate], Mapping[str, str]]

#: The kind of calls whose values are kept one by one.
_HOLISTIC = "holistic"

_SHRINKS = "it shrinks as rows are taken back"


@dataclass(frozen=True, slots=True)
class Growth:
    """State that nothing bounds: the operator that keeps it, with what it grows, and what would bound it."""

    operator: str
    grows: str
    remedy: str

    def __str__(self) -> str:
        return f"nothing bounds the state of {self.operator}: it grows with {self.grows}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class KeptState:
    """In words: what is kept and which facts decided that, how it is read again, and what bounds it. `growth`: nothing
    does."""

    holds: str
    read: str
    bound: str
    growth: Growth | None = None


def kept_state(node: Aggregate, kinds: Mapping[str, str]) -> KeptState:
    """What an aggregate keeps. `kinds` as of `StateKinds`; none where they are not asked for."""
    keys = _texts(node.keys)
    values = [
        text for call, text in zip(node.calls, _texts(node.calls), strict=True) if kinds.get(call.name) == _HOLISTIC
    ]
    each = f"for each {', '.join(keys)}" if keys else "of one group"
    changes = node.input.facts.changes
    if changes:
        held = "the values" if values else "counts and sums"
        holds = f"{held} {each}, with how often each row stands, because its input changes"
    elif values:
        holds = f"the values {each}, because {' and '.join(values)} cannot be merged from parts"
    else:
        holds = f"partial results {each}, because its input is append-only"
    if node.window is not None:
        session = node.window.kind is WindowKind.SESSION
        return KeptState(
            holds + (", in pieces of sessions" if session else ", by slices of its windows"),
            "the windows of each tick" if node.emit is Emit.CHANGES else "a window when the watermark has passed it",
            "windows that the watermark has passed are dropped",
        )
    read = "once, at the end of the input"
    if node.emit is Emit.CHANGES:
        is_quick = not (values or changes) and _reads_sources(node.input)
        small = "; of small ticks among current rows in memory, where the types allow it" if is_quick else ""
        read = f"the keys of each tick, by a scan of the log{small}" if keys else "all of it in each tick"
    growth = _growth(node, keys, values)
    return KeptState(holds, read, "nothing" if growth is not None else "it is one row once compacted", growth)


def growths(plan: Sink, state: StateKinds) -> list[Growth]:
    """The state of a plan that nothing bounds."""
    found = []
    for operator in cut(plan).operators:
        match operator.node:
            case Aggregate():
                found.append(kept_state(operator.node, state(operator.node)).growth)
            case Join():
                found.append(kept_rows(operator.node).growth)
    return [growth for growth in found if growth is not None]


def kept_rows(node: Join) -> KeptState:
    """What a join keeps."""
    if node.lookup:
        return KeptState("nothing: rows of the left leave as they come", "the table's row of each key", "its table")
    keys = ", ".join(f"{_text(pair.left)} = {_text(pair.right)}" for pair in node.keys)
    holds = f"the rows of both sides by {keys}, with the columns that are used"
    read = "the rows of the other side with the keys of each tick, by a scan of its log"
    if node.bound is not None and not any(plan.facts.changes for plan in node.inputs):
        return KeptState(holds, read, "rows that can meet none any more are dropped when the watermark has passed them")
    grows = "each row of " + " and of ".join(_side_name(plan) for plan in node.inputs if not plan.facts.key)
    remedy = "a bound on their event times (b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' HOUR) would bound it"
    if all(plan.facts.key for plan in node.inputs):
        grows, remedy = "each new key of its sides", _SHRINKS
    return KeptState(holds, read, "nothing", Growth(f"the join by {keys}", grows, remedy))


def _side_name(plan: Plan) -> str:
    return " and ".join(dict.fromkeys(node.source.name for node in walk(plan) if isinstance(node, Scan)))


def _text(tree: exp.Expression) -> str:
    return _plain(as_written(tree).copy())


def _growth(node: Aggregate, keys: list[str], values: list[str]) -> Growth | None:
    changes = node.input.facts.changes
    if values:
        grows = "each row that stands" if changes else "each row that it takes"
    elif keys:
        grows = f"each new {', '.join(keys)}"
    else:
        return None
    operator = f"GROUP BY {', '.join(keys)}" if keys else "the aggregate over all rows"
    remedy = _SHRINKS if changes else f"{_window_for(node)} would bound it"
    return Growth(operator, grows, remedy)


def _window_for(node: Aggregate) -> str:
    """A window that the query could have."""
    below = next(each for each in walk(node.input) if isinstance(each, (Aggregate, Scan, Join, Latest)))
    match below:
        case Join(lookup=False) if below.facts.event_time is None:
            return "a window of each stream before the join"
        case Join() | Latest():
            return "a window"
        case Aggregate():
            return "a window over window_end as one more key" if below.window else "a window in the query below"
        case Scan():
            time = below.source.event_time
            over = time.column if time is not None else "event time (declare its WATERMARK)"
            return f"a window over {over} as one more key"


def _reads_sources(plan: Plan) -> bool:
    """Whether rows come from sources, through no operator."""
    match plan:
        case Aggregate() | Latest():
            return False
        case Join():
            return plan.lookup and _reads_sources(plan.left)
    return all(map(_reads_sources, plan.inputs))


def _texts(columns: Sequence[Named]) -> list[str]:
    return [_plain(as_written(named.expression).copy()) for named in columns]


def _plain(tree: exp.Expression) -> str:
    """Its text, for a sentence: names without quotes."""
    for name in tree.find_all(exp.Identifier):
        name.set("quoted", not all(part.isidentifier() for part in name.name.split(".")))
    return str(tree.sql("duckdb"))
