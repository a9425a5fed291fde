"""What an operator is: statements over its own logs, the values that it must remember, and facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

#: Relations that an operator's statements name: the rows that come to a port, all that its log holds, and what of
#: that the tick has brought. Those of a second port end in 1.
ROWS_IN, LOG, TICK_ROWS = "rows_in", "log", "tick_rows"

#: Parameters: the number of the tick; windows that end in `(low, high]`; up to where windows are closed.
TICK_NUMBER, LOW, HIGH, CLOSED_THROUGH = "tick", "low_us", "high_us", "closed_us"


@dataclass(frozen=True, slots=True)
class Port:
    """Where rows come in, and the log that keeps what they come to.

    `append` is the SELECT over `rows_in` whose rows a tick appends: outcome, `_slice`, what is kept, and the counts of
    `DELTA_COUNTS`. `in_order` gives the same with less work when no row is late, what whoever runs it must check by the
    spans of rows that it also gives. `append_apart` adds nothing up: for rows whose sums would not fit.

    `keep` is the SELECT over `log` that holds all that still matters when windows are closed up to `closed_us`, in
    fewer rows. `open_from`: slices that begin before what it gives for that bound are in closed windows only; None: a
    slice alone does not tell. `reach_us`: windows that end behind a bound hold no slice that begins so much earlier;
    None: every slice matters. `merges`: `keep` can make fewer rows of many.
    """

    append: exp.Select
    append_apart: exp.Select
    keep: exp.Select
    in_order: exp.Select | None = None
    open_from: Callable[[int], int] | None = None
    reach_us: int | None = None
    merges: bool = True


@dataclass(frozen=True, slots=True)
class Operator:
    """A part of a job that keeps state: SQL over its own logs, and nothing else.

                      a tick                                  the watermark moves, the input ends
        rows ──▶ append ──▶ ┌───────────────┐ ──▶ due ──▶ results of windows in (low, high]
          (one for each     │ log: panes of │
           port)            │ decided ticks │ ──▶ changes ──▶ groups that the tick touched
                            │ + the delta   │       over the log with the tick, and over the log without it
                            └───────────────┘
                       keep ──▶   └──▶ the same in fewer rows, without what is closed

    An operator is data: the compiler builds its statements once, and one runner (`compile/runner.py`) runs them,
    whatever the operator is. It appends what `append` gives to the delta of the open epoch. It asks `changes` what the
    tick has changed and `due` what the watermark lets go. At the end of the epoch the delta becomes part of the
    panes; a rollback forgets it; and once the epoch is decided, `keep` takes the place of rows that have grown many.

    So an operator has no say in epochs, rollbacks, restarts, compaction or the bound on memory: it gets them from the
    log, which is appended to and never updated. All that it knows of the past is there: "what was shown" is what
    `changes` gives over the log before the tick, never a variable. What cannot be in a log are a few values (up to
    where windows are closed, up to where they were given). The runner holds them; they are in the epoch's row, and they
    come to the statements as parameters.

    The relations that statements name (`rows_in`, `log`, `tick_rows`) are put in their places by `bind`. Bounds are in
    the SQL and never left to what `keep` has deleted: with and without it, a statement gives the same.

    A new operator is a function that gives one of these, listed in the harness (`tests/properties/operators.py`):
    random ticks, rollbacks, restarts and compactions, against the batch query of DuckDB after every tick.

    `changes` and `due` give bounds of the window (`_start`, `_stop`; with one), keys and merged partials, in order.
    `identity` are the bounds that tell the windows of one key apart. `keyed_windows`: each key has windows of its own.
    """

    ports: tuple[Port, ...]
    changes: exp.Select
    due: exp.Select
    identity: tuple[str, ...] = ()
    keyed_windows: bool = False

    @property
    def port(self) -> Port:
        """That of an operator with one."""
        (port,) = self.ports
        return port


@dataclass(frozen=True, slots=True)
class RowsOperator:
    """An operator with a log for each of its sides: a join, a table, an aggregate over rows that can be taken back.

    A tick brings rows to one side. `changes` gives, for each of them, what those rows change (None: nothing at once),
    over `log`, `log1`, `tick_rows` and `tick_rows1`: `_row`, `_op` where rows can be taken back, and the result's
    columns. `due` is what the watermark lets go when it moves from `low_us` to `high_us`; None: nothing waits for it.
    `at_end` is what is given once, at the end of the input, in the place of changes.
    """

    ports: tuple[Port, ...]
    changes: tuple[exp.Select | None, ...]
    due: exp.Select | None = None
    at_end: exp.Select | None = None


def bind(statement: exp.Select, **relations: exp.Query) -> exp.Select:
    """The statement with relations in the places of their names. They are its own from then on, and copied only where
    they are named again."""
    taken: set[str] = set()

    def replaced(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Table) or node.name not in relations or node.db:
            return node
        again = node.name in taken
        taken.add(node.name)
        return relations[node.name].subquery(node.alias_or_name, copy=again)

    made = statement.transform(replaced)
    assert isinstance(made, exp.Select)
    return made


def parameter(name: str) -> exp.Expression:
    """A named parameter of type BIGINT."""
    return exp.cast(exp.Parameter(this=exp.var(name)), "BIGINT")
