"""Where a new job begins, as it is written."""

from __future__ import annotations

import pytest

from ferrisstreams.connectors.kafka.startup import Startup, parse_startup


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("earliest", Startup("earliest")),
        ("earliest-offset", Startup("earliest")),
        (" LATEST ", Startup("latest")),
        ("timestamp:1704067200000", Startup("timestamp", 1_704_067_200_000)),
        ("timestamp:2024-01-01T00:00:00Z", Startup("timestamp", 1_704_067_200_000)),
        ("timestamp: 2024-01-01T01:00:00+01:00", Startup("timestamp", 1_704_067_200_000)),
        ("timestamp:2024-01-01", Startup("timestamp", 1_704_067_200_000)),
        ("offsets:0:42, 1:7", Startup("offsets", offsets={0: 42, 1: 7})),
    ],
)
def test_startup_is_read(written: str, meant: Startup) -> None:
    assert parse_startup(written) == meant


@pytest.mark.parametrize(
    "written",
    ["", "first", "earliest:1", "timestamp", "timestamp:noon", "offsets:", "offsets:0", "offsets:a:1", "none"],
)
def test_wrong_startup_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"earliest, latest|ISO 8601"):
        parse_startup(written)
