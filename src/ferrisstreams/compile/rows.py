"""The fused row statement of a stage: lateness, filter and projection of one batch, with its diagnosis form.

The plain form is one SELECT over the scan. When a batch fails, it is read again in diagnosis form: the records that do
not decode are found, the others are kept in a table, each expression is tried on each row, and the same statement runs
over the table with the failing rows marked. Whether a row fails depends on that row alone:

- a late row is judged no further;
- a row fails in WHERE only if no conjunct rejects it (NULL rejects) and one raises;
- a row fails in the columns only if it passed WHERE;
- inside an expression, AND is false where an operand is, and OR is true where one is, whatever the others do.

What a statement yields besides the columns: `_row`, `_outcome` (0 kept, 1 late, 2 filtered, 3 failed), `_event_us`
(event time, when the source has one), and `_closed` (up to where the row's partition was closed at this row).
The bounds of a batch are parameters, so that the text of a statement is built once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.formats.base import ROW
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.base import CLOSED_THROUGH, parameter
from ferrisstreams.operators.log import CLOSED, LAST_START, OUTCOME, TIME
from ferrisstreams.operators.windows import TIME_MAX_US, Lateness, is_late, last_start, number
from ferrisstreams.plan.expressions import columns_in, substitute
from ferrisstreams.plan.nodes import Named, Window, WindowKind

FAILED = "_failed"

KEPT, LATE, FILTERED, FAILING = range(4)


@dataclass(frozen=True, slots=True)
class RowLookup:
    """A table whose row each row meets: `on` is over the row's columns and those of the table, whose alias is `alias`.
    `columns` are the table's under names of their own, and `flag` says whether there is one."""

    table: str
    alias: str
    on: exp.Condition
    columns: Mapping[str, str]
    flag: str


@dataclass(frozen=True, slots=True)
class RowShape:
    """What is done to each row of a relation.

    `computed` are columns fixed once a row, `time` the event-time column, `window` and `lateness` decide lateness (no
    `lateness`: only what is closed is late), `conjuncts` filter, `columns` are made for the kept rows. `in_order` takes
    it that no row is late, what whoever runs the statement must check afterwards. `written` says what columns of the
    relation stand for in the query, when that is not their name: messages show it. `lookups` put rows of tables beside
    those of the relation, behind `computed`.
    """

    conjuncts: tuple[exp.Expression, ...]
    columns: tuple[Named, ...]
    computed: tuple[Named, ...] = ()
    time: str | None = None
    window: Window | None = None
    lateness: Lateness | None = None
    in_order: bool = False
    written: tuple[Named, ...] = ()
    lookups: tuple[RowLookup, ...] = ()

    @property
    def judges_lateness(self) -> bool:
        return self.window is not None and not self.in_order

    @property
    def always_kept(self) -> bool:
        """Whether every row that does not fail is kept."""
        return not self.conjuncts and not self.judges_lateness


#: Parameter of every statement with a window beside `CLOSED_THROUGH`: the greatest event time that the partition has
#: seen before the batch (microseconds).
SEEN = "seen_us"

#: Parameter of a source with event time: the latest event time that is believed (microseconds).
AHEAD = "ahead_us"


def with_computed(shape: RowShape, scan: exp.Select, uncomputed: str | None = None) -> exp.Select:
    """The scan with `computed` columns and `_event_us`, and with what `lookups` find; the two share their tree.
    `uncomputed`: a table of the rows in which one of them raises (`_row`, and `_which` of them it is); they get NULL
    there, and a column more says so."""
    if uncomputed is not None:
        scan = exp.select("*", *_unsound(shape, uncomputed)).from_(scan.subquery("scanned"))
    extra = [
        exp.alias_(
            named.expression.copy() if uncomputed is None else _unless_unsound(named, named.expression, exp.null()),
            named.name,
            quoted=True,
        )
        for named in shape.computed
    ]
    if shape.time is not None:
        extra.append(exp.alias_(_time(shape.time), TIME))
    if extra:
        scan = exp.select("*", *extra, copy=False).from_(scan.subquery("scanned", copy=False), copy=False)
    return _looked_up(shape, scan) if shape.lookups else scan


