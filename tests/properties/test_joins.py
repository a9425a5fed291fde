"""Joins equal the batch query after every tick (see `joins.py`)."""

from __future__ import annotations

from functools import partial

import pytest

from tests.properties.joins import LISTED, Listed, Run
from tests.properties.operators import check

#: Ticks of each join; `python -m tests.properties.joins` runs as many as wanted.
CHECKED_TICKS = 16


@pytest.mark.parametrize("listed", LISTED, ids=[listed.name for listed in LISTED])
def test_folded_changes_equal_the_batch_query(listed: Listed) -> None:
    check(partial(Run, listed), CHECKED_TICKS)
