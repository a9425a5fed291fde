"""Kinds of settings: how a value is read from text, and what it is called in an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ferrisstreams.config.intervals import read_interval

SettingValue: TypeAlias = "str | bool | int | float | None"

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True, slots=True)
class Kind:
    """`parse` gives the typed value or raises ValueError with what is expected."""

    name: str
    parse: Callable[[str | bool | int | float], SettingValue]


def _text(value: str | bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse_flag(value: str | bool | int | float) -> bool:
    match _text(value).lower():
        case "true" | "yes" | "on" | "enabled" | "1":
            return True
        case "false" | "no" | "off" | "disabled" | "0":
            return False
    raise ValueError("expected true or false")


def parse_duration_ms(value: str | bool | int | float) -> float:
    """Milliseconds of `100ms`, `5s`, `1.5 minutes`. Raises ValueError; a bare number needs its unit."""
    text = _text(value).strip()
    try:
        number = float(text)
    except ValueError:
        return _parsed_ms(text)
    if number != 0:
        raise ValueError(f"expected a duration with its unit: {text}ms, {text}s, {text}m, {text}h or {text}d")
    return 0.0


def _parsed_ms(text: str) -> float:
    try:
        length_us = read_interval(text).length_us
    except ValueError as error:
        raise ValueError(f"{error}: expected a duration such as 100ms, 5s, 1m, 2h or 1d") from None
    if length_us is None or length_us < 0:
        raise ValueError(f"expected a duration of fixed length such as 100ms, 5s, 1m, 2h or 1d, not {text}")
    return length_us / 1000


def parse_size_bytes(value: str | bool | int | float) -> int:
    """Bytes of `4MB`, `512KB`, `1GB`. Raises ValueError; a bare number needs its unit."""
    match = _QUANTITY.fullmatch(_text(value))
    if match is None or not match[2]:
        raise ValueError("expected a size with its unit, such as 512KB, 4MB or 1GB")
    unit = match[2].upper().replace("IB", "B")
    if unit not in _BYTES:
        raise ValueError(f"unknown unit {match[2]!r}: the units of a size are B, KB, MB and GB")
    return int(float(match[1]) * _BYTES[unit])


def integer(least: int, most: int = 2**63 - 1) -> Kind:
    """Whole numbers from `least` to `most`."""

    def parse(value: str | bool | int | float) -> int:
        try:
            number = int(_text(value).replace("_", ""))
        except ValueError:
            raise ValueError("expected a whole number") from None
        if not least <= number <= most:
            raise ValueError(
                f"expected a whole number of at least {least}" + (f", at most {most}" * (most < 2**63 - 1))
            )
        return number

    return Kind("whole number", parse)


def number(least: float, most: float) -> Kind:
    """Numbers from `least` to `most`."""

    def parse(value: str | bool | int | float) -> float:
        try:
            parsed = float(_text(value))
        except ValueError:
            raise ValueError("expected a number") from None
        if not least <= parsed <= most:
            raise ValueError(f"expected a number from {least:g} to {most:g}")
        return parsed

    return Kind("number", parse)


def choice(*options: str, **aliases: str) -> Kind:
    """One of `options`; `LogAndContinue` and `log-and-continue` are read as `log_and_continue`."""

    def parse(value: str | bool | int | float) -> str:
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", _text(value)).replace("-", "_").lower()
        snake = aliases.get(snake, snake)
        if snake not in options:
            raise ValueError(f"expected one of {', '.join(options)}")
        return snake

    return Kind("one of " + ", ".join(f"`{option}`" for option in options), parse)


def _non_empty(value: str | bool | int | float) -> str:
    if not (text := _text(value)):
        raise ValueError("expected a string that is not empty")
    return text


def _single(value: str | bool | int | float) -> str:
    text = _text(value)
    text = "\t" if text == "\\t" else text
    if len(text) != 1 or text in "\r\n" or not text.isascii():
        raise ValueError("expected a single character")
    return text


def _duration(value: str | bool | int | float) -> SettingValue:
    return parse_duration_ms(value)


TEXT = Kind("text", _non_empty)
ANY_TEXT = Kind("text", _text)
CHARACTER = Kind("character", _single)
FLAG = Kind("true or false", _parse_flag)
DURATION = Kind("duration", _duration)
SIZE = Kind("size", parse_size_bytes)


def value_text(kind: Kind, value: SettingValue) -> str:
    """A typed value as a user would write it, a duration or size in the largest unit that divides it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or kind not in (DURATION, SIZE):
        return _text(value) if value is not None else ""
    if value == 0:
        return "0s" if kind is DURATION else "0B"
    units = sorted((_MILLISECONDS if kind is DURATION else _BYTES).items(), key=lambda unit: -unit[1])
    unit, factor = next(((u, f) for u, f in units if value >= f and value % f == 0), units[-1])
    return f"{value / factor:.15g}{unit}"
