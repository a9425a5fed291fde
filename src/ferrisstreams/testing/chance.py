"""Chance that can be repeated: numbers from a seed, the same on every machine and version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Chance:
    """A stream of numbers that depends on the seed's text alone."""

    def __init__(self, *seed: object) -> None:
        self._seed = "/".join(str(part) for part in seed).encode()
        self._drawn = 0

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` (not included)."""
        self._drawn += 1
        digest = hashlib.blake2b(self._seed + self._drawn.to_bytes(8, "big"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % bound

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` of the items (all, when there are fewer), in their order."""
        left = list(range(len(items)))
        while len(left) > count:
            left.pop(self.below(len(left)))
        return [items[index] for index in left]
