"""The reference model by itself: the laws, and sessions and lateness against definitions of another form."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.inputs import INPUTS, SECOND, STEPS, Inputs, Step, play, queries
from tests.model.reference import NEVER, Call, Change, Cumulate, Hop, Model, Query, Row, Session, fold, session

OUTCOMES = ("dead_lettered", "skipped", "late", "filtered", "absorbed", "emitted")
TUMBLE = Hop(10 * SECOND, 10 * SECOND)
NO_WINDOW = st.none()
FINAL_ONCE = st.sampled_from(["drop", "dead_letter"])
SETTINGS = settings(max_examples=150, deadline=None)


def run(query: Query, inputs: Inputs, steps: list[Step] | None = None) -> Model:
    return play(Model(query, list(inputs)), inputs, steps or [])


def outcomes(model: Model) -> dict[str, int]:
    return {name: model.state.ledger[name] for name in (*OUTCOMES, "read", "late_windows")}


@SETTINGS
@given(queries(), INPUTS, STEPS)
def test_result_and_outcomes_do_not_depend_on_cuts_interleaving_and_crashes(
    query: Query, inputs: Inputs, steps: list[Step]
) -> None:
    plain, other = run(query, inputs), run(query, inputs, steps)
    assert fold(other.state.output) == fold(plain.state.output)
    assert outcomes(other) == outcomes(plain)
    assert other.state.seen == plain.state.seen


@SETTINGS
@given(queries(late=FINAL_ONCE), INPUTS, STEPS)
def test_final_windows_come_once_and_in_order_whatever_the_cuts(
    query: Query, inputs: Inputs, steps: list[Step]
) -> None:
    model = run(query, inputs, steps)
    assert model.state.output == run(query, inputs).state.output
    places = [(end, start) for start, end, _ in (change.group for change in model.state.output)]
    assert places == sorted(places, key=lambda place: (place[0] or 0, place[1] or 0))
    assert max(Counter(change.group for change in model.state.output).values(), default=1) == 1


@SETTINGS
@given(queries(), INPUTS, STEPS)
def test_ledger_adds_up_at_every_moment(query: Query, inputs: Inputs, steps: list[Step]) -> None:
    model = run(query, inputs, steps)
    ledger = model.state.ledger
    assert ledger["read"] == sum(ledger[name] for name in OUTCOMES) == sum(model.state.positions.values())
    assert ledger["produced"] == ledger["written"] + ledger["output_rejected"]
    assert ledger["written"] == len(model.state.output)


@SETTINGS
@given(queries(st.none() | st.just(TUMBLE) | st.just(Session(4 * SECOND))), INPUTS, STEPS)
def test_folded_changes_equal_the_final_result(query: Query, inputs: Inputs, steps: list[Step]) -> None:
    query = replace(query, having=None)
    changing = run(replace(query, changes=True), inputs, steps)
    assert fold(changing.state.output) == fold(run(replace(query, late="drop"), inputs).state.output)


@SETTINGS
@given(queries(late=st.just("update")), INPUTS, STEPS)
def test_folded_updates_equal_the_result_that_waits_for_late_rows(
    query: Query, inputs: Inputs, steps: list[Step]
) -> None:
    waiting = run(replace(query, late="drop"), inputs)
    assert fold(run(query, inputs, steps).state.output) == fold(waiting.state.output)


@SETTINGS
@given(queries(), INPUTS, STEPS)
def test_answer_equals_a_batch_query_over_the_rows_that_are_not_late(
    query: Query, inputs: Inputs, steps: list[Step]
) -> None:
    """Lateness and groups by other definitions than the model's: prefix maxima, and windows by enumeration."""
    query = replace(query, where=(), having=None, calls=(Call("count_star"), Call("list", (lambda row: row["ts"],))))
    members: dict[tuple[tuple[int, int] | None, str | None], list[int]] = {}
    for rows in inputs.values():
        seen = NEVER
        for row in rows:
            if row is None or row["ts"] is None:
                continue
            bound = seen - query.delay - query.lateness
            seen = max(seen, row["ts"])
            for window in windows_by_enumeration(query, row, bound):
                members.setdefault((window, row["k"] if query.keys else None), []).append(row["ts"])
    expected: Counter[object] = Counter()
    for (window, key), times in members.items():
        for run_of_times in split_by_gap(times, query.window):
            gap = query.window.gap if isinstance(query.window, Session) else 0
            bounds = window or (run_of_times[0], run_of_times[-1] + gap)
            expected[(*bounds, key, tuple(run_of_times))] += 1
    got = Counter(
        (row[0], row[1], row[2] if query.keys else None, tuple(row[-1]))
        for row in fold(run(query, inputs, steps).state.output).values()
    )
    assert got == expected


def windows_by_enumeration(query: Query, row: Row, bound: int) -> list[tuple[int, int] | None]:
    match query.window:
        case Session():
            return [None] if row["ts"] >= bound else []
        case Hop(size, slide, origin):
            every = [(start, start + size) for start in range(origin - 20 * slide, 60 * SECOND, slide)]
            return [(start, end) for start, end in every if start <= row["ts"] < end and end > bound]
        case Cumulate(size, step, origin):
            starts = range(origin - 20 * size, 60 * SECOND, size)
            every = [(start, start + length) for start in starts for length in range(step, size + 1, step)]
            return [(start, end) for start, end in every if start <= row["ts"] < end and end > bound]
        case None:
            return [None]


