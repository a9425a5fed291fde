"""Joins equal the batch query after every tick (see `joins.py`)."""

from __future__ import annotations

import pytest

from tests.properties.joins import LISTED, Listed, check

#: Ticks of each join; `python -m tests.properties.joins` runs as many as wanted.
CHECKED_TICKS = 16


@pytest.mark.parametrize("listed", LISTED, ids=[listed.name for listed in LISTED])
def test_folded_changes_equal_the_batch_query(listed: Listed) -> None:
    check(listed, CHECKED_TICKS)
