"""Where a new job begins to read a topic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

_OFFSETS = re.compile(r"\d+:\d+(?:,\d+:\d+)*")


@dataclass(frozen=True, slots=True)
class Startup:
    """`timestamp`: at the first record of `time_ms` or later. `offsets`: by partition, the others at their start."""

    mode: Literal["earliest", "latest", "timestamp", "offsets"] = "earliest"
    time_ms: int = 0
    offsets: Mapping[int, int] = field(default_factory=dict)


def parse_startup(value: str) -> Startup:
    """`earliest`, `latest`, `timestamp:<ISO 8601 or milliseconds>`, `offsets:0:42,1:7`. Raises ValueError."""
    mode, _, rest = value.strip().partition(":")
    match mode.lower().removesuffix("-offset"):
        case "earliest" | "latest" as plain if not rest:
            return Startup("earliest" if plain == "earliest" else "latest")
        case "timestamp" if rest:
            return Startup("timestamp", _time_ms(rest.strip()))
        case "offsets" if _OFFSETS.fullmatch(rest.replace(" ", "")):
            pairs = (pair.split(":") for pair in rest.replace(" ", "").split(","))
            return Startup("offsets", offsets={int(partition): int(offset) for partition, offset in pairs})
    raise ValueError("expected earliest, latest, timestamp:2024-01-01T00:00:00Z, or offsets:0:42,1:7")


def _time_ms(value: str) -> int:
    if value.isdecimal():
        return int(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"'{value}' is neither a time in ISO 8601 nor milliseconds since 1970") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
