"""The row of an epoch as it is written, and as rows that were written before are read."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from ferrisstreams.batch import JsonValue
from ferrisstreams.compile.results import Jump
from ferrisstreams.errors import InternalError
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.watermarks import SavedWatermarks

ROW = EpochRow(
    epoch=7,
    at_us=1_700_000_000_000_000,
    positions={"in.jsonl": {"offset": 120, "done": None}, "t-1": 4},
    starts={"t-1": 2},
    moved=True,
    rows_read={"in.jsonl": 3, "t-1": 2},
    ledger=Ledger(read=5, emitted=4, late=1),
    watermarks=SavedWatermarks({"t-1": 9}, -3, {"t-1": Jump("t-1 offset 3", 9, 1, None)}),
    finished=True,
    identities={"t": "x1"},
    pipeline={"tick": 12, "decided_tick": 9, "operators": [{"emitted_us": 8, "grown": False}]},
    marks={"sink": {"length": 77}, "dead_letters": None},
    confirmed=False,
)

#: As format 2 wrote it, which knew neither identities nor jumps.
FORMER: Mapping[str, JsonValue] = {
    "positions": {"t-0": 16},
    "starts": {"t-0": 0},
    "moved": False,
    "rows_read": {"t-0": 16},
    "ledger": {"read": 16, "emitted": 16},
    "watermarks": {"seen": {"t-0": 5}, "job": 4},
    "pipeline": {},
    "finished": False,
    "at_us": 12,
    "marks": {"sink": 3},
}


def test_row_that_was_written_is_read_again() -> None:
    assert EpochRow.from_json(7, json.loads(json.dumps(ROW.to_json())), confirmed=False) == ROW


def test_epoch_of_a_former_format_is_a_tick_of_one_operator() -> None:
    row = EpochRow.from_json(3, {**FORMER, "pipeline": {"emitted_us": 8}}, confirmed=True)
    assert row.pipeline == {"tick": 3, "decided_tick": 2, "operators": [{"emitted_us": 8}]}


def test_row_of_a_former_format_has_what_it_did_not_know_empty() -> None:
    row = EpochRow.from_json(3, dict(FORMER), confirmed=True)
    assert row == EpochRow(
        epoch=3,
        at_us=12,
        positions={"t-0": 16},
        starts={"t-0": 0},
        rows_read={"t-0": 16},
        ledger=Ledger(read=16, emitted=16),
        watermarks=SavedWatermarks({"t-0": 5}, 4),
        marks={"sink": 3},
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("at_us", "12"), ("rows_read", {"t-0": "16"}), ("positions", [1]), ("ledger", {"read": 1.5}), ("marks", None)],
)
def test_value_of_another_type_is_not_taken_for_what_it_resembles(name: str, value: JsonValue) -> None:
    with pytest.raises(InternalError, match=r"where a (whole number|mapping) belongs"):
        EpochRow.from_json(1, {**FORMER, name: value}, confirmed=True)
