"""How long to wait before something is tried again."""

from __future__ import annotations

import random

#: Doublings after which every wait is the longest one, whatever it began with.
_DOUBLINGS_MAX = 64


def longest_wait_ms(attempt: int, first_ms: float, most_ms: float) -> float:
    """The longest wait before attempt number `attempt` (from 0): the first one doubled each time, up to `most_ms`."""
    return min(most_ms, first_ms * 2.0 ** min(attempt, _DOUBLINGS_MAX))


def wait_ms(attempt: int, first_ms: float, most_ms: float) -> float:
    """A wait with full jitter: anything up to the longest, so that those who failed together do not return together."""
    return random.uniform(0, longest_wait_ms(attempt, first_ms, most_ms))
