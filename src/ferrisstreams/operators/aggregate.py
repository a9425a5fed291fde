"""The aggregate as an operator, with each kind of window: the slice in which a row is kept, the windows of a slice.

    rows ─ append ─▶ partial results by (slice, keys) ─ windows ─▶ once for each window ─ merge ─▶ results

Tumbling and hopping windows are kept as slices, cumulating ones as slices of one step, sessions as pieces, which are
merged when they are read: a piece is a run of rows of one batch that lie less than the gap apart, and pieces of a key
whose distance is less than the gap are one session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE
from ferrisstreams.operators.aggregates import template
from ferrisstreams.operators.base import CLOSED_THROUGH, HIGH, LOG, LOW, ROWS_IN, TICK_ROWS, Operator, Port, parameter
from ferrisstreams.operators.log import (
    CLOSED,
    LAST_START,
    LATE_WINDOWS,
    OUTCOME,
    START,
    STOP,
    TIME,
    LogShape,
    grouped,
    merged,
    semi,
)
from ferrisstreams.operators.windows import (
    first_open_start,
    first_start,
    floor_to,
    floor_us,
    last_start,
    number,
    slice_us,
)
from ferrisstreams.plan.nodes import Window, WindowKind

#: The first window that a partial result counts for: a row can be late for earlier windows of its slice.
FROM = "_from"

FIRST, LAST = "_first", "_last"

_PIECE, _NEW, _ORDINAL = "_piece", "_new", "_ordinal"

_ZERO = exp.cast(number(0), "BIGINT")


def aggregate(shape: LogShape, window: Window | None) -> Operator:
    """The operator that groups by the keys of `shape` and by the window."""
    if window is None:
        return _keyed(shape)
    if window.kind is WindowKind.SESSION:
        return _sessions(shape, window.size_us)
    if window.kind is WindowKind.CUMULATE:
        return _sliced(shape, window, _cumulating(window))
    hops = window.size_us != window.slide_us and window.kind is not WindowKind.GIVEN
    return _sliced(shape, window, _hopping(window) if hops else _tumbling(window))


def _append(
    shape: LogShape,
    groups: Sequence[tuple[str, exp.Expression]],
    late: exp.Expression = _ZERO,
    others: Sequence[exp.Expr] = (),
    rows: exp.Select | None = None,
    spans: bool = False,
) -> exp.Select:
    """The partial results of the rows by `groups`, with `others` (aliased)."""
    made = grouped(shape, rows or exp.select("*").from_(ROWS_IN), groups, spans)
    return made.select(*others, exp.alias_(late.copy(), LATE_WINDOWS), copy=False)


def _all(relation: str) -> exp.Select:
    return exp.select("*").from_(relation)


def _ordered(query: exp.Select, *names: str) -> exp.Select:
    return query.order_by(*[column(name) for name in names], copy=False) if names else query


# --- without a window -------------------------------------------------------------------------------------------------


def _keyed(shape: LogShape) -> Operator:
    """One pane, one slice."""

    def merge(log: exp.Select) -> exp.Select:
        query = merged(shape, log, [], [])
        return _ordered(query, *shape.keys) if shape.keys else query.having("count(*) > 0")

    groups = [(SLICE, _ZERO)]
    port = Port(
        append=_append(shape, groups),
        append_apart=_append(shape.rows_apart(), groups),
        keep=merged(shape, _all(LOG), [column(SLICE)], [column(SLICE)]),
    )
    return Operator((port,), merge(semi(_all(LOG), _all(TICK_ROWS), shape.keys)), merge(_all(LOG)))


# --- windows of slices ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Slices:
    """How windows are kept as slices. `place`: the slice of a row; `start`: the first window that it counts for, and
    `skipped` those before that are closed (None: a slice is one window).

    `windows` makes of partial results one row for each of their windows that end in `(low, high]`, with `bound`, which
    tells the windows apart; `bounds` are both, made of that.
    """

    place: exp.Expression
    windows: Callable[[exp.Select], exp.Select]
    bound: str
    bounds: tuple[exp.Expr, ...]
    open_from: Callable[[int], int]
    start: exp.Expression | None = None
    skipped: exp.Expression | None = None


def _sliced(shape: LogShape, window: Window, slices: _Slices) -> Operator:
    groups = [(SLICE, slices.place if slices.start is None else _if_kept(slices.place))]
    late: exp.Expression = _ZERO
    in_order = None
    if slices.start is None:
        # When no row is late, rows that are not kept have their slice too.
        in_order = _append(shape, groups, spans=True)
        groups = [(SLICE, _if_kept(slices.place))]
    else:
        assert slices.skipped is not None
        groups.append((FROM, _if_kept(slices.start)))
        late = template("CAST(coalesce(sum(skipped), 0) AS BIGINT)", skipped=_if_kept(slices.skipped))
    places = [column(name) for name, _ in groups]

    def merge(rows: exp.Select) -> exp.Select:
        by = [column(START), column(STOP)] if slices.bound == STOP else [column(START)]
        query = merged(shape, rows, slices.bounds, by)
        return _ordered(query, *((STOP, START) if slices.bound == STOP else (START,)), *shape.keys)

    port = Port(
        append=_append(shape, groups, late),
        append_apart=_append(shape.rows_apart(), groups, late),
        keep=merged(shape, _all(LOG), places, places),
        in_order=in_order,
        open_from=slices.open_from,
        reach_us=window.size_us,
    )
    touched = semi(slices.windows(_all(LOG)), slices.windows(_all(TICK_ROWS)), (slices.bound, *shape.keys))
    return Operator((port,), merge(touched), merge(slices.windows(_all(LOG))), identity=(slices.bound,))


def _tumbling(window: Window) -> _Slices:
    """A slice is the window itself, whose start the row statement has made already."""
    low, high, size = parameter(LOW), parameter(HIGH), number(window.size_us)
    inside = template("_slice > low - size AND _slice <= high - size", low=low, high=high, size=size)

    def windows(rows: exp.Select) -> exp.Select:
        inner = rows.where(inside.copy())
        return exp.select("*", exp.alias_(column(SLICE), START)).from_(inner.subquery("slices"))

    return _Slices(column(LAST_START), windows, START, _bounds_of_start(window), _open_from(window))


def _hopping(window: Window) -> _Slices:
    size, slide, origin = window.size_us, window.slide_us, window.origin_us
    start = first_open_start(window, column(TIME), column(CLOSED))
    low, high = parameter(LOW), parameter(HIGH)
    starts = template(
        "unnest(range(greatest(_from, least), least(last, most) + 1, slide))",
        least=floor_to(
            template("(low - size + slide)", low=low, size=number(size), slide=number(slide)), slide, origin
        ),
        most=floor_to(template("(high - size)", high=high, size=number(size)), slide, origin),
        last=last_start(window, column(SLICE)),
        slide=number(slide),
    )
    return _Slices(
        floor_to(column(TIME), slice_us(window), origin),
        lambda rows: _unnested(rows, window, exp.alias_(starts.copy(), START)),
        START,
        _bounds_of_start(window),
        _open_from(window),
        start,
        _steps(first_start(window, column(TIME)), start, slide),
    )


def _cumulating(window: Window) -> _Slices:
    """The windows of one size begin together and end one step after another: a slice counts for every window of its
    size that ends behind it."""
    size, step, origin = window.size_us, window.slide_us, window.origin_us

    def end_behind(time: exp.Expression) -> exp.Expression:
        return exp.paren(exp.Add(this=floor_to(time, step, origin), expression=number(step)))

    shortest = end_behind(column(TIME))
    end = template("greatest(shortest, open)", shortest=shortest, open=end_behind(column(CLOSED)))
    start = floor_to(column(SLICE), size, origin)
    stops = template(
        "unnest(range(greatest(_from, first), least(start + size, last) + 1, step))",
        first=end_behind(parameter(LOW)),
        start=start,
        size=number(size),
        last=floor_to(parameter(HIGH), step, origin),
        step=number(step),
    )
    return _Slices(
        floor_to(column(TIME), step, origin),
        lambda rows: _unnested(rows, window, exp.alias_(start.copy(), START), exp.alias_(stops.copy(), STOP)),
        STOP,
        (column(START), column(STOP)),
        # Slices of sizes that have ended are in closed windows only.
        lambda closed_us: floor_us(closed_us, size, origin),
        end,
        _steps(shortest, end, step),
    )


def _bounds_of_start(window: Window) -> tuple[exp.Expr, ...]:
    return column(START), exp.alias_(exp.Add(this=column(START), expression=number(window.size_us)), STOP)


def _open_from(window: Window) -> Callable[[int], int]:
    # The last window that holds a slice ends at most one size after the slice begins.
    return lambda closed_us: closed_us - window.size_us + 1


def _steps(first: exp.Expression, last: exp.Expression, step: int) -> exp.Expression:
    return template("(last - first) // step", first=first, last=last, step=number(step))


def _unnested(rows: exp.Select, window: Window, *bounds: exp.Expr) -> exp.Select:
    """The rows of slices that windows which end in `(low, high]` may hold, once for each."""
    inside = template(
        "_slice > low - size AND _slice < high", low=parameter(LOW), high=parameter(HIGH), size=number(window.size_us)
    )
    return exp.select("*", *bounds).from_(rows.where(inside).subquery("slices"))


def _if_kept(value: exp.Expression) -> exp.Expression:
    return exp.Case().when(column(OUTCOME).eq(0), value.copy())


# --- sessions ---------------------------------------------------------------------------------------------------------


def _sessions(shape: LogShape, gap_us: int) -> Operator:
    """A session keeps its start when it grows. All pieces have one slice; `keep` leaves out what is closed."""
    keys = [column(key) for key in shape.keys]
    end = template("max(_last) + gap", gap=number(gap_us))

    def append(shape: LogShape) -> exp.Select:
        # A row exactly one gap after the one before begins a new session.
        by = [column(OUTCOME), *keys]
        before = _run_over(exp.Lag(this=column(TIME)), by, [TIME, "_row"])
        near = template("_event_us - before < gap", before=before, gap=number(gap_us))
        ends = template("min(_event_us)"), template("max(_event_us)")
        others = [exp.alias_(value, name) for value, name in zip(ends, (FIRST, LAST), strict=True)]
        rows = _numbered(_all(ROWS_IN), near, by, [TIME, "_row"])
        return _append(shape, [(SLICE, _ZERO), (_PIECE, column(_PIECE))], others=others, rows=rows)

    def sessions(pieces: exp.Select, bounds: Sequence[exp.Expr]) -> exp.Select:
        """A piece that begins less than the gap after all before it joins them."""
        ordinal = exp.alias_(exp.Window(this=exp.RowNumber()), _ORDINAL)
        pieces = exp.select("*", ordinal).from_(pieces.subquery("pieces"))
        order = [FIRST, LAST, _ORDINAL]
        frame = exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="1", end_side="PRECEDING")
        before = _run_over(template("max(_last)"), keys, order, frame)
        joins = template("_first < before + gap", before=before, gap=number(gap_us))
        return merged(shape, _numbered(pieces, joins, keys, order), bounds, [column(_PIECE)])

    def ended(pieces: exp.Select) -> exp.Select:
        bounds = [exp.alias_(template("min(_first)"), START), exp.alias_(end.copy(), STOP)]
        inside = template("ended > low AND ended <= high", ended=end, low=parameter(LOW), high=parameter(HIGH))
        return _ordered(sessions(pieces, bounds).having(inside), STOP, START, *shape.keys)

    kept = [(_ZERO, SLICE), (template("min(_first)"), FIRST), (template("max(_last)"), LAST)]
    is_open = exp.GT(this=end.copy(), expression=parameter(CLOSED_THROUGH))
    port = Port(
        append=append(shape),
        append_apart=append(shape.rows_apart()),
        keep=sessions(_all(LOG), [exp.alias_(value.copy(), name) for value, name in kept]).having(is_open),
    )
    touched = semi(_all(LOG), _all(TICK_ROWS), shape.keys)
    return Operator((port,), ended(touched), ended(_all(LOG)), identity=(START,), keyed_windows=True)


def _numbered(rows: exp.Select, joins: exp.Expression, by: Sequence[exp.Expression], order: list[str]) -> exp.Select:
    """Adds `_piece`: how many rows so far in the order do not join the one before."""
    new = template("CASE WHEN joins THEN 0 ELSE 1 END", joins=joins)
    marked = exp.select("*", exp.alias_(new, _NEW)).from_(rows.subquery("rows"))
    frame = exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW")
    piece = _run_over(template("sum(_new)"), by, order, frame)
    return exp.select("*", exp.alias_(exp.cast(piece, "BIGINT"), _PIECE)).from_(marked.subquery("marked"))


def _run_over(
    call: exp.Expression, by: Sequence[exp.Expression], order: Sequence[str], frame: exp.WindowSpec | None = None
) -> exp.Window:
    ordered = exp.Order(expressions=[exp.Ordered(this=column(name)) for name in order])
    return exp.Window(this=call, partition_by=[part.copy() for part in by], order=ordered, spec=frame)
