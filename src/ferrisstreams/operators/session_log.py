"""The state of session windows: pieces of sessions, merged when they are read.

A piece is a run of rows of one batch that lie less than the gap apart. Pieces of a key whose distance is less than the
gap are one session. All pieces have one slice; what is closed is left out when their pane is rewritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sqlglot import exp

from ferrisstreams.duck.engine import column
from ferrisstreams.duck.state_log import SLICE, StateLog
from ferrisstreams.operators.log import (
    LATE_WINDOWS,
    OUTCOME,
    START,
    STOP,
    TIME,
    LogShape,
    grouped,
    merged,
    semi,
    tick,
    too_large,
)
from ferrisstreams.operators.windows import NEVER_US, number

FIRST, LAST = "_first", "_last"

_PIECE, _NEW, _ORDINAL = "_piece", "_new", "_ordinal"


class SessionLog:
    """Groups by keys and session. A session keeps its start when it grows."""

    identity: ClassVar[tuple[str, ...]] = (START,)
    keyed_windows: ClassVar[bool] = True

    def __init__(self, shape: LogShape, gap_us: int) -> None:
        self._shape = shape
        self._gap = gap_us

    def reduce(self, rows: exp.Select) -> exp.Select:
        """Rows to pieces. A row exactly one gap after the one before begins a new session."""
        by = [column(OUTCOME), *self._keys()]
        before = _run_over(exp.Lag(this=column(TIME)), by, [TIME, "_row"])
        distance = exp.Sub(this=column(TIME), expression=before)
        numbered = self._numbered(rows, exp.LT(this=distance, expression=number(self._gap)), by, [TIME, "_row"])
        grouped_rows = grouped(
            self._shape,
            numbered,
            [(SLICE, exp.cast(number(0), "BIGINT")), (_PIECE, column(_PIECE))],
        )
        return grouped_rows.select(
            exp.alias_(exp.Min(this=column(TIME)), FIRST),
            exp.alias_(exp.Max(this=column(TIME)), LAST),
            exp.alias_(exp.cast(number(0), "BIGINT"), LATE_WINDOWS),
        )

    def closing(self, log: StateLog, low_us: int, high_us: int) -> exp.Select:
        return self._merge(_rows(log, None), low_us, high_us)

    def touched(self, log: StateLog, low_us: int, high_us: int, before: bool) -> exp.Select:
        rows = _rows(log, tick() if before else None)
        return self._merge(semi(rows, log.tick_rows(tick()), self._shape.keys), low_us, high_us)

    def open_from(self, closed_us: int) -> int | None:
        return None

    def reclaim(self, log: StateLog, closed_us: int) -> None:
        bounds = [
            exp.alias_(exp.cast(number(0), "BIGINT"), SLICE),
            exp.alias_(exp.Min(this=column(FIRST)), FIRST),
            exp.alias_(exp.Max(this=column(LAST)), LAST),
        ]
        open_ = exp.GT(this=self._end(), expression=number(closed_us))
        merge = self._sessions(exp.select("*").from_("log"), bounds).having(open_)
        log.compact(merge, None, too_large(self._shape, log))

    # --- private ----------------------------------------------------------------------------------------------------

    def _keys(self) -> list[exp.Column]:
        return [column(key) for key in self._shape.keys]

    def _end(self) -> exp.Expression:
        return exp.Add(this=exp.Max(this=column(LAST)), expression=number(self._gap))

    def _sessions(self, pieces: exp.Select, bounds: Sequence[exp.Expr]) -> exp.Select:
        """Pieces merged to sessions: a piece that begins less than the gap after all before it joins them."""
        ordinal = exp.alias_(exp.Window(this=exp.RowNumber()), _ORDINAL)
        pieces = exp.select("*", ordinal).from_(pieces.subquery("pieces"))
        order = [FIRST, LAST, _ORDINAL]
        frame = exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="1", end_side="PRECEDING")
        before = _run_over(exp.Max(this=column(LAST)), self._keys(), order, frame)
        joins = exp.LT(this=column(FIRST), expression=exp.Add(this=before, expression=number(self._gap)))
        numbered = self._numbered(pieces, joins, self._keys(), order)
        return merged(self._shape, numbered, bounds, [column(_PIECE)])

    def _merge(self, pieces: exp.Select, low_us: int, high_us: int) -> exp.Select:
        bounds = [exp.alias_(exp.Min(this=column(FIRST)), START), exp.alias_(self._end(), STOP)]
        ended: list[exp.Expression] = [exp.LTE(this=self._end(), expression=number(high_us))]
        if low_us > NEVER_US:
            ended.append(exp.GT(this=self._end(), expression=number(low_us)))
        query = self._sessions(pieces, bounds).having(*ended)
        return query.order_by(column(STOP), column(START), *self._keys())

    @staticmethod
    def _numbered(
        rows: exp.Select, joins: exp.Expression, by: Sequence[exp.Expression], order: list[str]
    ) -> exp.Select:
        """Adds `_piece`: how many rows so far in the order do not join the one before."""
        new = exp.Case().when(joins, number(0)).else_(number(1))
        marked = exp.select("*", exp.alias_(new, _NEW)).from_(rows.subquery("rows"))
        frame = exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW")
        piece = _run_over(exp.Sum(this=column(_NEW)), by, order, frame)
        return exp.select("*", exp.alias_(exp.cast(piece, "BIGINT"), _PIECE)).from_(marked.subquery("marked"))


def _rows(log: StateLog, before: exp.Expression | None) -> exp.Select:
    return exp.select("*").from_(log.select(before=before).subquery("rows"))


def _run_over(
    call: exp.Expression, by: Sequence[exp.Expression], order: Sequence[str], frame: exp.WindowSpec | None = None
) -> exp.Window:
    ordered = exp.Order(expressions=[exp.Ordered(this=column(name)) for name in order])
    return exp.Window(this=call, partition_by=[part.copy() for part in by], order=ordered, spec=frame)
