"""Lengths of time for people."""

from __future__ import annotations

#: Units of a time for people, the largest first; two of them are enough.
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def duration_text(seconds: float) -> str:
    """`0.4s`, `12s`, `3m 10s`, `2d 5h`; a time that is not over yet has a minus sign."""
    if seconds < 0:
        return f"-{duration_text(-seconds)}"
    if seconds < 10:
        return f"{seconds:.1f}s"
    left = int(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def lag_text(seconds: float | None) -> str:
    """How far a watermark is behind the clock; empty where the data is of another day, of which that says nothing."""
    return duration_text(seconds) if seconds is not None and abs(seconds) < _UNITS[0][1] else ""
