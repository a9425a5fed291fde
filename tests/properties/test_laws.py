"""Both laws, for a few random queries, data, cuts and crashes of each shape; `make fuzz` runs them without an end."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.combination import SHAPES, Shape, draw_combination
from tests.properties.draw import HypothesisDraw
from tests.properties.laws import check, check_grown, draw_schedules

#: A calm one and one that crashes.
SCHEDULES = 2
#: Of each of eleven shapes; half a second each.
EXAMPLES = 3


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@settings(max_examples=EXAMPLES, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_engine_model_and_duckdb_agree_on_answer_and_ledger(shape: Shape, data: st.DataObject) -> None:
    draw = HypothesisDraw(data)
    combination = draw_combination(draw, shape)
    check(combination, draw_schedules(draw, len(combination.inputs), SCHEDULES))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@settings(max_examples=2, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_event_time_of_the_record_obeys_both_laws_too(shape: Shape, data: st.DataObject) -> None:
    draw = HypothesisDraw(data)
    combination = draw_combination(draw, shape)
    check(combination, draw_schedules(draw, len(combination.inputs), SCHEDULES), on_record_time=True)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@settings(max_examples=3, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_finished_job_goes_on_with_grown_input_as_the_model_does(shape: Shape, data: st.DataObject) -> None:
    draw = HypothesisDraw(data)
    combination = draw_combination(draw, shape)
    (schedule,) = draw_schedules(draw, len(combination.inputs), 1)
    check_grown(combination, schedule, draw.below(11))