def _looked_up(shape: RowShape, rows: exp.Select) -> exp.Select:
    """The rows in their order, each beside the rows of tables that it meets: a key of a table has one at most."""
    for lookup in shape.lookups:
        met = [exp.alias_(column(kept, lookup.alias), name, quoted=True) for name, kept in lookup.columns.items()]
        there = exp.not_(column(_THERE, lookup.alias).is_(exp.null()))
        beside = exp.select(exp.column(exp.Star(), "rows"), *met, exp.alias_(there, lookup.flag, quoted=True))
        table = exp.select("*", exp.alias_(exp.true(), _THERE)).from_(lookup.table).subquery(lookup.alias)
        beside = beside.from_(rows.subquery("rows", copy=False), copy=False)
        rows = beside.join(table, on=lookup.on.copy(), join_type="left", copy=False)
    return exp.select("*").from_(rows.subquery("met", copy=False), copy=False).order_by(ROW, copy=False)


#: Of a table that is looked up: TRUE in each of its rows.
_THERE = "_ferris_there"


def _unsound(shape: RowShape, uncomputed: str) -> list[exp.Expr]:
    """Of each computed column, whether it raises in the row."""
    return [
        exp.alias_(
            column(ROW).isin(query=exp.select(ROW).from_(uncomputed).where(column("_which").eq(which))),
            f"{_UNSOUND}{named.name}",
            quoted=True,
        )
        for which, named in enumerate(shape.computed)
    ]


_UNSOUND = "_unsound"


def _unless_unsound(named: Named, value: exp.Expression, otherwise: exp.Expression) -> exp.Expression:
    return exp.Case().when(column(f"{_UNSOUND}{named.name}"), otherwise).else_(value.copy())


def raising_computed(shape: RowShape) -> RowShape:
    """The shape over a relation with `uncomputed`: what reads a computed column raises where that raised."""
    failing_ = function("error", exp.Literal.string("not computed"))
    computed = {named.name: _unless_unsound(named, column(named.name), failing_.copy()) for named in shape.computed}

    def guarded(tree: exp.Expression) -> exp.Expression:
        return substitute(tree, {**{name: column(name) for name in columns_in(tree)}, **computed})

    return replace(
        shape,
        conjuncts=tuple(map(guarded, shape.conjuncts)),
        columns=tuple(replace(named, expression=guarded(named.expression)) for named in shape.columns),
    )


def _time(name: str) -> exp.Expression:
    """The event time in microseconds; outside of what can be computed with, or behind `AHEAD`, it raises."""
    time = function("epoch_us", column(name))
    believed = exp.Between(this=time.copy(), low=number(-TIME_MAX_US), high=parameter(AHEAD))
    return exp.Case().when(believed, time).else_(function("error", exp.Literal.string("event time out of range")))


def judged(shape: RowShape, relation: exp.Select, marked: bool) -> exp.Select:
    """Adds `_closed` and `_outcome`. `marked`: the relation has `_failed`, and conjuncts are tried, not trusted."""
    timed = relation
    if shape.window is not None:
        bounds = [exp.alias_(_closed(shape), CLOSED)] if shape.judges_lateness else []
        if shape.window.kind is not WindowKind.SESSION:
            bounds.append(exp.alias_(last_start(shape.window, column(TIME)), LAST_START))
        timed = exp.select("*", *bounds, copy=False).from_(relation.subquery("timed"), copy=False)
    outcome = exp.alias_(_outcome(shape, marked), OUTCOME, copy=False)
    over = timed.subquery("judged", copy=timed is relation)
    return exp.select("*", outcome, copy=False).from_(over, copy=False)


def projected(shape: RowShape, rows: exp.Select) -> exp.Select:
    """The columns of kept rows (NULL on others), with the system columns that the shape has."""
    system = [ROW, OUTCOME]
    if shape.time is not None:
        system.append(TIME)
    if shape.window is not None:
        if shape.judges_lateness:
            system.append(CLOSED)
        if shape.window.kind is not WindowKind.SESSION:
            system.append(LAST_START)
    names = [column(name) for name in system]
    kept = [exp.alias_(_if_kept(shape, c.expression), c.name, quoted=True, copy=False) for c in shape.columns]
    return exp.select(*names, *kept, copy=False).from_(rows.subquery("projected", copy=False), copy=False)


def _closed(shape: RowShape) -> exp.Expression:
    """The partition's watermark at this row less the allowed lateness, or the job's closed bound.

    The frame includes the row itself: its own time never makes its own windows late. Results of an operator have the
    bound alone: they come when the watermark has passed them.
    """
    if shape.lateness is None:
        return parameter(CLOSED_THROUGH)
    frame = exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW")
    seen = exp.Window(this=exp.Max(this=column(TIME)), spec=frame)
    greatest = exp.Greatest(this=seen, expressions=[parameter(SEEN)], ignore_nulls=True)
    behind = exp.Sub(this=greatest, expression=number(shape.lateness.delay_us + shape.lateness.allowed_us))
    return exp.Greatest(this=behind, expressions=[parameter(CLOSED_THROUGH)], ignore_nulls=True)


