"""Hypothesis strategies for the model's own properties, and the driver that plays an input in a given way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from tests.model.reference import Call, Cumulate, Hop, Model, Query, Row, RowFailedError, Session

SECOND = 1_000_000
Inputs: TypeAlias = Mapping[str, Sequence[Row | None]]


@dataclass(frozen=True)
class Step:
    """One batch: up to `rows` rows of the partition with this number (modulo those with rows left), then an act."""

    partition: int
    rows: int
    then: Literal["go on", "commit", "crash"] = "go on"


def play(model: Model, inputs: Inputs, steps: Sequence[Step] = (), *, end: bool = True) -> Model:
    """Give the model all rows of `inputs` from its positions on, by the steps and then all at once, to the end."""
    for step in steps:
        left = _left(model, inputs)
        if not left:
            break
        _batch(model, inputs, left[step.partition % len(left)], step.rows)
        if step.then == "commit":
            model.commit()
        elif step.then == "crash":
            model.crash()
    while left := _left(model, inputs):
        _batch(model, inputs, left[0], len(inputs[left[0]]))
    model.end_batch()
    if end:
        model.end()
    model.commit()
    return model


def _left(model: Model, inputs: Inputs) -> list[str]:
    return [name for name, rows in inputs.items() if model.state.positions[name] < len(rows)]


def _batch(model: Model, inputs: Inputs, name: str, rows: int) -> None:
    start = model.state.positions[name]
    for row in inputs[name][start : start + rows]:
        model.take(name, row)
    if model.state.positions[name] == len(inputs[name]):
        model.finish(name)
    model.end_batch()


def _fails_on_seven(row: Row) -> object:
    if row["v"] == 7:
        raise RowFailedError
    return None if row["v"] is None else row["v"] > 1


def _value(row: Row) -> object:
    if row["v"] == 8:
        raise RowFailedError
    return row["v"]


def _key(row: Row) -> object:
    return row["k"]


def _is_a(row: Row) -> bool | None:
    return None if row["k"] is None else row["k"] == "a"


ROW = st.none() | st.fixed_dictionaries(
    {
        "ts": st.none() | st.integers(0, 40).map(lambda n: n * SECOND),
        "k": st.sampled_from([None, "a", "b"]),
        "v": st.none() | st.integers(0, 9),
    }
)
ORDERED_ROWS = st.lists(ROW, max_size=25)
INPUTS = st.lists(ORDERED_ROWS, min_size=1, max_size=3).map(lambda many: {f"p{n}": rows for n, rows in enumerate(many)})
STEPS = st.lists(
    st.builds(Step, st.integers(0, 2), st.integers(1, 6), st.sampled_from(["go on", "commit", "crash"])), max_size=25
)
WINDOWS = st.one_of(
    st.sampled_from([Hop(10 * SECOND, 10 * SECOND), Hop(10 * SECOND, 5 * SECOND), Hop(4 * SECOND, 7 * SECOND)]),
    st.sampled_from([Hop(10 * SECOND, 10 * SECOND, 3 * SECOND), Hop(10 * SECOND, 5 * SECOND, 1)]),
    st.sampled_from([Cumulate(12 * SECOND, 4 * SECOND), Cumulate(9 * SECOND, 1 * SECOND, 4 * SECOND)]),
    st.integers(1, 12).map(lambda n: Session(n * SECOND)),
)
CALLS = st.lists(
    st.one_of(
        st.just(Call("count_star")),
        st.builds(
            Call,
            st.sampled_from(["count", "sum", "min", "max", "avg", "first", "last", "median", "list", "mode"]),
            st.just((_value,)),
            st.none() | st.just(_is_a),
            st.booleans(),
        ),
        st.builds(Call, st.sampled_from(["arg_min", "arg_max"]), st.just((_key, _value))),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


def queries(
    windows: st.SearchStrategy[Hop | Cumulate | Session | None] = WINDOWS,
    late: st.SearchStrategy[str] = st.sampled_from(["drop", "dead_letter", "update"]),  # noqa: B008
) -> st.SearchStrategy[Query]:
    """Aggregates over the columns ts, k and v, in event time."""
    return st.builds(
        Query,
        time=st.just("ts"),
        delay=st.integers(0, 5).map(lambda n: n * SECOND),
        where=st.sampled_from([(), (_fails_on_seven,), (_fails_on_seven, _is_a)]),
        window=windows,
        keys=st.sampled_from([(), (_key,)]),
        calls=CALLS,
        having=st.sampled_from([None, lambda row: row[-1] is not None]),
        lateness=st.integers(0, 6).map(lambda n: n * SECOND),
        late=late,
        failure=st.sampled_from(["skipped", "dead_lettered"]),
    )
