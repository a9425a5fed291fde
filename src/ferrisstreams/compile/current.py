"""Groups whose results change with every tick, in small ticks: the current row of each key is held in memory.

    fetch ─ stage ─▶ partial results of the tick ─┬─────────────▶ merge ─▶ old and new row of each key ─▶ output
             (Arrow)          │                   │ current rows    │
                              ▼                   └── find ◀── put ─┘
                            the log

Nearly all that a tick of a few rows costs is a scan of the state, and planning: statements over Arrow alone are planned
once, those over tables and files whenever they run. The log is appended to as
ever, so that the current rows are derived from it at any time, and dropped at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from ferrisstreams.batch import Rejected, integer
from ferrisstreams.compile.arrow_types import carried_type
from ferrisstreams.compile.detached import Detached, DetachedRows, with_viewed_parameters
from ferrisstreams.compile.payload import Parameters
from ferrisstreams.compile.results import Tally
from ferrisstreams.compile.rows import FILTERED, KEPT
from ferrisstreams.compile.sizes import Sizes
from ferrisstreams.compile.sources import Chunk, MergedRows, ResultColumns
from ferrisstreams.compile.stage import Ran, Rows, RowStage
from ferrisstreams.duck.engine import Connection, DataError, Prepared, column, render
from ferrisstreams.duck.state_log import SLICE, TICK, StateLog
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import function, template
from ferrisstreams.operators.base import TICK_NUMBER
from ferrisstreams.operators.changes import INSERTED, OP, REPLACED, REPLACEMENT
from ferrisstreams.operators.log import OUTCOME, ROWS, SEEN, LogShape, merged
from ferrisstreams.plan.expressions import typed_as

if TYPE_CHECKING:
    import pyarrow as pa

    from ferrisstreams.operators.runs import Runs

#: The column by which current rows are found, as `operators.runs` names it.
_HASH = "_h"

_OLD, _WAS, _TOUCHED, _NEW, _PLACE = "_old", "_was", "_touched", "_new", "_i"


@dataclass(frozen=True, slots=True)
class CurrentForm:
    """The statements of an operator's current rows; `types` are those of the keys and of the partial results.

    `place` is the operator's in the job, `with_old`: results say what was before.
    """

    shape: LogShape
    types: Mapping[str, str]
    place: int
    with_old: bool

    @classmethod
    def make(
        cls, shape: LogShape, columns: Sequence[tuple[str, str]], place: int, with_old: bool
    ) -> CurrentForm | None:
        """None where values cannot be held in Arrow, or a key has more than one row of bounded size."""
        types = {name: type_ for name, type_ in columns if name != SLICE}
        fits = not shape.aggregates.holistic and all(carried_type(type_) for type_ in types.values())
        return cls(shape, types, place, with_old) if fits else None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.types)

    @property
    def partials(self) -> tuple[str, ...]:
        return tuple(partial.name for partial in self.shape.aggregates.partials)

    def view(self, kind: str) -> str:
        return f"_{kind}{self.place}"

    def carried(self, append: exp.Select) -> exp.Select:
        """Of a tick's partial results what goes to Arrow."""
        counts = [column(name) for name in (OUTCOME, SLICE, ROWS, SEEN)]
        return exp.select(*counts, self._hash(), *map(self._carried, self.names)).from_(append.subquery("partials"))

    def load(self, log: exp.Query) -> exp.Select:
        """The current rows by the log."""
        rows = merged(self.shape, log, [], [])
        if not self.shape.keys:
            rows = rows.having("count(*) > 0")
        typed = exp.select(*map(self._typed, self.names)).from_(rows.subquery("merged"))
        return exp.select(self._hash(), *map(self._carried, self.names)).from_(typed.subquery("typed"))

    def merge(self) -> exp.Select:
        """The tick's partial results and the current rows of the same hashes: each key's new row beside its old one."""
        columns = [column(_HASH), *map(self._restored, self.names)]
        tick = exp.select(*columns, exp.alias_(exp.false(), _OLD)).from_(self.view("tick"))
        known = exp.select(*columns, exp.alias_(exp.true(), _OLD)).from_(self.view("known"))
        both = exp.union(tick.where(column(OUTCOME).eq(KEPT)), known, distinct=False)
        flags = [template("bool_or(_old)").as_(_WAS), template("bool_or(NOT _old)").as_(_TOUCHED)]
        old = [template("any_value(x) FILTER (WHERE _old)", x=column(n)).as_(self._old_name(n)) for n in self.partials]
        rows = merged(self.shape, both, [column(_HASH)], [column(_HASH)])
        rows = rows.select(*flags, *(old if self.with_old else ()))
        rows = rows.order_by(*map(column, self.shape.keys)) if self.shape.keys else rows
        typed = [self._typed(name) for name in self.names]
        beside = [column(self._old_name(name)) for name in self.partials] if self.with_old else []
        rows = exp.select(column(_HASH), column(_WAS), column(_TOUCHED), *typed, *beside).from_(rows.subquery("merged"))
        outs = [
            *map(self._carried, self.names),
            *(self._carried(n, self._old_name(n)) for n in self.partials if self.with_old),
        ]
        return exp.select(column(_HASH), column(_WAS), column(_TOUCHED), *outs).from_(rows.subquery("typed"))

    def results(self) -> exp.Select:
        """What the merge has found as merged results: with `_row`, and with `_op` where they say what was before."""
        sides = exp.select("*").from_(self.view("sides")).where(column(_TOUCHED))
        if not self.with_old:
            row = exp.alias_(column(_PLACE), ROW)
            return exp.select(row, *map(self._restored, self.names)).from_(sides.subquery("sides"))
        equal = [exp.NullSafeEQ(this=column(n), expression=column(self._old_name(n))) for n in self.partials]
        sides = sides.where(template("NOT _was OR NOT same", same=exp.paren(exp.and_(*equal))))
        news = template("unnest(CASE WHEN _was THEN [0, 1] ELSE [1] END)").as_(_NEW)
        rows = exp.select("*", news).from_(sides.subquery("sides"))
        op = template(
            "CASE WHEN NOT _was THEN inserted WHEN _new = 1 THEN replacement ELSE replaced END",
            **{name: exp.Literal.string(value) for name, value in _OPS.items()},
        )
        row = template("2 * _i + _new").as_(ROW)
        values = [
            self._cast(template(_SIDE, new=column(name), old=column(self._old_name(name))), name)
            for name in self.partials
        ]
        return exp.select(row, op.as_(OP), *map(self._restored, self.shape.keys), *values).from_(rows.subquery("rows"))

    # --- private ----------------------------------------------------------------------------------------------------

    def _hash(self) -> exp.Expr:
        keys = [column(key) for key in self.shape.keys]
        return exp.alias_(function("hash", *keys) if keys else typed_as(exp.Literal.number(0), "UBIGINT"), _HASH)

    @staticmethod
    def _old_name(name: str) -> str:
        return f"_o{name}"

    def _typed(self, name: str) -> exp.Expr:
        return self._cast(column(name), name)

    def _cast(self, value: exp.Expression, name: str) -> exp.Expr:
        return exp.alias_(typed_as(value, self.types[name]), name, quoted=True)

    def _carried(self, name: str, held: str | None = None) -> exp.Expr:
        """A column as Arrow holds it; `held` is what it is called, where that is not the name of the type's column."""
        carried = carried_type(self.types[name])
        held = held or name
        if carried in (None, self.types[name]):
            return column(held)
        return exp.alias_(exp.cast(column(held), carried), held, quoted=True)

    def _restored(self, name: str) -> exp.Expr:
        """A column of its own type, of what Arrow holds."""
        return column(name) if carried_type(self.types[name]) == self.types[name] else self._typed(name)


