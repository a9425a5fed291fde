"""After every batch, what stands at the output is the engine's own answer over the rows so far."""

from __future__ import annotations

import pytest

from tests.properties.changes import FORMS, Asking

#: One for each form; each is some aggregates of the catalogue. `make fuzz` goes through all of them.
SEEDS = range(len(FORMS))


@pytest.fixture(scope="module")
def asking() -> Asking:
    return Asking()


@pytest.mark.parametrize("seed", SEEDS, ids=[form.name for form in FORMS])
def test_changes_folded_after_every_batch_are_the_answer_so_far(asking: Asking, seed: int) -> None:
    assert asking.run(seed) == [], f"repeat: python -m tests.properties.changes --first {seed} --last {seed}"
