from __future__ import annotations

from ferrisstreams.runtime.faults import FAULT_POINTS, TRANSACTION_POINTS
from ferrisstreams.testing.schedules import all_schedules, sampled


def test_every_fault_point_has_a_schedule() -> None:
    points = {crash.point for schedule in all_schedules(1) for crash in schedule.crashes}
    assert points == {*FAULT_POINTS, *TRANSACTION_POINTS}


def test_name_of_a_schedule_is_its_own() -> None:
    names = [schedule.name for schedule in all_schedules(3)]
    assert len(names) == len(set(names))


def test_partitions_are_interleaved_only_when_there_are_several() -> None:
    assert len(all_schedules(2)) > len(all_schedules(1))


def test_sample_is_the_same_for_the_same_seed_and_holds_a_crash() -> None:
    one = sampled(1, ("seed", "case"), 2)
    assert one == sampled(1, ("seed", "case"), 2)
    assert len(one) == 4
    assert sum(bool(schedule.crashes) for schedule in one) == 1
    assert any(sampled(1, (seed, "case"), 2) != one for seed in range(5))
