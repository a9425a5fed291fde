"""The reference model: time, lateness, windows, groups, the ledger and the commit, row by row, in plain Python.

It is `docs/semantics.md` as code: the specification that runs. It is slow on purpose; nothing in it is incremental.
Times are microseconds. A row is a mapping of column names to values, or None for a record that does not decode.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tests.model.aggregates import AGGREGATES, Arguments, Value, distinct

NEVER = -(10**18)
Row: TypeAlias = Mapping[str, Value]
Expression: TypeAlias = Callable[[Row], Value]
#: (window start, window end, key values); both ends are None without a window.
Group: TypeAlias = tuple[int | None, int | None, tuple[Value, ...]]


class RowFailedError(Exception):
    """An expression raises on a row."""


@dataclass(frozen=True)
class Hop:
    """Every `[start, start + size)` with a start a multiple of `slide` from `origin`; tumbling when both are equal."""

    size: int
    slide: int
    origin: int = 0

    def of(self, ts: int) -> list[tuple[int, int]]:
        last = ts - (ts - self.origin) % self.slide
        starts = range(last, ts - self.size, -self.slide)
        return [(start, start + self.size) for start in reversed(starts)]


@dataclass(frozen=True)
class Cumulate:
    """Every `[start, end)` with a start a multiple of `size` from `origin`, and an end each `step` up to `size`."""

    size: int
    step: int
    origin: int = 0

    def of(self, ts: int) -> list[tuple[int, int]]:
        start = ts - (ts - self.origin) % self.size
        ends = range(ts - (ts - self.origin) % self.step + self.step, start + self.size + 1, self.step)
        return [(start, end) for end in ends]


@dataclass(frozen=True)
class Session:
    gap: int


@dataclass(frozen=True)
class Call:
    """An aggregate of `AGGREGATES`, with the arguments, FILTER and DISTINCT that it is called with."""

    function: str
    arguments: tuple[Expression, ...] = ()
    where: Expression | None = None
    distinct: bool = False


@dataclass(frozen=True)
class Query:
    """`calls` empty: a stateless query of `keys`. `having` sees the output row: window, keys, calls by position."""

    time: str | None = None
    delay: int = 0
    where: tuple[Expression, ...] = ()
    window: Hop | Cumulate | Session | None = None
    keys: tuple[Expression, ...] = ()
    calls: tuple[Call, ...] = ()
    having: Callable[[tuple[Value, ...]], Value] | None = None
    changes: bool = False
    lateness: int = 0
    late: Literal["drop", "dead_letter", "update"] = "drop"
    failure: Literal["skipped", "dead_lettered"] = "skipped"


@dataclass(frozen=True)
class Kept:
    """A row in state, in one of its windows (`window` is None without windows and for sessions)."""

    order: tuple[int, int, int]  # stream order: event time, partition, position
    number: int  # order of arrival
    window: tuple[int, int] | None
    key: tuple[Value, ...]
    arguments: tuple[Arguments | None, ...]  # of each call; None where FILTER leaves the row out


@dataclass(frozen=True)
class Change:
    """`weight` 1: `row` is now the row of `group`; -1: the group is gone."""

    weight: int
    group: Group
    row: tuple[Value, ...]


@dataclass
class State:
    """All that an epoch makes final, the sink included."""

    positions: dict[str, int]
    seen: dict[str, int]
    away: set[str] = field(default_factory=set)  # partitions that are finished or idle
    watermark: int = NEVER
    closed_through: int = NEVER
    kept: list[Kept] = field(default_factory=list)
    arrived: int = 0
    settled: int = 0  # rows that had arrived when the last batch ended
    standing: dict[Group, tuple[Value, ...]] = field(default_factory=dict)  # emitted, and may still change
    judged: set[Group] = field(default_factory=set)  # looked at by an emission, standing or not
    ledger: Counter[str] = field(default_factory=Counter)
    output: list[Change] = field(default_factory=list)


class Model:
    """One job. `take` rows, say when a batch ends, and how the input stands."""

    def __init__(self, query: Query, partitions: Sequence[str]) -> None:
        self.query = query
        self.state = State(dict.fromkeys(partitions, 0), dict.fromkeys(partitions, NEVER))
        self._committed = copy.deepcopy(self.state)

    # -- input, one row at a time

    def take(self, partition: str, row: Row | None) -> str:
        """Give the row its outcome."""
        self.state.away.discard(partition)
        outcome = self._judge(partition, row)
        if outcome == "absorbed" and self.query.window is None and not self.query.changes:
            self.state.judged.clear()  # the next bounded end gives the whole result again
        self.state.positions[partition] += 1
        self.state.ledger.update((outcome, "read"))
        return outcome

    def _judge(self, partition: str, row: Row | None) -> str:
        query, state = self.query, self.state
        if row is None:
            return query.failure
        ts = 0
        if query.time is not None:
            if row[query.time] is None:
                return query.failure
            ts = row[query.time]
        late_below = max(state.seen[partition] - query.delay - query.lateness, state.closed_through)
        state.seen[partition] = max(state.seen[partition], ts)
        windows = self._windows(ts, late_below)
        if not windows:
            return "late"
        try:
            if not self._passes(row):
                return "filtered"
            key = tuple(expression(row) for expression in query.keys)
            arguments = tuple(_arguments(call, row) for call in query.calls)
        except RowFailedError:
            return query.failure
        if not query.calls:
            self._write(1, (None, None, ()), key)
            return "emitted"
        if isinstance(query.window, Hop | Cumulate):
            state.ledger["late_windows"] += len(query.window.of(ts)) - len(windows)
        order = (ts, sorted(state.positions).index(partition), state.positions[partition])
        state.kept += [Kept(order, state.arrived, window, key, arguments) for window in windows]
        state.arrived += 1
        return "absorbed"

    def _windows(self, ts: int, late_below: int) -> Sequence[tuple[int, int] | None]:
        """The windows of a row that are not late; a row without windows, or of a session, has one place."""
        match self.query.window:
            case None:
                return [None]
            case Session():
                return [None] if ts >= late_below else []
            case window:
                return [(start, end) for start, end in window.of(ts) if end > late_below]

    def _passes(self, row: Row) -> bool:
        """A conjunct that is not true rejects, even beside one that raises."""
        raised = False
        for conjunct in self.query.where:
            try:
                if conjunct(row) is not True:
                    return False
            except RowFailedError:
                raised = True
        if raised:
            raise RowFailedError
        return True

    # -- how the input stands

    def finish(self, partition: str) -> None:
        """The partition is finished or idle: it leaves the minimum until it speaks again."""
        self.state.away.add(partition)

    def rest(self) -> None:
        """All partitions are idle: none holds another one back."""
        furthest = max(self.state.seen.values(), default=NEVER)
        self.state.watermark = max(self.state.watermark, furthest - self.query.delay)

    def end_batch(self) -> None:
        """Emit what this batch made ripe or changed, then forget what nothing can change any more."""
        query, state = self.query, self.state
        active = [seen - query.delay for name, seen in state.seen.items() if name not in state.away]
        state.watermark = max(state.watermark, min(active, default=NEVER))  # it never goes back
        groups = self._groups()
        self._retract(groups)
        fresh = {group for group, rows in groups.items() if rows[-1].number >= state.settled}
        if query.changes:
            self._emit(fresh, groups)
        elif query.window is not None:
            wait = 0 if query.late == "update" else query.lateness
            ripe = {group for group in groups if _end(group) + wait <= state.watermark}
            self._emit({group for group in ripe if group in fresh or group not in state.judged}, groups)
        state.settled = state.arrived
        if query.window is not None:
            self._close(groups, state.watermark - query.lateness)

    def end(self) -> None:
        """The bounded end, after the last batch: windows that wait are emitted and closed; the watermark stays."""
        query, state = self.query, self.state
        groups = self._groups()
        if not query.keys and query.window is None and query.calls and not groups and not state.output:
            groups = {(None, None, ()): []}
        self._emit({group for group in groups if group not in state.judged}, groups)
        if query.window is not None and not query.changes:
            self._close(groups, max((_end(group) for group in groups), default=NEVER))

    def commit(self) -> None:
        self._committed = copy.deepcopy(self.state)

    def crash(self) -> None:
        """Everything since the last commit is gone, at the sink too; `state.positions` says where to go on."""
        self.state = copy.deepcopy(self._committed)

    # -- groups

    def _groups(self) -> dict[Group, list[Kept]]:
        """The rows of every group in state, in order of arrival."""
        groups: dict[Group, list[Kept]] = {}
        for row in self.state.kept:
            window = self._session_of(row) if isinstance(self.query.window, Session) else row.window
            start, end = window or (None, None)
            groups.setdefault((start, end, row.key), []).append(row)
        return groups

    def _session_of(self, row: Kept) -> tuple[int, int]:
        """The run of rows of the key, around `row`, in which no two neighbours are a gap apart."""
        assert isinstance(self.query.window, Session)
        times = sorted(other.order[0] for other in self.state.kept if other.key == row.key)
        return session(times, row.order[0], self.query.window.gap)

    def _close(self, groups: Mapping[Group, list[Kept]], bound: int) -> None:
        """Drop the windows that end at or before `bound`; rows that come for one later are late, also in others."""
        self.state.closed_through = max(self.state.closed_through, bound)
        closed = [group for group in groups if _end(group) <= bound]
        gone = {id(row) for group in closed for row in groups[group]}
        self.state.kept = [row for row in self.state.kept if id(row) not in gone]
        for group in closed:
            self.state.standing.pop(group, None)
            self.state.judged.discard(group)

    # -- output

    def _emit(self, due: Iterable[Group], groups: Mapping[Group, list[Kept]]) -> None:
        for group in sorted(due, key=_emission_order):
            self.state.judged.add(group)
            row = (*group[2], *(self._result(index, groups[group]) for index in range(len(self.query.calls))))
            row = (group[0], group[1], *row) if self.query.window is not None else row
            try:
                wanted = self.query.having is None or self.query.having(row) is True
            except RowFailedError:
                self.state.ledger.update(("produced", "output_rejected"))
                continue
            if wanted:
                self._write(1, group, row)
                self.state.standing[group] = row
            elif group in self.state.standing:
                self._write(-1, group, self.state.standing.pop(group))

    def _retract(self, groups: Mapping[Group, list[Kept]]) -> None:
        """Sessions that were emitted and have since grown or merged are another group now."""
        if not isinstance(self.query.window, Session):
            return
        for group in sorted(self.state.judged - groups.keys(), key=_emission_order):
            self.state.judged.discard(group)
            if group in self.state.standing:
                self._write(-1, group, self.state.standing.pop(group))

    def _result(self, index: int, rows: Sequence[Kept]) -> Value:
        call = self.query.calls[index]
        ordered = sorted(rows, key=lambda row: row.order)
        arguments = [row.arguments[index] for row in ordered]
        taken = [each for each in arguments if each is not None]
        return AGGREGATES[call.function](distinct(taken) if call.distinct else taken)

    def _write(self, weight: int, group: Group, row: tuple[Value, ...]) -> None:
        self.state.output.append(Change(weight, group, row))
        self.state.ledger.update(("produced", "written"))


def session(times: Sequence[int], ts: int, gap: int) -> tuple[int, int]:
    """Start and end of the session of `ts` among sorted `times` of one key."""
    start = last = ts
    for other in times:
        if ts < other < last + gap:
            last = other
    for other in reversed(times):
        if start - gap < other < ts:
            start = other
    return start, last + gap


def fold(changes: Iterable[Change]) -> dict[Group, tuple[Value, ...]]:
    """What stands after all changes: the last row of each group."""
    standing: dict[Group, tuple[Value, ...]] = {}
    for change in changes:
        if change.weight > 0:
            standing[change.group] = change.row
        else:
            del standing[change.group]
    return standing


def _arguments(call: Call, row: Row) -> Arguments | None:
    """Arguments are evaluated only where FILTER takes the row."""
    if call.where is not None and call.where(row) is not True:
        return None
    return tuple(expression(row) for expression in call.arguments)


def _end(group: Group) -> int:
    assert group[1] is not None
    return group[1]


def _emission_order(group: Group) -> tuple[int, int, tuple[tuple[bool, Value], ...]]:
    """Window end, window start, keys ascending with NULL last."""
    start, end, key = group
    return (end or 0, start or 0, tuple((value is None, 0 if value is None else value) for value in key))
