from __future__ import annotations

import pytest

from ferrisstreams.config.kinds import DURATION, FLAG, SIZE, TEXT, Kind, value_text


@pytest.mark.parametrize(
    ("kind", "written", "shown"),
    [
        (DURATION, "90s", "90s"), (DURATION, "120s", "2m"), (DURATION, "1.5ms", "1.5ms"), (DURATION, "0", "0s"),
        (DURATION, "36h", "36h"), (SIZE, "1024KB", "1MB"), (SIZE, "1025B", "1025B"), (SIZE, "0B", "0B"),
        (FLAG, "yes", "true"), (TEXT, "a b", "a b"),
    ],
)  # fmt: skip
def test_value_is_shown_as_it_would_be_written(kind: Kind, written: str, shown: str) -> None:
    value = kind.parse(written)
    assert value_text(kind, value) == shown
    assert kind.parse(value_text(kind, value)) == value