def _outcome(shape: RowShape, marked: bool) -> exp.Expression:
    if shape.always_kept and not marked:
        return exp.Literal.number(KEPT)
    case = exp.Case()
    if shape.judges_lateness and shape.window is not None:
        case = case.when(is_late(shape.window, column(TIME), column(LAST_START), column(CLOSED)), number(LATE))
    if marked:
        case = case.when(column(FAILED), number(FAILING))
    if not shape.conjuncts:
        return case.else_(number(KEPT))
    conjuncts = [try_true(c) if marked else c.copy() for c in shape.conjuncts]
    return case.when(exp.and_(*conjuncts, copy=False), number(KEPT), copy=False).else_(number(FILTERED), copy=False)


def _if_kept(shape: RowShape, expression: exp.Expression) -> exp.Expression:
    # A plain column cannot raise, and a shape that keeps every row has nothing to protect.
    if isinstance(expression, exp.Column):
        return expression.copy()
    return exp.Case().when(column(OUTCOME).eq(KEPT), expression.copy(), copy=False)


# --- diagnosis --------------------------------------------------------------------------------------------------------


def diagnosed(shape: RowShape) -> RowShape:
    """The shape with the same values, whatever rows stand beside one."""
    return replace(
        shape,
        conjuncts=tuple(map(_decided, shape.conjuncts)),
        columns=tuple(replace(named, expression=_decided(named.expression)) for named in shape.columns),
    )


def _decided(expression: exp.Expression) -> exp.Expression:
    """The expression with every AND and OR decided by one operand, where one does. The engine leaves the others out
    only if that holds for all rows that it computes at once, so that a row would fail for the sake of another. So it
    would where the engine looks for NULL in the lists of all rows."""
    holder = exp.Tuple(expressions=[expression.copy()])
    for call in reversed(list(holder.find_all(exp.Anonymous, exp.Distance, bfs=False))):
        if isinstance(call, exp.Distance) or call.name.lower() in _OF_VECTORS:
            one, other = call.iter_expressions()
            made = _known_elements(one, other), _known_elements(other, one)
            one.replace(made[0])
            other.replace(made[1])
    for node in reversed(list(holder.find_all(exp.And, exp.Or, bfs=False))):
        if isinstance(node.parent, type(node)) or node.find_ancestor(exp.Lambda, exp.Comprehension) is not None:
            continue
        decides = isinstance(node, exp.Or)
        operands = [part for part in node.flatten() if isinstance(part, exp.Expression)]
        tried = [function("TRY", exp.cast(_with_failing_casts(operand), "BOOLEAN")) for operand in operands]
        any_ = exp.or_(*[exp.Is(this=value, expression=exp.Boolean(this=decides)) for value in tried], copy=False)
        node.replace(exp.Paren(this=exp.Case().when(any_, exp.Boolean(this=decides)).else_(node.copy())))
    made = holder.expressions[0]
    assert isinstance(made, exp.Expression)
    return made


#: Functions of two lists that fail where either has a NULL in it.
_OF_VECTORS = frozenset({
    "list_distance", "list_cosine_similarity", "list_cosine_distance", "list_inner_product", "list_dot_product",
    "list_negative_inner_product", "list_negative_dot_product",
})  # fmt: skip


def _known_elements(vector: exp.Expr, other: exp.Expr) -> exp.Expression:
    """The list, made without NULL; it raises where there is one in it, unless the other list is NULL."""
    element = exp.to_identifier("_element", quoted=True)
    known = exp.Not(this=exp.Is(this=element.copy(), expression=exp.null()))
    kept = function("list_filter", vector.copy(), exp.Lambda(this=known, expressions=[element]))
    given = exp.Not(this=exp.Is(this=exp.paren(other.copy()), expression=exp.null()))
    missing = exp.NEQ(this=function("len", vector.copy()), expression=function("list_count", vector.copy()))
    failing = function("error", exp.Literal.string("a list with NULL in it"))
    return exp.Case().when(exp.and_(missing, given, copy=False), failing, copy=False).else_(kept, copy=False)


def try_expression(expression: exp.Expression) -> exp.Expression:
    """A list of the one value, or NULL when evaluating it raises: tells a NULL value from an error."""
    return function("TRY", function("list_value", _with_failing_casts(expression)))


