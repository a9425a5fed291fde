"""A random query with its data: the query as SQL and for the reference model, and the rows as records and for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

from ferrisstreams.testing.case import Case, Expectation, RawRecords, StreamInput
from tests.model.aggregates import Value
from tests.model.reference import Call, Cumulate, Expression, Hop, Query, Row, Session
from tests.properties.draw import Draw
from tests.properties.expressions import (
    AGGREGATES,
    COLUMNS,
    CONJUNCTS,
    DECIMALS,
    FLAGS,
    FLOATS,
    INTEGERS,
    KEYS,
    TEXTS,
    Choice,
    Item,
)

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1)
START_US = 1_704_067_200_000_000

Having = Callable[[tuple[Value, ...]], Value]
WindowName = Literal["none", "tumble", "hop", "session", "cumulate"]


@dataclass(frozen=True)
class Shape:
    """What kind of query: `stateless` has neither window nor aggregate."""

    window: WindowName
    changes: bool = False
    stateless: bool = False

    @property
    def name(self) -> str:
        return "stateless" if self.stateless else f"{self.window} {'changes' if self.changes else 'final'}"


SHAPES = (
    Shape("none", stateless=True),
    *(
        Shape(window, changes)
        for window in ("none", "tumble", "hop", "session", "cumulate")
        for changes in (False, True)
    ),
)


@dataclass(frozen=True)
class Combination:
    """`items` are the SQL of keys and calls, `having` of HAVING (empty without one), `inputs` the rows by partition."""

    query: Query
    keys: tuple[str, ...]
    calls: tuple[str, ...]
    where: tuple[str, ...]
    having: str
    inputs: Mapping[str, Sequence[Row | None]]
    changelog: str | None = None

    def sql(self) -> str:
        """The streaming query."""
        names = [f"{text} AS c{n}" for n, text in enumerate((*self.keys, *self.calls))]
        bounds = ["window_start", "window_end"] if self.query.window else []
        lines = [f"SELECT {', '.join(bounds + names)} FROM s"]
        if self.where:
            lines.append("WHERE " + " AND ".join(self.where))
        if self.calls:
            groups = [*([window_sql(self.query.window)] if self.query.window else []), *self.keys]
            lines += [f"GROUP BY {', '.join(groups)}"] if groups else []
            lines += [f"HAVING {self.having}"] if self.having else []
            lines.append("EMIT CHANGES" if self.query.changes else "EMIT FINAL")
        return "\n".join(lines)

    def case(self) -> Case:
        """The combination as a test case without expectations."""
        columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        watermark = f"WATERMARK FOR ts AS ts - INTERVAL '{self.query.delay // SECOND}' SECOND"
        records = {
            name: RawRecords("json", tuple(record(row, n) for n, row in enumerate(rows)))
            for name, rows in self.inputs.items()
        }
        return Case(
            path=Path("random.test"),
            line=1,
            title="random",
            streams=(StreamInput("s", f"s ({columns}, {watermark})", records),),
            settings=self.settings(),
            query=self.sql(),
            expected=Expectation(),
        )

    def settings(self) -> dict[str, str]:
        given = {"failure_strategy": "SendToDLQ" if self.query.failure == "dead_lettered" else "LogAndContinue"}
        if self.changelog is not None:
            given["changelog"] = self.changelog
        if self.query.window:
            given["late.data.strategy"] = self.query.late
            given["allowed.lateness"] = f"{self.query.lateness // SECOND}s"
        return given


def window_sql(window: Hop | Cumulate | Session | None) -> str:
    match window:
        case Session(gap):
            return f"SESSION(ts, INTERVAL '{gap // SECOND}' SECOND)"
        case Hop(size, slide, origin) if size == slide:
            return f"TUMBLE(ts, INTERVAL '{size // SECOND}' SECOND{_offset(origin)})"
        case Hop(size, slide, origin):
            return f"HOP(ts, INTERVAL '{slide // SECOND}' SECOND, INTERVAL '{size // SECOND}' SECOND{_offset(origin)})"
        case Cumulate(size, step, origin):
            steps = f"INTERVAL '{step // SECOND}' SECOND, INTERVAL '{size // SECOND}' SECOND"
            return f"CUMULATE(ts, {steps}{_offset(origin)})"
        case None:
            return ""


def _offset(origin: int) -> str:
    return f", INTERVAL '{origin}' MICROSECOND" if origin else ""


def record(row: Row | None, number: int) -> bytes:
    """A row as JSON; one that is None as one of several kinds of bad record."""
    if row is None:
        return (b'{"v": "much"}', b"{", b"[1]", b'{"v": 1, "v": 2}', b"7")[number % 5]
    fields = {name: _json(name, value) for name, value in row.items()}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()


def _json(name: str, value: Value) -> str:
    if name == "ts" and value is not None:
        return json.dumps((EPOCH + timedelta(microseconds=value)).isoformat() + "Z")
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


# -- drawing


def draw_combination(draw: Draw, shape: Shape) -> Combination:
    delay = draw.pick((0, 2, 5)) * SECOND
    where = _some(draw, CONJUNCTS, (0, 0, 1, 2))
    failure: Literal["skipped", "dead_lettered"] = draw.pick(("skipped", "dead_lettered"))
    inputs = draw_inputs(draw)
    if shape.stateless:
        items = _some(draw, INTEGERS + FLOATS + DECIMALS + TEXTS + FLAGS, (1, 2, 3))
        query = Query("ts", delay, _functions(where), keys=_functions(items), failure=failure)
        return Combination(query, _texts(items), (), _texts(where), "", inputs)
    window = draw_window(draw, shape.window)
    keys = _some(draw, KEYS, (1, 0, 2))
    chosen = [_draw_call(draw) for _ in range(draw.pick((1, 2, 3, 4)))]
    lateness = draw.pick((0, 3, 8)) * SECOND if window else 0
    late: Literal["drop", "dead_letter", "update"] = "drop"
    if window and not shape.changes:
        late = draw.pick(("drop", "dead_letter", "update") if lateness else ("drop", "dead_letter"))
    having, keep = _draw_having(draw, chosen, len(keys) + (2 if window else 0))
    if shape.changes or late == "update":
        having, keep = "", None
    query = Query(
        time="ts",
        delay=delay,
        where=_functions(where),
        window=window,
        keys=_functions(keys),
        calls=tuple(call for _, _, call in chosen),
        having=keep,
        changes=shape.changes,
        lateness=lateness,
        late=late,
        failure=failure,
    )
    calls = tuple(sql for _, sql, _ in chosen)
    changelog = _draw_changelog(draw, calls) if shape.changes or late == "update" else None
    return Combination(query, _texts(keys), calls, _texts(where), having, inputs, changelog)


#: What makes floats that are added up in another order when the old value is made once more: it may be another one.
_ROUNDED = ("x", " / ", "avg", "var_pop", "stddev")


def _draw_changelog(draw: Draw, calls: Sequence[str]) -> str | None:
    """The changelog of a result that changes, where it is not the default."""
    if any(part in call for part in _ROUNDED for call in calls):
        return None
    return draw.pick((None, "retract"))


def draw_window(draw: Draw, name: WindowName) -> Hop | Cumulate | Session | None:
    size = draw.pick((5, 10, 3, 7)) * SECOND
    origin = draw.pick((0, 0, SECOND, 4 * SECOND, 1, 26 * SECOND))
    match name:
        case "none":
            return None
        case "tumble":
            return Hop(size, size, origin)
        case "hop":
            size *= draw.pick((2, 1, 3))
            return Hop(size, min(size, draw.pick((5, 2, 3)) * SECOND), origin)
        case "cumulate":
            return Cumulate(size * draw.pick((2, 3, 1)), size, origin)
        case "session":
            return Session(draw.pick((4, 2, 8)) * SECOND)


def _draw_call(draw: Draw) -> tuple[Choice, str, Call]:
    choice = draw.pick(AGGREGATES)
    arguments = choice.draw_arguments(draw)
    sql = choice.sql.format(*_texts(arguments))
    distinct = choice.distinct and draw.below(3) == 2
    if distinct:
        sql = sql.replace("(", "(DISTINCT ", 1)
    condition = draw.pick(FLAGS) if draw.below(4) == 3 else None
    if condition is not None:
        sql += f" FILTER (WHERE {condition.sql})"
    call = Call(choice.function, _functions(arguments), condition.function if condition else None, distinct)
    return choice, sql, call


def _draw_having(draw: Draw, chosen: list[tuple[Choice, str, Call]], first: int) -> tuple[str, Having | None]:
    """HAVING over one of the numeric calls, as SQL and over the model's output row."""
    numeric = [place for place, (choice, _, _) in enumerate(chosen) if choice.numeric]
    if not numeric or draw.below(3) != 2:
        return "", None
    place = draw.pick(numeric)

    def keep(row: tuple[Value, ...]) -> Value:
        value = row[first + place]
        return None if value is None else value > 1

    return f"{chosen[place][1]} > 1", keep


