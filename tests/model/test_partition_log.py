"""Positions in a topic under every interleaving of producers, retention, the client's fetches, commits and crashes."""

from __future__ import annotations

import pytest

from tests.model.partition_log import World, records, steps, successors

LENGTH = 4


@pytest.fixture(scope="module")
def worlds() -> set[World]:
    """Every world that can be reached."""
    found: set[World] = set()
    waiting = [World()]
    while waiting:
        world = waiting.pop()
        if world not in found:
            found.add(world)
            waiting += [after for _, after in successors(world, LENGTH)]
    return found


def test_every_record_before_the_position_was_given_once(worlds: set[World]) -> None:
    assert [world for world in worlds if world.done != records(world.log, 0, world.position)] == []


def test_what_a_job_without_work_has_committed_may_be_removed(worlds: set[World]) -> None:
    refused = [world for world in worlds if world.refused]
    assert [world for world in refused if records(world.log, world.position, world.low)]
    assert [world for world in refused if world.low <= world.passed] == []


def test_position_comes_to_the_end_behind_whatever_holds_no_record(worlds: set[World]) -> None:
    running = [world for world in worlds if world.alive and not world.refused and world.fetched >= world.low]
    settled = [world for world in running if not list(steps(world))]
    assert settled
    assert [w for w in settled if w.position != len(w.log) or w.done != records(w.log, 0, len(w.log))] == []
