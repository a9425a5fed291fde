"""The rows of the benchmark are what their titles say."""

from __future__ import annotations

import json

import pytest

from benchmarks.odd_rows import CELLS, OddRows


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: str(cell.title))
def test_odd_row_is_json_unless_it_is_malformed_and_another_than_the_plain_one(cell: OddRows) -> None:
    assert json.loads(cell.plain(7))
    assert cell.odd(7) != cell.plain(7)
    if cell.title.startswith("malformed"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(cell.odd(7))
    else:
        assert json.loads(cell.odd(7))
