"""Runs the row statement of a stage: plainly, and in diagnosis form when the plain form raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from sqlglot import exp

from ferrisstreams.batch import Rejected, integer
from ferrisstreams.compile.payload import Parameters, json_of
from ferrisstreams.compile.rows import (
    FAILED,
    RowShape,
    as_written,
    computed,
    diagnosed,
    expression_at,
    failing,
    judged,
    projected,
    raising_computed,
    with_computed,
)
from ferrisstreams.compile.uncaught import failing_by_halves, keep_uncomputed
from ferrisstreams.duck.engine import Connection, DataError, Prepared, Rendered, Statement, column, render, text
from ferrisstreams.errors import RowError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.diagnosis import create_table, shortened
from ferrisstreams.plan.expressions import as_written as without_hidden

#: Failing rows of a job whose reason is asked of the engine one by one; beyond that the message names the values.
REASONS_MAX = 10

#: Scans whose statements are kept: a decoder's plain one, one of what was judged, and one that only raises.
_SCANS_KEPT = 3

#: The batch that is diagnosed, and which of its rows fail.
_BATCH, _FOUND = "_batch", "_found"

#: The batch without what is computed once for a row, and in which of its rows that raises.
_SCANNED, _UNCOMPUTED = "_scanned", "_uncomputed"
_FAILING_ROWS = exp.select(ROW, "_which").from_(_FOUND).order_by(ROW).sql("duckdb")

Result = TypeVar("Result")

#: Projected rows to the statement that makes a result of them.
Reduce = Callable[[exp.Select], exp.Expression]

#: Waits before each new attempt of a batch that failed, and gives the wall time (us) of that failure; without any
#: attempts left, the batch is diagnosed.
Retries = Callable[[], Iterator[int]]


class Tried:
    """How often a batch was tried, and when it first failed."""

    def __init__(self) -> None:
        self._attempts = 1
        self._first_us: int | None = None
        self._waits: Iterator[int] | None = None

    def again(self, retries: Retries) -> bool:
        """After a failure: wait for the next attempt; False when there is none."""
        self._waits = self._waits or retries()
        failed_us = next(self._waits, None)
        if failed_us is None:
            return False
        self._attempts += 1
        self._first_us = failed_us if self._first_us is None else self._first_us
        return True

    def stamp(self, rejected: Sequence[Rejected]) -> list[Rejected]:
        """The rows that failed in the end, with how often they were tried; as they are, where that was once."""
        if self._attempts == 1:
            return list(rejected)
        return [replace(row, attempts=self._attempts, first_failed_us=self._first_us) for row in rejected]


class Rows(Protocol):
    """A batch as the row statement reads it."""

    @property
    def steady(self) -> bool:
        """Whether the scan reads nothing but a file, so that the plan of a statement over it can be kept."""

    def scan(self) -> exp.Select:
        """The rows, with `_row`; it may raise DataError, and so may reading them."""

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        """After a DataError: the readable rows, and the others as rejected."""

    def reject(self, failures: Sequence[Failure]) -> list[Rejected]:
        """Rejected values for rows whose expressions fail."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row whose expression raises: its ordinal, the expression's text, and why."""

    row: int
    expression: str
    message: str


@dataclass(frozen=True, slots=True)
class Ran(Generic[Result]):
    """The reduced result of a batch; `relation` is what it was read from, for questions about single rows, and `marked`
    the shape of its diagnosis form, when it took that."""

    result: Result
    relation: exp.Select
    marked: RowShape | None
    rejected: tuple[Rejected, ...] = ()


