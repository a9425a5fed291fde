"""What a dead letter is to those who read it, and what a store of letters can do: a file, a topic."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from ferrisstreams.errors import StateError

#: The header of a record that was replayed: how often.
REPLAYS_HEADER = "ferris.replays"


class LetterState(Enum):
    """Where a letter stands. `UNSURE`: a replay was cut off, and what is in the target does not say whether it came."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    QUARANTINED = "quarantined"
    UNSURE = "unsure"


#: A record's own headers: names may repeat, values are bytes or missing.
OriginalHeaders = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `headers` are those that the job added, `original` those that the record came with.

    `replays` counts how often this record was replayed before it became this letter.
    """

    id: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str]
    original: OriginalHeaders = ()
    replays: int = 0
    state: LetterState = LetterState.WAITING

    def header(self, name: str) -> str:
        """A header that the job added; empty when it is not there."""
        return self.headers.get(name, "")

    @property
    def code(self) -> str:
        return self.header("ferris.code")

    @property
    def stage(self) -> str:
        return self.header("ferris.stage")

    @property
    def kind(self) -> str:
        """`input` or `output`."""
        return self.header("ferris.kind")

    @property
    def last_failed_us(self) -> int:
        """When it failed last, in microseconds since 1970."""
        return time_us(self.header("ferris.last_failed_at"))

    @property
    def record_time_ms(self) -> int | None:
        """The time of a topic's record, which may be its event time; None where it had none."""
        text = self.header("ferris.record.timestamp")
        return time_us(text) // 1000 if text else None

    @property
    def text(self) -> str:
        """The value for people."""
        return (self.value or b"").decode("utf-8", "backslashreplace")

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value or b"")


class LetterStore(Protocol):
    """Where a job's letters are kept."""

    place: str
    bytes_not_final: int

    def refusal(self, letter: Letter) -> str | None:
        """Why this letter cannot be replayed to where the store's letters go; None: it can."""

    def letters(self) -> Iterator[Letter]:
        """The letters that are final and not purged, oldest first."""

    def replay(self, letters: Iterable[Letter]) -> int:
        """Send these to the target, each once, also when this is cut off and done again; how many."""

    def purge(self, letters: Iterable[Letter]) -> int:
        """Erase these for good; how many."""

    def close(self) -> None:
        """Give everything back."""


def chunked(letters: Iterable[Letter], count_max: int, bytes_max: int) -> Iterator[list[Letter]]:
    """Up to so many letters at a time, and no more once their values have so many bytes."""
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        chunk.append(letter)
        size += letter.size
        if len(chunk) == count_max or size >= bytes_max:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def time_us(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time with its offset."""
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


def parse_letter(line: bytes, letter_id: str, place: str) -> Letter:
    """A letter of a line of a file. Raises StateError E5003 where the line is not one."""
    try:
        match json.loads(line):
            case {"key": key, "value": value, "headers": {**headers}} as found if headers.get("ferris.code"):
                return Letter(
                    id=letter_id,
                    key=_bytes(key),
                    value=_bytes(value),
                    headers={str(name): str(text) for name, text in headers.items()},
                    original=tuple((str(name), _bytes(own)) for name, own in found.get("record_headers", ())),
                )
    except (ValueError, TypeError) as error:
        raise _not_a_letter(place) from error
    raise _not_a_letter(place)


def _bytes(text: str | None) -> bytes | None:
    return base64.b64decode(text) if text is not None else None


def _not_a_letter(place: str) -> StateError:
    return StateError(
        f"{place} is not a dead letter",
        "E5003",
        "another program has written into the file; take its lines out, or give dlq.path another file",
    )
