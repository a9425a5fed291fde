"""Which batch strategy the settings mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal, TypeAlias

from ferrisstreams.config.resolve import Settings
from ferrisstreams.errors import ConfigError

#: What the default depends on.
SourceKind: TypeAlias = Literal["bounded file", "topic", "other"]


#: The keys of each strategy, beside `batch.enable` and `batch.strategy`.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "fixed_size": ("batch.size", "batch.timeout"),
    "time_window": ("batch.window", "batch.max_size"),
    "adaptive_size": ("batch.min_size", "batch.max_size", "batch.target_latency", "batch.timeout"),
    "memory_based": ("batch.memory_size", "batch.timeout"),
    "low_latency": ("batch.max_size", "batch.wait", "batch.eager"),
}


def strategy_name(settings: Settings, kind: SourceKind) -> str:
    """The strategy that is named, else the only one that has the given keys, else the default of such a source.

    A strategy that comes from outside of the text (`--set`) takes none of the text's keys for another one.
    Raises ConfigError E3005 for a key that does not belong.
    """
    given, named = _given_keys(settings), settings.optional_text("batch.strategy")
    if named is not None:
        wrong = next((key for key in given if key not in _KEYS[named] and not _overruled(settings, key)), None)
        if wrong is None:
            return named
        owners = " or ".join(name for name, keys in _KEYS.items() if wrong in keys)
        hint = f"it belongs to {owners}; {named} has {', '.join(_KEYS[named])}"
        raise _unfitting(settings, wrong, f"'{wrong}' means nothing to batch.strategy = {named}", hint)
    default = "fixed_size" if kind == "other" else "memory_based"
    fitting = _fitting(given)
    if default in fitting:
        return default
    if len(fitting) == 1:
        return fitting[0]
    message = f"which batch.strategy is meant by {' and '.join(given)}?"
    hint = f"give 'batch.strategy' too: {' or '.join(fitting)}" if fitting else "no strategy has all of these keys"
    raise _unfitting(settings, given[-1], message, hint)


def meant_strategy(settings: Settings) -> tuple[str, str] | None:
    """The strategy that is named or that alone has the given keys, and the setting that says so; None: none says so."""
    named, given = settings.property("batch.strategy"), _given_keys(settings)
    if named is not None:
        name = settings.text("batch.strategy")
        return name, f"batch.strategy={name}"
    fitting = _fitting(given)
    prop = settings.property(given[0]) if given and len(fitting) == 1 else None
    return (fitting[0], f"{given[0]}={prop.value}") if prop is not None else None


def _given_keys(settings: Settings) -> list[str]:
    return [key for key in dict.fromkeys(chain(*_KEYS.values())) if settings.given(key)]


def _fitting(given: Sequence[str]) -> list[str]:
    """The strategies that have all these keys."""
    return [name for name, keys in _KEYS.items() if set(given) <= set(keys)]


def _overruled(settings: Settings, key: str) -> bool:
    strategy, other = settings.property("batch.strategy"), settings.property(key)
    return strategy is not None and other is not None and bool(strategy.origin) and not other.origin


def _unfitting(settings: Settings, key: str, message: str, hint: str) -> ConfigError:
    prop = settings.property(key)
    return ConfigError(message, "E3005", hint, prop.position if prop is not None else None)
