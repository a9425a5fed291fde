"""The harness of operators finds no difference, and finds one for each fault that is planted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pytest
from sqlglot import exp

from ferrisstreams.compile import aggregation, current, runner
from ferrisstreams.duck.state_log import StateLog
from ferrisstreams.operators.aggregate import aggregate
from ferrisstreams.operators.base import Operator
from ferrisstreams.operators.changes import as_inserts
from ferrisstreams.operators.log import LogShape
from ferrisstreams.operators.runs import HASH, Runs
from ferrisstreams.plan.nodes import Window
from tests.properties import operators
from tests.properties.operators import LISTED, DifferenceError, Listed, Run, check, replaced
from tests.sampling import one_of

TICKS, TICKS_FULL = 15, 2_000

Plant = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.name)
@pytest.mark.parametrize("ticks", [TICKS, pytest.param(TICKS_FULL, marks=pytest.mark.full)])
def test_changes_fold_to_the_batch_answer_after_every_tick(listed: Listed, ticks: int) -> None:
    check(partial(Run, listed), ticks)


def test_large_tick_after_small_ones_of_one_epoch_sees_them() -> None:
    check(partial(Run, _listed("grouped")), 20, seed=5001)


def test_keys_of_one_hash_are_distinguished() -> None:
    """As if every other key had the same hash."""
    whole = current.CurrentForm._hash

    def halved(self: current.CurrentForm) -> exp.Expr:
        return exp.alias_(exp.Mod(this=exp.paren(whole(self).this), expression=exp.Literal.number(2)), HASH)

    with replaced(current.CurrentForm, "_hash", halved):
        check(partial(Run, _listed("grouped")), 60)


# --- planted faults ---------------------------------------------------------------------------------------------------


def _listed(name: str) -> Listed:
    return next(listed for listed in LISTED if listed.name == name)


def _changed(part: str, change: Callable[[exp.Expr], exp.Expr]) -> Plant:
    """Every operator with each node of a part of it changed."""

    def planted(shape: LogShape, window: Window | None) -> Operator:
        made = aggregate(shape, window)
        if part == "keep":
            return replace(made, ports=(replace(made.port, keep=made.port.keep.transform(change)),))
        return replace(made, **{part: getattr(made, part).transform(change)})

    return lambda: replaced(aggregation, "aggregate", planted)


def _in_place_of(old: type[exp.Expr], new: type[exp.Expr]) -> Callable[[exp.Expr], exp.Expr]:
    return lambda node: new(this=node.this, expression=node.expression) if type(node) is old else node


def _greatest_for_sum(node: exp.Expr) -> exp.Expr:
    is_sum = isinstance(node, exp.Anonymous) and node.name == "sum"
    return exp.Anonymous(this="max", expressions=node.expressions) if is_sum else node


def _keep_bounds() -> AbstractContextManager[None]:
    restore = runner.Runner.restore

    def planted(self: runner.Runner, snapshot: object) -> None:
        emitted_us, closed_us = self.emitted_us, self.closed_us
        restore(self, snapshot)  # type: ignore[arg-type]
        self.emitted_us, self.closed_us = max(emitted_us, self.emitted_us), max(closed_us, self.closed_us)

    return replaced(runner.Runner, "restore", planted)


def _drop_too_much() -> AbstractContextManager[None]:
    def planted(shape: LogShape, window: Window | None) -> Operator:
        made = aggregate(shape, window)
        return replace(made, ports=(replace(made.port, open_from=lambda closed_us: closed_us + 1),))

    return replaced(aggregation, "aggregate", planted)


def _take_oldest() -> AbstractContextManager[None]:
    put = Runs.put

    def planted(self: Runs, rows: pa.Table) -> None:
        put(self, rows)
        self._runs.insert(0, self._runs.pop())

    return replaced(Runs, "put", planted)


def _ignore_before() -> AbstractContextManager[None]:
    select = StateLog.select
    return replaced(StateLog, "select", lambda self, low=None, high=None, before=None: select(self, low, high))


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and the operator of the list that it is in."""

    name: str
    operator: str
    plant: Plant


FAULTS = (
    Fault("< for <= at the end of windows", "tumbling, final", _changed("due", _in_place_of(exp.LTE, exp.LT))),
    Fault(">= for > at the begin of windows", "tumbling, final", _changed("due", _in_place_of(exp.GT, exp.GTE))),
    Fault("<= for < at the gap", "sessions, final", _changed("due", _in_place_of(exp.LT, exp.LTE))),
    Fault("a NULL key dropped", "hopping", _changed("changes", _in_place_of(exp.NullSafeEQ, exp.EQ))),
    Fault("the greatest for the sum in keep", "hopping, final", _changed("keep", _greatest_for_sum)),
    Fault("a closed session left out too late", "sessions, final", _changed("due", _in_place_of(exp.GT, exp.GTE))),
    Fault("a value not rolled back", "tumbling, final", _keep_bounds),
    Fault("an open window given back", "hopping, final", _drop_too_much),
    Fault(
        "the delta kept after the epoch",
        "grouped, values kept",
        lambda: replaced(StateLog, "confirm", lambda self: None),
    ),
    Fault(
        "rows of an undone epoch kept",
        "cumulating",
        lambda: replaced(operators, "delete_after", lambda state, tick: None),
    ),
    Fault(
        "a lost retraction",
        "tumbling",
        lambda: replaced(runner, "differences", lambda before, after, *_: as_inserts(after)),
    ),
    Fault("before with the tick", "cumulating", _ignore_before),
    Fault("an old run wins", "grouped", _take_oldest),
    Fault(
        "current rows of an undone epoch kept",
        "grouped by nothing",
        lambda: replaced(current.CurrentGroups, "drop", lambda self: None),
    ),
    Fault(
        "a tick of current rows left out of a scan",
        "grouped",
        lambda: replaced(StateLog, "settle", lambda self: None),
    ),
    Fault(
        "a tick of current rows not kept in the log",
        "grouped by a key that grows",
        lambda: replaced(StateLog, "put", lambda self, *_: None),
    ),
)


@pytest.mark.parametrize("fault", one_of(4, [(fault.name, fault) for fault in FAULTS]))
def test_planted_fault_is_found(fault: Fault) -> None:
    with fault.plant(), pytest.raises(DifferenceError):
        check(partial(Run, _listed(fault.operator)), TICKS_FULL)
