"""Which batch strategy settings mean, and what each says of the next batch."""

from __future__ import annotations

import pytest

from ferrisstreams.batch import Limit
from ferrisstreams.config.batches import SourceKind
from ferrisstreams.config.registry import Scope
from ferrisstreams.config.resolve import Settings, resolve
from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConfigError, Position
from ferrisstreams.runtime.batching import Strategy, choose_strategy

MEGABYTE = 1 << 20
AT = Position("app.sql", 1, 1)


def chosen(kind: SourceKind = "topic", stateless: bool = True, **given: str) -> Strategy:
    return choose_strategy(settings(**given), kind, stateless)


def settings(**given: str) -> Settings:
    """`size="7"` is `'batch.size' = '7'` in a text, `strategy="--set x"` one from the command line."""
    properties = {}
    for name, value in given.items():
        text = value.removeprefix("--set ")
        origin = "--set" if text != value else ""
        properties[f"batch.{name}"] = Property(text, None if origin else AT, origin)
    return resolve(properties, (Scope.SOURCE,), None)


@pytest.mark.parametrize(
    ("kind", "stateless", "given", "name", "limit"),
    [
        ("topic", True, {}, "memory_based", Limit(2**30, 4 * MEGABYTE, 10.0, fill=True)),
        ("topic", True, {"timeout": "50ms"}, "memory_based", Limit(2**30, 4 * MEGABYTE, 50.0, fill=True)),
        ("topic", True, {"strategy": "memory_based"}, "memory_based", Limit(2**30, 4 * MEGABYTE, 100.0, fill=True)),
        ("bounded file", False, {}, "memory_based", Limit(2**30, 6 * MEGABYTE, 100.0, fill=True)),
        ("other", True, {}, "fixed_size", Limit(10_000, 64 * MEGABYTE, 100.0, fill=True)),
        ("topic", True, {"size": "7"}, "fixed_size", Limit(7, 64 * MEGABYTE, 100.0, fill=True)),
        ("topic", True, {"window": "5ms", "max_size": "9"}, "time_window", Limit(9, 64 * MEGABYTE, 5.0, fill=True)),
        ("topic", True, {"min_size": "3"}, "adaptive_size", Limit(3, 64 * MEGABYTE, 100.0, fill=True)),
        ("other", True, {"memory_size": "1MB"}, "memory_based", Limit(2**30, MEGABYTE, 100.0, fill=True)),
        ("topic", True, {"wait": "2ms", "eager": "false"}, "low_latency", Limit(500, 64 * MEGABYTE, 2.0, fill=True)),
        ("topic", True, {"enable": "false", "size": "7"}, "off", Limit(1, 64 * MEGABYTE, 100.0)),
        ("topic", True, {"strategy": "--set memory_based", "size": "7"}, "memory_based", None),
    ],
)
def test_strategy_is_what_is_named_or_has_the_keys_or_the_default(
    kind: SourceKind, stateless: bool, given: dict[str, str], name: str, limit: Limit | None
) -> None:
    strategy = chosen(kind, stateless, **given)
    assert strategy.name == name
    assert limit is None or strategy.limit() == limit


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (
            {"strategy": "memory_based", "size": "7"},
            "'batch.size' means nothing to batch.strategy = memory_based",
            "it belongs to fixed_size; memory_based has batch.memory_size, batch.timeout",
        ),
        (
            {"size": "7", "window": "1s"},
            "which batch.strategy is meant by batch.size and batch.window?",
            "no strategy has all of these keys",
        ),
        (
            {"max_size": "7"},
            "which batch.strategy is meant by batch.max_size?",
            "give 'batch.strategy' too: time_window or adaptive_size or low_latency",
        ),
    ],
)
def test_key_that_would_not_be_obeyed_is_refused(given: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        chosen(**given)
    assert (refused.value.message, refused.value.hint, refused.value.code) == (message, hint, "E3005")
    assert refused.value.position == AT
