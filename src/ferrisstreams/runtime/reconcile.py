"""What is final at start, when an outside system decides: the last epoch row of the state, and the token outside.

`tests/model/commit_protocol.py` checks these rules under every interleaving.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ferrisstreams.errors import StateError
from ferrisstreams.runtime.epoch import EpochRow

#: A broker keeps committed offsets for a week by default. A job whose last epoch is younger than this, and
#: that has no token, has never had one.
TOKEN_SURELY_KEPT_US = 24 * 3600 * 1_000_000

_TOKEN = re.compile(r"1 ([0-9a-f]+) (\d+)")

_WAYS_OUT = (
    "bring the right state folder back (--state-dir), make it again with `ferris state rebuild`, or start over with"
    " `ferris state reset`, which writes again what was already written"
)


@dataclass(frozen=True, slots=True)
class Token:
    """What a decided epoch leaves with the positions: format version 1, the state's id, the epoch."""

    state_id: str
    epoch: int

    def __str__(self) -> str:
        return f"1 {self.state_id} {self.epoch}"


def newest(texts: Iterable[str]) -> Token | None:
    """The token of the last epoch among committed texts; those of other programs are left out."""
    found = [Token(match[1], int(match[2])) for match in map(_TOKEN.fullmatch, texts) if match]
    return max(found, key=lambda token: token.epoch, default=None)


def final_epoch(last: EpochRow | None, state_id: str, token: Token | None, now_us: int, settled: bool = True) -> int:
    """The last epoch that is final; 0 when there is none. Raises StateError where state and token do not fit.

    Not `settled`: the last transaction may still be on its way to the offsets, which then show the epoch before, also
    to a job that has seen its commit answered.
    """
    epoch = last.epoch if last is not None else 0
    confirmed = last is None or last.confirmed
    if token is None:
        return _epoch_without_token(last, now_us)
    if token.state_id != state_id:
        kept = f"this state ({state_id}) ends with epoch {epoch}" if last is not None else "there is no state here"
        raise StateError(
            f"the job has run with another state: its last epoch outside is {token.epoch} of state {token.state_id},"
            f" and {kept}",
            "E5003",
            _WAYS_OUT,
        )
    if token.epoch == epoch or (token.epoch == epoch - 1 and not (confirmed and settled)):
        return token.epoch
    raise StateError(
        f"the state ends with epoch {epoch}, but the last one outside is {token.epoch}: "
        + ("another instance has gone on" if token.epoch > epoch else "the state is ahead of it"),
        "E5006",
        _WAYS_OUT,
    )


def _epoch_without_token(last: EpochRow | None, now_us: int) -> int:
    if last is None or last.confirmed:
        return last.epoch if last is not None else 0
    if last.has_only_begun and now_us - last.at_us >= TOKEN_SURELY_KEPT_US:
        return last.epoch  # decided or not, nothing was read or written: it only says where the job begins
    if last.epoch == 1 and now_us - last.at_us < TOKEN_SURELY_KEPT_US:
        return 0
    raise StateError(
        f"the state ends with epoch {last.epoch}, which is not confirmed, and nothing outside says whether it was"
        " decided: the committed offsets of the job's group are gone",
        "E5003",
        _WAYS_OUT,
    )