#: What a row of the log takes at least when it is held in memory.
_ROW_BYTES_MIN = 16

_SIDE = "CASE WHEN _new = 1 THEN new ELSE old END"

_OPS = {"inserted": INSERTED, "replacement": REPLACEMENT, "replaced": REPLACED}


class CurrentRows(MergedRows):
    """The results of a tick from its current rows. Where a row fails they are read as a table, as any others."""

    def __init__(
        self, work: Connection, quick: ResultColumns, columns: ResultColumns, keep: Callable[[], None], chunk: Chunk
    ) -> None:
        super().__init__(work, columns, chunk, rows_before=0)
        self._quick = quick
        self._keep = keep

    @property
    def steady(self) -> bool:
        return True

    def scan(self) -> exp.Select:
        return self._quick.all

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        self._keep()
        return super().settle()


@dataclass(frozen=True, slots=True)
class CurrentOutput:
    """`columns` make the operator's own columns of the merged results in the table `merged`, `quick` of a tick's."""

    columns: ResultColumns
    quick: ResultColumns
    merged: str


class CurrentGroups:
    """The current rows of one operator, while they are `on`. Each of `stages` takes the records of one scan."""

    def __init__(
        self,
        work: Connection,
        log: StateLog,
        form: CurrentForm,
        stages: Sequence[Callable[[Callable[[exp.Select], exp.Select]], RowStage[pa.Table]]],
        output: CurrentOutput,
        sizes: Sizes,
    ) -> None:
        self._work = work
        self._log = log
        self._form = form
        self._values = form.view("values")
        self._stages = [make(self._carried) for make in stages]
        self._detached = [Detached(work, f"{form.view('read')}_{port}_") for port in range(len(stages))]
        self._output = output
        self._sizes = sizes
        self._small = 0
        self._runs: Runs | None = None
        self._merge: Prepared | None = None
        self._tick: pa.Table | None = None
        #: The state cannot be held so: it is too large, or a group's partial results do not fit.
        self._refused = False

    @property
    def on(self) -> bool:
        return self._runs is not None

    def observe(self, rows: int) -> None:
        """A tick had so many rows."""
        self._small = self._small + 1 if rows <= self._sizes.current_rows else 0
        if self._small == 0:
            self.drop()

    def start_when_due(self) -> None:
        """Read the current rows from the log, where they fit, once ticks have been small for a while."""
        if self._refused or self.on or self._small < self._sizes.current_ticks:
            return
        from ferrisstreams.operators.runs import Runs

        if self._log.rows * _ROW_BYTES_MIN > self._sizes.current_bytes:
            self._small = 0
            return
        try:
            self._log.settle()
            rows = self._work.arrow(self._form.load(self._log.select()))
        except DataError:
            self._refused = True
            return
        self._runs = Runs(rows)
        self._bound()

    def drop(self) -> None:
        """Do without; the log has all that there is."""
        self._runs = self._tick = None
        self._small = 0

    def read(self, rows: Rows, parameters: Parameters, tally: Tally, port: int) -> tuple[Ran[pa.Table], list[int]]:
        """Add a batch to the log and fill in the tally; also gives the slices of its kept rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        # Without their types Arrow looks for other libraries, each time.
        kinds = {name: pa.string() if isinstance(value, str) else pa.int64() for name, value in parameters.items()}
        values = {name: pa.array([value], kinds[name]) for name, value in parameters.items()}
        self._work.show(self._values, pa.table(values))
        detached = DetachedRows(rows, self._detached[port]) if rows.steady else rows
        ran = self._stages[port].run(detached, parameters)
        table = ran.result
        outcomes, counts = table.column(OUTCOME), table.column(ROWS)
        kept = pc.equal(outcomes, pa.scalar(KEPT, outcomes.type))
        if not pc.all(kept).as_py():
            tally.filtered += pc.sum(counts.filter(pc.equal(outcomes, pa.scalar(FILTERED, outcomes.type)))).as_py() or 0
            table = table.filter(kept)
            counts = table.column(ROWS)
        seen = pc.max(ran.result.column(SEEN)).as_py()
        if seen is not None:
            tally.seen_us = seen if tally.seen_us is None else max(seen, tally.seen_us)
        if not table.num_rows:
            return ran, []
        tally.kept += pc.sum(counts).as_py()
        tick = pa.repeat(pa.scalar(int(parameters[TICK_NUMBER]), pa.int64()), table.num_rows)
        self._log.put(table.select([SLICE, *self._form.names]).append_column(TICK, tick), [0], tally.kept)
        self._tick = table
        return ran, [0]

    def changes(self) -> Iterator[MergedRows]:
        """The groups that the tick has touched. Raises DataError before it gives any, where partial results do not fit
        together."""
        import pyarrow as pa
        import pyarrow.compute as pc

        runs, tick = self._runs, self._tick
        assert runs is not None
        assert tick is not None
        form = self._form
        self._work.show(form.view("tick"), tick)
        self._work.show(form.view("known"), runs.find(pc.unique(tick.column(_HASH))))
        if self._merge is None:
            self._merge = self._work.prepare(render(form.merge()))
        sides = self._work.arrow(self._merge)
        runs.put(sides.select([_HASH, *form.names]))
        self._bound()
        self.observe(integer(pc.sum(tick.column(ROWS)).as_py()))
        places = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), sides.num_rows))
        self._work.show(form.view("sides"), sides.append_column(_PLACE, places))
        output, chunk = self._output, Chunk(0, 2 * sides.num_rows + 2)
        yield CurrentRows(self._work, output.quick, output.columns, self._keep, chunk)

    def _carried(self, append: exp.Select) -> exp.Select:
        return with_viewed_parameters(self._form.carried(append), self._values)

    def _keep(self) -> None:
        self._work.materialize(self._output.merged, self._form.results())

    def _bound(self) -> None:
        if self._runs is not None and self._runs.nbytes > self._sizes.current_bytes:
            self._refused = True
            self.drop()
