"""The commit protocol under every interleaving of steps, crashes, raised errors and what a broker does by itself."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

import pytest

from tests.model.commit_protocol import STEPS, RefusedError, World, reconcile, successors

EPOCHS = 4
#: More worlds than a protocol that writes each epoch once can have.
WORLDS_MAX = 5_000


#: Every world that can be reached, with all that can happen in it.
Graph: TypeAlias = dict[World, list[tuple[str, World]]]


@pytest.fixture(scope="module", params=["broker", "state"])
def graph(request: pytest.FixtureRequest) -> Graph:
    found: Graph = {}
    waiting = [World(request.param)]
    while waiting:
        world = waiting.pop()
        if world not in found:
            found[world] = list(successors(world, EPOCHS))
            assert len(found) < WORLDS_MAX, world
            waiting += [after for _, after in found[world]]
    return found


def epochs(world: World, last: int) -> tuple[int, ...]:
    """Those with records."""
    return tuple(range(world.begun + 1, last + 1))


def decider(graph: Graph) -> str:
    return next(iter(graph)).decider


def test_every_step_is_reached(graph: Graph) -> None:
    outside = {"refused", "after_offsets", "after_transaction"} if decider(graph) == "state" else set()
    assert {world.step for world in graph} == {"dead", "refused", *STEPS} - outside


def test_every_step_can_raise(graph: Graph) -> None:
    raising = {what.split(" raises")[0] for nexts in graph.values() for what, _ in nexts if " raises" in what}
    assert raising >= {world.step for world in graph} - {"dead", "refused"}


def test_a_committed_reader_sees_each_epoch_once_and_in_order(graph: Graph) -> None:
    assert [world for world in graph if not in_order(world.topic)] == []
    assert [world for world in graph if not in_order(world.published)] == []


def test_what_was_decided_is_never_taken_back(graph: Graph) -> None:
    steps = [(world, what, after) for world, nexts in graph.items() for what, after in nexts]
    assert [(w, what) for w, what, after in steps if not keeps(w.topic, after.topic)] == []
    assert [(w, what) for w, what, after in steps if not keeps(w.published, after.published)] == []
    running = [step for step in steps if step[0].step not in ("dead", "refused")]
    assert [(w, what) for w, what, after in running if not {*epochs(w, w.epoch - 1)} <= {*after.files}] == []


def in_order(found: tuple[int, ...]) -> bool:
    return not found or found == tuple(range(found[0], found[0] + len(found)))


def keeps(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return after[: len(before)] == before


def test_token_state_files_and_topic_agree_after_every_recovery(graph: Graph) -> None:
    recovered = [world for world in graph if world.step == "during_recovery"]
    assert [w for w in recovered if not w.files == w.published == epochs(w, w.state)] == []
    if decider(graph) == "broker":
        assert [w for w in recovered if w.topic != w.files or (w.token or 0) != w.state] == []


def test_a_start_is_refused_only_when_the_broker_has_forgotten(graph: Graph) -> None:
    refused = [world for world in graph if world.step == "refused"]
    assert bool(refused) == (decider(graph) == "broker")
    assert [world for world in refused if not world.old or world.confirmed] == []


def test_a_job_that_has_only_begun_is_killed_everywhere_and_never_refused(graph: Graph) -> None:
    begun = [world for world in graph if world.state == world.begun]
    killed = {w.step for w in begun if w.begun and any(after.step == "dead" for _, after in graph[w])}
    assert killed >= {"after_open", "during_recovery", "after_read", "after_write", "after_prepare", "after_confirm"}
    assert [world for world in begun if world.step == "refused"] == []
    assert [world for world in begun if world.topic or world.published] == []


def test_whatever_happened_the_job_can_come_to_its_end(graph: Graph) -> None:
    before = defaultdict(list)
    for world, nexts in graph.items():
        for _, after in nexts:
            before[after].append(world)
    reached = {world for world in graph if world.published == epochs(world, EPOCHS)}
    waiting = list(reached)
    while waiting:
        for world in before[waiting.pop()]:
            if world not in reached:
                reached.add(world)
                waiting.append(world)
    stuck = [world for world in graph if world not in reached and not (world.old or world.step == "refused")]
    assert stuck == []


@pytest.mark.parametrize(
    ("state", "confirmed", "token"),
    [(0, True, 3), (5, True, 3), (2, True, 1), (3, False, 4), (2, False, None)],
    ids=["state lost", "token older", "behind a confirmed epoch", "state older", "token gone"],
)
def test_state_and_token_that_do_not_fit_are_refused(state: int, confirmed: bool, token: int | None) -> None:
    with pytest.raises(RefusedError):
        reconcile(state, confirmed, token, old=False)
