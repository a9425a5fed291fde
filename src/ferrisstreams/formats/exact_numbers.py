"""Numbers of a JSON record with all their digits, for decimals that a double cannot carry."""

from __future__ import annotations

import json
from collections.abc import Sequence


def exact_texts(record: bytes, names: Sequence[str]) -> list[str | None]:
    """The texts of the numbers (or strings) under these keys; None for other values and unreadable records."""
    try:
        found = json.loads(record, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return [None for _ in names]
    return [value if isinstance(value := found.get(name), str) else None for name in names]
