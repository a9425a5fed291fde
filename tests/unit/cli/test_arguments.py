from __future__ import annotations

import pytest
import typer

from ferrisstreams.cli.arguments import parse_settings


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        (None, {}),
        (["a.b=1"], {"a.b": "1"}),
        ([" a = 1 ", "b=x=y", "c="], {"a": "1", "b": "x=y", "c": ""}),
        (["a=1", "a=2"], {"a": "2"}),
    ],
)
def test_setting_is_split_at_the_first_equals_sign(written: list[str] | None, settings: dict[str, str]) -> None:
    assert parse_settings(written) == settings


@pytest.mark.parametrize("written", ["", "a", "=1", " =1"])
def test_setting_without_key_or_value_is_wrong_usage(written: str) -> None:
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        parse_settings([written])