def _with_failing_casts(expression: exp.Expression) -> exp.Expression:
    """The expression with casts that fail for `error` and `assert_true`: the engine's TRY refuses the former, which it
    takes for volatile, and would evaluate a cast of a constant before it looks at a row."""
    holder = exp.Tuple(expressions=[expression.copy()])
    for call in reversed(list(holder.find_all(exp.Anonymous, bfs=False))):
        match call.name.lower():
            case "error":
                call.replace(_failing_cast(call.expressions[0]))
            case "assert_true":
                failing_cast = _failing_cast(exp.Literal.string(""))
                call.replace(exp.Case().when(call.expressions[0], exp.null()).else_(failing_cast, copy=False))
    made = holder.expressions[0]
    assert isinstance(made, exp.Expression)
    return made


def _failing_cast(message: exp.Expression) -> exp.Expression:
    """Has the type of NULL, which fits anywhere, and raises unless the message is NULL. In a form that the engine does
    not replace by NULL before it computes it."""
    text = exp.DPipe(
        this=exp.DPipe(this=exp.Literal.string("!"), expression=column(ROW)), expression=exp.paren(message)
    )
    nothing = exp.Array(expressions=[exp.null()])
    return function("list_first", function("repeat", nothing, exp.cast(text, "BIGINT")))


def raises(expression: exp.Expression) -> exp.Expression:
    return exp.Is(this=try_expression(expression), expression=exp.Null())


def try_true(conjunct: exp.Expression) -> exp.Expression:
    """Whether the conjunct is true; false when it is false, NULL or raises."""
    value = function("list_extract", try_expression(exp.cast(conjunct.copy(), "BOOLEAN")), number(1))
    return function("coalesce", value, exp.false())


def failing(shape: RowShape, rows: exp.Select) -> exp.Select:
    """Of judged rows (`marked`) that have not `_failed` yet, those that fail: `_row` and `_which`, the ordinal of the
    expression that raises, counted over the conjuncts and then the columns."""
    rejects = [exp.and_(exp.Not(this=raises(c)), exp.Not(this=try_true(c)), copy=False) for c in shape.conjuncts]
    which = exp.Case()
    for index, conjunct in enumerate(shape.conjuncts):
        which = which.when(raises(conjunct), number(index), copy=False)
    if shape.conjuncts:
        rejected = exp.or_(*rejects, copy=False)
        which = exp.Case().when(rejected, exp.Null(), copy=False).when(_any_raises(shape.conjuncts), which, copy=False)
    found = exp.select(ROW, exp.alias_(_which(shape, which), "_which", copy=False), copy=False)
    found = found.from_(rows.subquery("tried", copy=False), copy=False).where(exp.not_(column(FAILED)), copy=False)
    if shape.window is not None:
        found = found.where(column(OUTCOME).neq(LATE), copy=False)
    # Kept before it is filtered: the engine would put the expressions into the filter too, and raise each error twice.
    kept = exp.select("*").from_("found").where("_which IS NOT NULL").order_by(ROW)
    return kept.with_("found", as_=found, materialized=True, copy=False)


def _which(shape: RowShape, conjuncts: exp.Case) -> exp.Expression:
    case = conjuncts if shape.conjuncts else exp.Case()
    for index, named in enumerate(shape.columns, start=len(shape.conjuncts)):
        if not isinstance(named.expression, exp.Column):
            case = case.when(raises(named.expression), number(index), copy=False)
    return case.else_(exp.Null(), copy=False) if case.args.get("ifs") else exp.Null()


def _any_raises(expressions: Sequence[exp.Expression]) -> exp.Condition:
    return exp.or_(*[raises(expression) for expression in expressions], copy=False)


def expression_at(shape: RowShape, which: int) -> exp.Expression:
    """The expression that `_which` counts."""
    if which < len(shape.conjuncts):
        return shape.conjuncts[which]
    return shape.columns[which - len(shape.conjuncts)].expression


def computed(shape: RowShape, expression: exp.Expression) -> exp.Expression:
    """The expression with what is computed once for a row in its place."""
    meant = {name: column(name) for name in columns_in(expression)}
    return substitute(expression, {**meant, **{named.name: named.expression for named in shape.computed}})


def as_written(shape: RowShape, expression: exp.Expression) -> exp.Expression:
    """The expression as the query has it."""
    meant = {name: column(name) for name in columns_in(expression)}
    return substitute(expression, {**meant, **{named.name: named.expression for named in shape.written}})
