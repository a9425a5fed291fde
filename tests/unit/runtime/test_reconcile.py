"""What is final at start: the code says what the model says, and names both sides where they do not fit."""

from __future__ import annotations

import itertools

import pytest

from ferrisstreams.errors import StateError
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.reconcile import TOKEN_SURELY_KEPT_US, Token, final_epoch, newest
from tests.model.commit_protocol import RefusedError, reconcile

STATE = "5ca1ab1e"
NOW = 10 * TOKEN_SURELY_KEPT_US


@pytest.mark.parametrize(
    ("state", "confirmed", "token", "old", "begun"),
    [
        each
        for each in itertools.product(range(4), (True, False), (None, 1, 2, 3, 4), (True, False), (True, False))
        if each[0] or each[1]  # without a row there is nothing to confirm
    ],
)
def test_code_decides_as_the_model_does(state: int, confirmed: bool, token: int | None, old: bool, begun: bool) -> None:
    at = NOW - (2 * TOKEN_SURELY_KEPT_US if old else 1)
    ledger = Ledger(read=0 if begun else 1)
    last = EpochRow(epoch=state, at_us=at, confirmed=confirmed, ledger=ledger) if state else None
    found = Token(STATE, token) if token is not None else None
    try:
        expected: int | None = reconcile(state, confirmed, token, old, state if begun else 0)
    except RefusedError:
        expected = None
    if expected is None:
        with pytest.raises(StateError, match="epoch"):
            final_epoch(last, STATE, found, NOW)
    else:
        assert final_epoch(last, STATE, found, NOW) == expected


@pytest.mark.parametrize("last", [None, EpochRow(epoch=4, at_us=NOW)], ids=["no state", "another state"])
def test_token_of_another_state_is_refused_and_both_are_named(last: EpochRow | None) -> None:
    with pytest.raises(StateError, match=r"epoch outside is 4 of state ba5eba11") as raised:
        final_epoch(last, STATE, Token("ba5eba11", 4), NOW)
    assert raised.value.hint is not None
    assert "state reset" in raised.value.hint


def test_token_reads_what_it_writes_and_passes_over_what_others_write() -> None:
    texts = [str(Token(STATE, 9)), str(Token(STATE, 10)), "", "1 xyz 99", "2 5ca1ab1e 99", "flink-17"]
    assert newest(texts) == Token(STATE, 10)
    assert newest(["", "something"]) is None


def test_commit_that_is_still_on_its_way_is_no_contradiction_before_it_is_settled() -> None:
    last = EpochRow(epoch=4, at_us=NOW)
    assert final_epoch(last, STATE, Token(STATE, 3), NOW, settled=False) == 3
    with pytest.raises(StateError, match="ahead"):
        final_epoch(last, STATE, Token(STATE, 3), NOW)
    with pytest.raises(StateError, match="ahead"):
        final_epoch(last, STATE, Token(STATE, 2), NOW, settled=False)
