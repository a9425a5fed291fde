"""Which cases of a sort are in the suite; the others are marked `full`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from zlib import crc32

import pytest
from _pytest.mark import ParameterSet


def pairwise(first: Sequence[str], second: Sequence[str], third: Sequence[str]) -> list[ParameterSet]:
    """Parameters for all combinations; in those of the suite any two values of different axes meet. The third is not
    longer than the others."""
    found = []
    for a, b, c in product(first, second, third):
        left_out = (first.index(a) + second.index(b)) % len(third) != third.index(c)
        found.append(pytest.param(a, b, c, marks=_marks(left_out), id=f"{a}-{b}-{c}"))
    return found


def one_of(count: int, cases: Iterable[tuple[str, object]]) -> list[ParameterSet]:
    """Parameters for all cases, each a name and a value; the suite has one of `count`, chosen by the name."""
    return [pytest.param(value, marks=_marks(crc32(name.encode()) % count != 0), id=name) for name, value in cases]


def _marks(left_out: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.full] if left_out else []
