"""What a query means: frozen nodes, each with its schema and the three facts that decide how it may run.

Scalar expressions are sqlglot trees over the input's columns: every column reference is an unqualified, quoted
`exp.Column` whose name is exactly the input column's name. A plan names no file, no engine and no setting beyond what
the statement says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.config.values import Property
from ferrisstreams.errors import Position
from ferrisstreams.schema import Column, EventTime, Schema

WINDOW_START = "window_start"
WINDOW_END = "window_end"

#: The hidden column of a table's source that says whether a row takes away that of its key (BOOLEAN, never NULL).
DELETED = "_deleted"
#: Beside it: whether the row is of a record that gives another row too, and is counted with that.
REPEATED = "_repeated"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source. Its schema has no columns as long as they are not known. `key` are the columns that tell the rows of a
    table apart; a stream has none."""

    name: str
    schema: Schema
    event_time: EventTime | None
    properties: Mapping[str, Property]
    position: Position | None = None
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """Where a job's rows go, as written in its `WITH (…)`; `anonymous` for a SELECT alone (standard output),
    which ends after `limit` rows."""

    name: str
    properties: Mapping[str, Property]
    anonymous: bool = False
    position: Position | None = None
    limit: int | None = None


class Emit(Enum):
    FINAL = "final"
    CHANGES = "changes"


class WindowKind(Enum):
    TUMBLE = "tumble"
    HOP = "hop"
    SESSION = "session"
    CUMULATE = "cumulate"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Window:
    """`[start, end)` in event time. Tumbling: `size_us` = `slide_us`. A session: `size_us` is the gap. Cumulating: the
    windows of one `size_us` begin together and end every `slide_us`. Given: the rows are results of windows of this
    size and slide, and stay in them.

    Boundaries are `origin_us` plus a multiple of `slide_us`, in microseconds since 1970 UTC.
    """

    kind: WindowKind
    time: str
    size_us: int
    slide_us: int
    origin_us: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """An expression and the name of the column that it makes."""

    name: str
    expression: exp.Expression
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """`changes`: rows can disappear or be replaced (the relation carries `_weight`); `event_time`: the column that
    holds it; `key`: the columns that identify a row among those that stand at one time."""

    changes: bool = False
    event_time: str | None = None
    key: tuple[str, ...] | None = None


class _OneInput:
    """A node over one other."""

    __slots__ = ()
    input: Plan

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)


@dataclass(frozen=True, slots=True)
class Scan:
    """Rows of a source. `computed` adds columns whose value must be fixed once a row (clock and chance)."""

    source: SourceSpec
    schema: Schema
    computed: tuple[Named, ...] = ()

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return ()

    @property
    def facts(self) -> Facts:
        return Facts(event_time=self.source.event_time.column if self.source.event_time else None)


@dataclass(frozen=True, slots=True)
class Filter(_OneInput):
    """Rows for which every conjunct is true. A conjunct that is NULL rejects."""

    input: Plan
    conjuncts: tuple[exp.Expression, ...]

    @property
    def schema(self) -> Schema:
        return self.input.schema

    @property
    def facts(self) -> Facts:
        return self.input.facts


@dataclass(frozen=True, slots=True)
class Project(_OneInput):
    input: Plan
    columns: tuple[Named, ...]
    schema: Schema
    facts: Facts = Facts()


@dataclass(frozen=True, slots=True)
class AssignWindow(_OneInput):
    """Puts each row into its windows: adds `window_start` and `window_end` (TIMESTAMP)."""

    input: Plan
    window: Window

    @property
    def schema(self) -> Schema:
        bounds = (Column(WINDOW_START, "TIMESTAMP", False), Column(WINDOW_END, "TIMESTAMP", False))
        return Schema(bounds + tuple(item for item in self.input.schema if item.name not in (WINDOW_START, WINDOW_END)))

    @property
    def facts(self) -> Facts:
        return self.input.facts


