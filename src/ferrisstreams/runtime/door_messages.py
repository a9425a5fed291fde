"""What is said at the door of a worker: a request, then its answer, on a stream of bytes.

    | length, 4 bytes, big-endian | JSON in UTF-8: {"door": 1, "kind": "ReadState", ...fields} |

A message is a frozen dataclass; its class is its kind. Values that have an owner elsewhere (an epoch's content) stay
the JSON of their owners.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TypeAlias

from ferrisstreams.batch import JsonValue
from ferrisstreams.runtime.door import LENGTH_BYTES

#: Raised whenever a message means something else than before.
_VERSION = 1

#: An answer has the positions of every file or partition.
ANSWER_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReadState:
    """Asks for the state as of the last decided epoch; `count`: with the rows of its tables."""

    count: bool = False


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """Asks how the job is doing; reads no table."""


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """`file` is the state's file as the system numbers it, `content` the row of the epoch as it is kept (see
    `runtime/epoch.py`); epoch 0: nothing is decided yet."""

    file: str
    state_id: str = ""
    identity: str | None = None
    epoch: int = 0
    content: JsonValue = None
    rows: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The last decided epoch, and the run: its process, rows, seconds, rows a second lately, lag by partition, how far
    the watermark is behind the clock, seconds since the last epoch became final, the partition that windows wait for,
    and the circuit breakers of `source` and `sink`."""

    file: str
    pid: int
    epoch: int
    content: JsonValue
    rows: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    lag: Mapping[str, int] = field(default_factory=dict)
    watermark_us: int | None = None
    behind_seconds: float | None = None
    commit_seconds: float = 0.0
    waits_for: str | None = None
    silent_seconds: float | None = None
    breakers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no answer."""

    reason: str


Request: TypeAlias = ReadState | ReadStatus
Answer: TypeAlias = StateAnswer | StatusAnswer | Refusal

_KINDS = {kind.__name__: kind for kind in (ReadState, ReadStatus, StateAnswer, StatusAnswer, Refusal)}


class MessageError(Exception):
    """Bytes that are not a message of this version."""


def encode(message: Request | Answer) -> bytes:
    """The whole message, its length first."""
    text = json.dumps({"door": _VERSION, "kind": type(message).__name__, **asdict(message)}).encode()
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


def decode(text: bytes) -> Request | Answer:
    """The message of a text. Raises MessageError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError("not a message: expected JSON") from error
    if not isinstance(found, dict) or found.pop("door", None) != _VERSION:
        raise MessageError(f"not a message of version {_VERSION} of the door")
    kind = _KINDS.get(str(found.pop("kind", None)))
    if kind is None or not {each.name for each in fields(kind)}.issuperset(found):
        raise MessageError("an unknown message")
    try:
        return kind(**found)
    except TypeError as error:
        raise MessageError(f"a message without all that it needs: {error}") from error