class RowStage(Generic[Result]):
    """Everything between the bytes of a fetch and the next operator, or the output, as one statement of the engine.

        scan ──▶ computed columns ──▶ WHERE, SELECT list ──▶ reduce ──▶ result
        └ decoder ┘└────────── shape: a RowShape ──────────┘

    `reduce` makes of the projected rows what the stage is for: lines of the output, or the partial results of an
    aggregate. `fetch` runs the statement and takes the result. A batch in which no row fails costs this one statement,
    and nothing of it becomes a Python object but the result. A data error says that some row fails, and not which:

        plain ──────────────────────────────────────────────── ok ──▶ result
          │ DataError; again, as `retries` say
        settled: without the records that do not decode ────── ok ──▶ result, rejected
          │ DataError, or all of them decode
        marked: without the rows that TRY shows to fail ───────────▶ result, rejected

    Whether a row fails depends on the row alone, not on its batch or on the order in which the engine evaluates.
    `reduce_apart` is another way to the same result that never raises, where `reduce` may although no row by itself
    does: a sum that does not fit.
    """

    def __init__(
        self,
        work: Connection,
        shape: RowShape,
        reduce: Reduce,
        fetch: Callable[[Statement, Parameters], Result],
        retries: Retries = lambda: iter(()),
        reduce_apart: Reduce | None = None,
    ) -> None:
        self._work = work
        self._reduce_apart = reduce_apart
        self.shape = shape
        self._reduce = reduce
        self._fetch = fetch
        self._retries = retries
        self._kept: list[_Kept] = []
        self._settled: tuple[str, _Kept] | None = None
        #: Whether in the last batch that failed all records decoded.
        self._expects_failures = False
        self._reasons_asked = 0

    def run(self, rows: Rows, parameters: Parameters) -> Ran[Result]:
        """The result of the batch. Raises DataError only when the rows' own relation cannot be settled."""
        attempts, plain = Tried(), None
        while True:
            try:
                plain = self._plain(rows.scan())
                # A plan for a table is not kept: it grows.
                keeps = rows.steady and not self.shape.lookups
                planned = self._planned(plain) if keeps else plain.statement
                return Ran(self._fetch(planned, parameters), plain.relation, marked=None)
            except DataError:
                if not attempts.again(self._retries):
                    break
        ran = self._diagnose(rows, plain, parameters)
        return replace(ran, rejected=tuple(attempts.stamp(ran.rejected)))

    def _plain(self, scan: exp.Select) -> _Kept:
        """The scan with computed columns, and the statement over it; built once for the few scans that take turns."""
        for kept in self._kept:
            if kept.scan is scan:
                return kept
        if len(self._kept) == _SCANS_KEPT:
            forgotten = self._kept.pop(0)
            if forgotten.prepared is not None:
                self._work.release(forgotten.prepared)
        relation = with_computed(self.shape, scan)
        reduced = self._reduce(self._projected(relation))
        self._kept.append(_Kept(scan, relation, render(reduced, copy=False)))
        return self._kept[-1]

    def _planned(self, kept: _Kept) -> Prepared:
        """The statement, planned once: planning costs about as much as ten thousand rows."""
        if kept.prepared is None:
            kept.prepared = self._work.prepare(kept.statement)
        return kept.prepared

    def ask(
        self, ran: Ran[Result], question: Callable[[exp.Select], exp.Select], parameters: Parameters
    ) -> list[tuple[object, ...]]:
        """Run another reduction over the same rows; for the few that need a second look."""
        rows = self._projected(ran.relation) if ran.marked is None else _marked_rows(ran.marked, ran.relation)
        return self._work.rows(question(rows), parameters)

    def _projected(self, relation: exp.Select) -> exp.Select:
        return projected(self.shape, judged(self.shape, relation, marked=False))

    def _diagnose(self, rows: Rows, plain: _Kept | None, parameters: Parameters) -> Ran[Result]:
        """What does not decode is left out; where expressions fail all the same, the failing rows are found."""
        rejected: Sequence[Rejected] = ()
        shape = self.shape
        if plain is None or not self._expects_failures or not self._keeps_batch(plain, parameters):
            settled, rejected = rows.settle()
            kept = self._kept_settled(settled)
            if rejected:
                try:
                    result = self._fetch(kept.statement, parameters)
                    return Ran(result, kept.relation, marked=None, rejected=tuple(rejected))
                except DataError:
                    pass
            shape = self._keep(kept, parameters)
        self._expects_failures = not rejected
        statements = self._statements if shape is self.shape else self._diagnosis(shape)
        self._find_failing(statements, parameters)
        failures = self._failures()
        result = self._marked(statements, parameters)
        return Ran(result, statements.relation, marked=statements.shape, rejected=(*rejected, *rows.reject(failures)))

    def _keeps_batch(self, plain: _Kept, parameters: Parameters) -> bool:
        """Keep the batch as it is scanned; False where some record does not decode."""
        try:
            self._work.execute(plain.batch, parameters)
        except DataError:
            return False
        return True

    def _keep(self, kept: _Kept, parameters: Parameters) -> RowShape:
        """Keep the batch as a table. What is computed once for a row can raise too: the shape that then reads it."""
        try:
            self._work.execute(kept.batch, parameters)
            return self.shape
        except DataError as error:
            self._work.materialize(_SCANNED, kept.scan, parameters)
            if not keep_uncomputed(self._work, self.shape.computed, _SCANNED, _UNCOMPUTED, parameters):
                raise _unattributed(error) from error
        sound = with_computed(self.shape, exp.select("*").from_(_SCANNED), _UNCOMPUTED)
        self._work.materialize(_BATCH, sound, parameters)
        return raising_computed(self.shape)

    def _marked(self, statements: _Statements, parameters: Parameters) -> Result:
        """The result of the batch without the rows that fail."""
        try:
            return self._fetch(statements.marked, parameters)
        except DataError as error:
            if self._reduce_apart is None:
                raise _unattributed(error) from error
            apart = self._reduce_apart(_marked_rows(statements.shape, statements.relation))
        try:
            return self._fetch(apart, parameters)
        except DataError as error:
            raise _unattributed(error) from error

    def _find_failing(self, statements: _Statements, parameters: Parameters) -> None:
        try:
            self._work.execute(statements.failing, parameters)
        except DataError as error:
            found = failing_by_halves(self._work, statements.shape, _BATCH, parameters)
            if found is None:
                raise _unattributed(error) from error
            try:
                self._work.materialize(_FOUND, found, parameters)
            except DataError as again:
                raise _unattributed(again) from again

    def _kept_settled(self, settled: exp.Select) -> _Kept:
        """The same statement over settled rows, whose relation is nearly always the same."""
        key = settled.sql("duckdb")
        if self._settled is None or self._settled[0] != key:
            relation = with_computed(self.shape, settled)
            reduced = render(self._reduce(self._projected(relation)), copy=False)
            self._settled = key, _Kept(settled, relation, reduced)
        return self._settled[1]

    @cached_property
    def _statements(self) -> _Statements:
        return self._diagnosis(self.shape)

    def _diagnosis(self, written: RowShape) -> _Statements:
        shape = diagnosed(written)
        unmarked = exp.select("*", exp.alias_(exp.false(), FAILED)).from_(_BATCH)
        failing_rows = failing(shape, judged(shape, unmarked, marked=True))
        is_found = column(ROW).isin(query=exp.select(ROW).from_(_FOUND))
        relation = exp.select("*", exp.alias_(is_found, FAILED)).from_(_BATCH)
        marked = render(self._reduce(_marked_rows(shape, relation)))
        return _Statements(shape, render(create_table(_FOUND, failing_rows)), relation, marked)

    def _failures(self) -> list[Failure]:
        """Every row of `_found` with its reason: the engine's own for the first few of the job, and for one of a batch,
        its values for all others."""
        found = [(integer(row), integer(which)) for row, which in self._work.rows(_FAILING_ROWS)]
        expressions = {which: expression_at(self.shape, which) for _, which in found}
        texts = {
            which: text(without_hidden(as_written(self.shape, computed(self.shape, expression))))
            for which, expression in expressions.items()
        }
        asked = max(1, REASONS_MAX - self._reasons_asked)
        reasons = {row: f"fails: {self._reason(row, expressions[which])}" for row, which in found[:asked]}
        self._reasons_asked += len(reasons)
        if len(found) > asked:
            reasons = {**self._values(expressions), **reasons}
        return [Failure(row, texts[which], f"{texts[which]} {reasons[row]}") for row, which in found]

    def _values(self, expressions: Mapping[int, exp.Expression]) -> dict[int, str]:
        """The values of the columns in the expression that fails, for every failing row."""
        shown, labels = [], {named.name: text(named.expression) for named in self.shape.written}
        for which, expression in expressions.items():
            names = tuple(dict.fromkeys(found.name for found in expression.find_all(exp.Column)))
            shown.append(exp.If(this=column("_which", "f").eq(which), true=json_of(names, "b", labels)))
        joined = exp.select(column(ROW, "b"), exp.Case(ifs=shown)).from_(exp.to_table(_BATCH).as_("b"))
        joined = joined.join(exp.to_table(_FOUND).as_("f"), on=column(ROW, "b").eq(column(ROW, "f")))
        return {integer(row): f"fails for {shortened(str(value))}" for row, value in self._work.rows(joined)}

    def _reason(self, row: int, expression: exp.Expression) -> str:
        try:
            # What is computed once for a row has been, or it is what fails.
            for tree in (expression, computed(self.shape, expression)):
                self._work.rows(exp.select(tree.copy()).from_(_BATCH).where(column(ROW).eq(row)))
        except DataError as error:
            reason = str(error).splitlines()[0].split(": ", 1)[-1]
            # The engine names a column of ours, which the message shows as it is written.
            ours = (f" when casting from source column {named.name}" for named in self.shape.written)
            return next((reason.removesuffix(part) for part in ours if reason.endswith(part)), reason)
        return "it raises an error"


@dataclass(slots=True)
class _Kept:
    """A scan, what is made of it, and the plan of the statement once it has been run."""

    scan: exp.Select
    relation: exp.Select
    statement: Rendered
    prepared: Prepared | None = None
    _batch: Rendered | None = None

    @property
    def batch(self) -> Rendered:
        """Keeps the relation as the batch that is diagnosed."""
        if self._batch is None:
            self._batch = render(create_table(_BATCH, self.relation))
        return self._batch


@dataclass(frozen=True, slots=True)
class _Statements:
    """Of the diagnosis form: its shape, the rows that fail, the batch with these marked, and the stage's statement over
    it."""

    shape: RowShape
    failing: Rendered
    relation: exp.Select
    marked: Rendered


def _marked_rows(shape: RowShape, relation: exp.Select) -> exp.Select:
    """The projected rows of the diagnosis form."""
    return projected(shape, judged(shape, relation, marked=True))


def _unattributed(error: DataError) -> RowError:
    """An expression that the engine refuses whatever the row: there is none to set aside, and the job stops."""
    reason = str(error).splitlines()[0].split(": ", 1)[-1]
    return RowError(f"an expression of the query cannot be evaluated: {reason}", "E2201", "correct the expression")