def split_by_gap(times: list[int], window: object) -> list[list[int]]:
    runs: list[list[int]] = []
    for ts in sorted(times):
        if runs and (not isinstance(window, Session) or ts - runs[-1][-1] < window.gap):
            runs[-1].append(ts)
        else:
            runs.append([ts])
    return runs


@SETTINGS
@given(queries(late=FINAL_ONCE), INPUTS, INPUTS)
def test_run_on_grown_input_adds_windows_and_never_changes_one(query: Query, first: Inputs, grown: Inputs) -> None:
    inputs = {name: [*rows, *grown.get(name, [])] for name, rows in first.items()}
    model = run(query, first, [])
    before = list(model.state.output)
    ended = model.state.closed_through
    play(model, inputs)
    assert model.state.output[: len(before)] == before
    assert all((change.group[1] or 0) > ended for change in model.state.output[len(before) :])
    again = list(model.state.output)
    assert play(model, inputs).state.output == again


@SETTINGS
@given(queries(NO_WINDOW, late=FINAL_ONCE), INPUTS, INPUTS)
def test_finished_result_is_given_again_only_when_a_row_was_absorbed(
    query: Query, first: Inputs, grown: Inputs
) -> None:
    model = run(query, first, [])
    written, absorbed = len(model.state.output), model.state.ledger["absorbed"]
    play(model, {name: [*rows, *grown.get(name, [])] for name, rows in first.items()})
    if query.having is None:
        assert (len(model.state.output) > written) == (model.state.ledger["absorbed"] > absorbed)


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 8))
def test_session_of_a_row_is_the_closure_of_its_neighbours(times: list[int], gap: int) -> None:
    member = {times[0]}
    while more := {ts for ts in times if ts not in member and any(abs(ts - one) < gap for one in member)}:
        member |= more
    assert session(sorted(times), times[0], gap) == (min(member), max(member) + gap)


def rows(*at: float) -> list[Row | None]:
    return [{"ts": round(ts * SECOND), "k": None, "v": None} for ts in at]


COUNT = Query(time="ts", delay=5 * SECOND, window=TUMBLE, calls=(Call("count_star"),))


@pytest.mark.parametrize(
    ("query", "times", "late", "counts"),
    [
        (COUNT, (1, 7, 20, 3), 1, [2, 1]),
        (COUNT, (1, 15, 2), 1, [1, 1]),  # the watermark stands at the end of the window
        (COUNT, (1, 14.9, 2), 0, [2, 1]),
        (replace(COUNT, lateness=5 * SECOND), (1, 15, 2, 20, 3), 1, [2, 1, 1]),
        (replace(COUNT, window=Session(3 * SECOND), delay=0), (1, 3, 6, 5), 1, [2, 1]),  # one gap later: a new session
        (replace(COUNT, window=Session(3 * SECOND), delay=2 * SECOND), (1, 5, 3), 0, [3]),  # bridged
        (replace(COUNT, window=Hop(10 * SECOND, 5 * SECOND), delay=0), (1, 7, 3), 0, [1, 3, 1]),
        (replace(COUNT, window=None), (9, 1), 0, [2]),
        (replace(COUNT, window=None), (), 0, [0]),
        (COUNT, (), 0, []),
    ],
)
def test_example_gives_its_late_rows_and_counts(
    query: Query, times: tuple[float, ...], late: int, counts: list[int]
) -> None:
    for cut in (1, 7, 100):
        model = run(query, {"p": rows(*times)}, [Step(0, cut)] * 10)
        assert model.state.ledger["late"] == late
        assert [change.row[-1] for change in model.state.output] == counts


def test_idle_partition_leaves_the_minimum_until_it_speaks() -> None:
    model = Model(COUNT, ["a", "b"])
    for row in rows(1, 30):
        model.take("a", row)
    model.end_batch()
    assert model.state.output == []
    model.finish("b")
    model.end_batch()
    assert [change.row for change in model.state.output] == [(0, 10 * SECOND, 1)]
    assert model.take("b", rows(2)[0]) == "late"
    model.end_batch()
    assert model.state.watermark == 25 * SECOND


def test_changed_session_takes_back_the_one_that_it_replaces() -> None:
    query = replace(COUNT, window=Session(5 * SECOND), changes=True)
    model = run(query, {"p": rows(0, 8, 4)}, [Step(0, 1)] * 3)
    one, two, whole = (0, 5), (8, 13), (0, 13)
    steps = [(1, one, 1), (1, two, 1), (-1, one, 1), (-1, two, 1), (1, whole, 3)]
    assert model.state.output == [change(*step) for step in steps]


def change(weight: int, window: tuple[int, int], count: int) -> Change:
    start, end = (bound * SECOND for bound in window)
    return Change(weight, (start, end, ()), (start, end, count))
