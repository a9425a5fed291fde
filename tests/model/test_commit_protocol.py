"""The commit protocol under every interleaving of steps, crashes and what a broker does by itself."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.model.commit_protocol import STEPS, RefusedError, World, reconcile, successors

EPOCHS = 4


@pytest.fixture(scope="module")
def graph() -> dict[World, list[tuple[str, World]]]:
    """Every world that can be reached, with all that can happen in it."""
    found: dict[World, list[tuple[str, World]]] = {}
    waiting = [World()]
    while waiting:
        world = waiting.pop()
        if world not in found:
            found[world] = list(successors(world, EPOCHS))
            waiting += [after for _, after in found[world]]
    return found


def epochs(last: int) -> tuple[int, ...]:
    return tuple(range(1, last + 1))


def test_every_step_is_reached(graph: dict[World, list[tuple[str, World]]]) -> None:
    assert {world.step for world in graph} == {"dead", "refused", *STEPS}


def test_a_committed_reader_sees_each_epoch_once_and_in_order(graph: dict[World, list[tuple[str, World]]]) -> None:
    assert [world for world in graph if world.topic != epochs(len(world.topic))] == []


def test_token_state_file_and_topic_agree_after_every_recovery(graph: dict[World, list[tuple[str, World]]]) -> None:
    recovered = [world for world in graph if world.step in ("during_recovery", "after_confirm")]
    wrong = [w for w in recovered if not w.topic == w.file == epochs(w.state) or (w.token or 0) != w.state]
    assert wrong == []


def test_a_start_is_refused_only_when_the_broker_has_forgotten(graph: dict[World, list[tuple[str, World]]]) -> None:
    refused = [world for world in graph if world.step == "refused"]
    assert refused
    assert [world for world in refused if not world.old or world.confirmed] == []


def test_whatever_happened_the_job_can_come_to_its_end(graph: dict[World, list[tuple[str, World]]]) -> None:
    before = defaultdict(list)
    for world, nexts in graph.items():
        for _, after in nexts:
            before[after].append(world)
    reached = {world for world in graph if world.topic == epochs(EPOCHS)}
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
