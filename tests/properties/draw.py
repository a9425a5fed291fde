"""Where random choices come from: hypothesis, which shrinks a failing one, or a seed, for runs without an end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from hypothesis import strategies as st

Item = TypeVar("Item")


class Draw(Protocol):
    """`ferrisstreams.testing.chance.Chance` is one."""

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` (not included)."""

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items; simpler ones stand first."""


class HypothesisDraw:
    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def below(self, bound: int) -> int:
        return self._data.draw(st.integers(0, bound - 1))

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]