def draw_inputs(draw: Draw) -> dict[str, list[Row | None]]:
    """One to three partitions; within one, time goes on with some disorder."""
    return {f"p{n}": _draw_rows(draw, draw.pick((12, 5, 0, 25))) for n in range(draw.pick((1, 1, 2, 3)))}


def _draw_rows(draw: Draw, most: int) -> list[Row | None]:
    rows: list[Row | None] = []
    now = 20
    for _ in range(draw.below(most + 1)):
        now += draw.pick((1, 0, 2, 5, 30) if draw.below(12) == 11 else (1, 0, 2))
        if draw.below(16) == 15:
            rows.append(None)
            continue
        back = draw.pick((0, 0, 0, 1, 3, 6, 14))
        ts = None if draw.below(20) == 19 else START_US + (now - back) * SECOND
        rows.append(
            {
                "ts": ts,
                "k": draw.pick(("a", "b", None, "c")),
                "j": draw.pick((0, 1, None, 2)),
                "v": draw.pick((1, 2, 3, 4, 7, 10, 20, -3, None)),
                "x": draw.pick((0.5, 0.1, 1.25, -2.3, 1e6, None)),
                "d": draw.pick((Decimal("1.00"), Decimal("0.01"), Decimal("-3.35"), Decimal("99999.99"), None)),
                "t": draw.pick(("1", "22", "7", None, "x", "")),
                "f": draw.pick((True, False, None)),
            }
        )
    return rows


def _some(draw: Draw, items: tuple[Item, ...], counts: tuple[int, ...]) -> tuple[Item, ...]:
    chosen: list[Item] = []
    for _ in range(draw.pick(counts)):
        item = draw.pick(items)
        if item not in chosen:
            chosen.append(item)
    return tuple(chosen)


def _texts(items: Sequence[Item]) -> tuple[str, ...]:
    return tuple(item.sql for item in items)


def _functions(items: Sequence[Item]) -> tuple[Expression, ...]:
    return tuple(item.function for item in items)
