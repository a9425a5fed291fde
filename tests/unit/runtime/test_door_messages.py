"""What is said at a door comes back as it was said; anything else is refused."""

from __future__ import annotations

import json

import pytest

from ferrisstreams.runtime.door import LENGTH_BYTES
from ferrisstreams.runtime.door_messages import (
    Answer,
    MessageError,
    ReadState,
    ReadStatus,
    Refusal,
    Request,
    StateAnswer,
    StatusAnswer,
    decode,
    encode,
)


@pytest.mark.parametrize(
    "message",
    [
        ReadState(),
        ReadState(count=True),
        ReadStatus(),
        StateAnswer("1:2", "ab", "[]", 3, {"positions": {"a-0": 7}}, [1, 0]),
        StatusAnswer("1:2", 77, 3, {"at_us": 1}, lag={"a-0": 2}, waits_for="a-0", breakers={"sink": "open"}),
        Refusal("no"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_message_comes_back_as_it_was(message: Request | Answer) -> None:
    said = encode(message)
    assert int.from_bytes(said[:LENGTH_BYTES], "big") == len(said) - LENGTH_BYTES
    assert decode(said[LENGTH_BYTES:]) == message


@pytest.mark.parametrize(
    "said",
    [
        "",
        "nonsense",
        "[1]",
        "[" * 100_000,
        json.dumps({"door": 2, "kind": "ReadStatus"}),
        json.dumps({"door": 1, "kind": "DropState"}),
        json.dumps({"door": 1, "kind": "ReadStatus", "count": True}),
        json.dumps({"door": 1, "kind": "Refusal"}),
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=str,
)
def test_anything_else_is_refused(said: str) -> None:
    with pytest.raises(MessageError):
        decode(said.encode("latin-1"))