@dataclass(frozen=True, slots=True)
class Aggregate(_OneInput):
    """Groups by the window (when the input is an `AssignWindow`) and `keys`. `calls` are single aggregate calls.

    The schema is `window_start`, `window_end` (with a window), then the keys, then the calls.
    """

    input: Plan
    keys: tuple[Named, ...]
    calls: tuple[Named, ...]
    emit: Emit
    schema: Schema

    @property
    def window(self) -> Window | None:
        return self.input.window if isinstance(self.input, AssignWindow) else None

    @property
    def facts(self) -> Facts:
        keys = tuple(key.name for key in self.keys)
        if self.window is not None and self.window.kind is WindowKind.CUMULATE:
            keys = (WINDOW_END, *keys)  # many windows begin together
        elif self.window is not None:
            keys = (WINDOW_START, WINDOW_END, *keys)
        return Facts(changes=self.emit is Emit.CHANGES, event_time=None, key=keys)


@dataclass(frozen=True, slots=True)
class UnionAll:
    """The rows of several inputs, each once. Every branch has the columns of `schema`: their names and types."""

    branches: tuple[Plan, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return self.branches

    @property
    def facts(self) -> Facts:
        times = {branch.facts.event_time for branch in self.branches}
        changes = any(branch.facts.changes for branch in self.branches)
        return Facts(changes=changes, event_time=times.pop() if len(times) == 1 else None)


class JoinKind(Enum):
    INNER = "inner"
    LEFT = "left"
    RIGHT = "right"
    FULL = "full"
    SEMI = "semi"
    ANTI = "anti"

    @property
    def gives_left(self) -> bool:
        """Whether the result are rows of the left side alone: those with a partner, or those without one."""
        return self in (JoinKind.SEMI, JoinKind.ANTI)

    @property
    def keeps_left(self) -> bool:
        """Whether rows of the left side without a partner are in the result."""
        return self in (JoinKind.LEFT, JoinKind.FULL)

    @property
    def keeps_right(self) -> bool:
        return self in (JoinKind.RIGHT, JoinKind.FULL)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An equality of an expression over the left side and one over the right, of one type."""

    left: exp.Expression
    right: exp.Expression


@dataclass(frozen=True, slots=True)
class TimeBound:
    """Partners have the event time of the right side in `[left + low_us, left + high_us]`."""

    left_time: str
    right_time: str
    low_us: int
    high_us: int


@dataclass(frozen=True, slots=True)
class Join:
    """The pairs of rows of two sides that have equal `keys` and times within `bound`, and for which every conjunct of
    `residual` is true. `kind` says which rows without a partner are given too, with NULLs for the other side.

    The schema is the left side's columns, then the right's, if it gives them; the names of both differ. Keys are over
    the columns of a side, `residual` over those of both. `lookup`: rows of the left meet the row that the right side, a
    table, holds when they come, and its changes give nothing. `emit`: CHANGES gives rows without a partner at once, and
    takes them back.
    """

    left: Plan
    right: Plan
    kind: JoinKind
    keys: tuple[KeyPair, ...]
    residual: tuple[exp.Expression, ...]
    schema: Schema
    bound: TimeBound | None = None
    lookup: bool = False
    emit: Emit = Emit.FINAL
    position: Position | None = field(default=None, compare=False)

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.left, self.right)

    @property
    def facts(self) -> Facts:
        left, right = self.left.facts, self.right.facts
        if self.lookup:
            return Facts(left.changes, left.event_time)
        early = self.bound is None or self.emit is Emit.CHANGES
        pads = self.kind not in (JoinKind.INNER, JoinKind.SEMI) and early
        changes = left.changes or right.changes or pads
        # Rows of the right side without a partner have no time of the left.
        timed = self.bound is not None and not changes and not self.kind.keeps_right
        return Facts(changes, self.bound.left_time if self.bound is not None and timed else None, self._key())

    def _key(self) -> tuple[str, ...] | None:
        """Where a row of one side meets one of the other at most, the key of that side is enough. In a FULL JOIN rows
        of both may stand alone: with two keys of NULLs nothing would tell them apart."""
        left, right = self.left.facts.key, self.right.facts.key
        if self.kind.gives_left:
            return left
        if self._meets_one(right, [pair.right for pair in self.keys]) and not self.kind.keeps_right and left:
            return left
        if self._meets_one(left, [pair.left for pair in self.keys]) and not self.kind.keeps_left and right:
            return right
        alone = self.kind is JoinKind.FULL and not (_has_no_null(self.left, left) or _has_no_null(self.right, right))
        return (*left, *right) if left and right and not alone else None

    @staticmethod
    def _meets_one(key: tuple[str, ...] | None, given: list[exp.Expression]) -> bool:
        named = {tree.name for tree in given if isinstance(tree, exp.Column)}
        return key is not None and set(key) <= named


def _has_no_null(plan: Plan, key: tuple[str, ...] | None) -> bool:
    """Whether a column of the key is never NULL."""
    return any(item.name in (key or ()) and not item.nullable for item in plan.schema)


@dataclass(frozen=True, slots=True)
class Latest(_OneInput):
    """A table: the newest row of each `key` among those of a scan, until one comes whose `DELETED` is true."""

    input: Plan
    key: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        return Schema(tuple(item for item in self.input.schema if item.name != DELETED))

    @property
    def facts(self) -> Facts:
        return Facts(changes=True, key=self.key)


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """What becomes of a header of the output's messages: it holds the value of the input's hidden `column`, or (None)
    it is removed."""

    name: str
    column: str | None
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Sink(_OneInput):
    """The root of a job's plan. `message_key` are the output columns that key its messages, when there are such;
    `key_chosen`: the author named them.

    The schema is the input's without the hidden columns, which hold what `headers` are set to.
    """

    input: Plan
    spec: SinkSpec
    emit: Emit | None
    message_key: tuple[str, ...] = ()
    key_chosen: bool = False
    headers: tuple[HeaderChange, ...] = ()

    @property
    def schema(self) -> Schema:
        return self.input.schema.visible

    @property
    def facts(self) -> Facts:
        return self.input.facts


Plan: TypeAlias = Scan | Filter | Project | AssignWindow | Aggregate | UnionAll | Join | Latest | Sink


def walk(plan: Plan) -> Iterator[Plan]:
    """The nodes of a plan, each before its inputs."""
    yield plan
    for node in plan.inputs:
        yield from walk(node)


def map_inputs(plan: Plan, change: Callable[[Plan], Plan]) -> Plan:
    """The node over what `change` makes of its inputs."""
    match plan:
        case Scan():
            return plan
        case UnionAll():
            return replace(plan, branches=tuple(map(change, plan.branches)))
        case Join():
            return replace(plan, left=change(plan.left), right=change(plan.right))
        case _:
            return replace(plan, input=change(plan.input))


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job: its name, its plan and what the statement's annotations and properties say.

    `annotations` are `@name`, `@job_mode` … of the job. `depends_on` are the names of the jobs that come before
    it, and `fed_by` those of them whose output it reads. `endless`: a source can go on, whatever was read of it.
    `outside_law` are the calls (`random()`) for whose values the answer law does not hold.
    """

    name: str
    plan: Sink
    annotations: Mapping[str, Property]
    depends_on: tuple[str, ...] = ()
    position: Position | None = None
    outside_law: tuple[str, ...] = ()
    fed_by: tuple[str, ...] = ()
    endless: bool = False


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that is not bound yet: the columns of its `source` are known only when it is read."""

    name: str
    sink: SinkSpec
    source: SourceSpec
    annotations: Mapping[str, Property]
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class ApplicationPlan:
    """All jobs of an application, in the order of the text. `name` is `@app`, else the file's stem."""

    name: str
    jobs: tuple[JobPlan, ...]
    annotations: Mapping[str, Property]
    warnings: tuple[str, ...] = ()
    open_jobs: tuple[OpenJob, ...] = ()
