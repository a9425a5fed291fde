"""Expressions out of the engine's own catalogue are answered as the engine answers them, or refused with a place."""

from __future__ import annotations

import pytest

from tests.properties.statements import KINDS, Asking

#: Each is fifty expressions.
SEEDS = range(1, 7)


@pytest.fixture(scope="module")
def asking() -> Asking:
    return Asking()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_engine_lists_is_answered_or_refused_with_a_place(asking: Asking, seed: int) -> None:
    verdict = asking.run(seed)
    assert verdict.faults == [], f"repeat: python -m tests.properties.statements --first {seed} --last {seed}"


def test_every_kind_of_query_is_drawn() -> None:
    assert {seed % len(KINDS) for seed in SEEDS} == set(range(len(KINDS)))
