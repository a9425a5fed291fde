"""Reads of a job's state: at the door of a worker that runs, else from the file.

No lock is met while a job runs. Between the two, while a job starts or ends, one follows the other until one answers.
"""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.clock import SystemClock
from ferrisstreams.errors import StateError
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.door import LENGTH_BYTES
from ferrisstreams.runtime.door_messages import (
    ANSWER_BYTES_MAX,
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
from ferrisstreams.runtime.door_name import NoDoorError, connect, file_number
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.identity import STATE_FILE
from ferrisstreams.runtime.reconcile import newest
from ferrisstreams.runtime.state_identity import require_same_query
from ferrisstreams.runtime.state_reading import AtEpoch, StateReading, read_file
from ferrisstreams.runtime.state_store import KeptIdentity
from ferrisstreams.session.outside import committed

#: How long a job may take to open its door, or to give its state back, and the nap between two attempts.
_BETWEEN_MS, _NAP_MS = 2_000, 20


@dataclass(frozen=True, slots=True)
class Reading:
    """`status`: of a worker that runs, where it was asked for; `is_running`: a worker has answered."""

    state: StateReading | None
    is_running: bool
    status: StatusAnswer | None = None


def read_state(builder: JobBuilder, count: bool = False) -> Reading:
    """The state of a job, or of one of its workers, as of the last epoch that is known to be final; `count`: with the
    rows of its tables. Raises StateError: there is none (E5003), it cannot be read (E5001, E5004, E5005)."""
    return _read(builder, ReadState(count))


def read_status(builder: JobBuilder) -> Reading:
    """The same without its tables, and how its run is doing."""
    return _read(builder, ReadStatus())


def read_final(builder: JobBuilder, count: bool = False) -> Reading:
    """As `read_state`; what became of an epoch that is prepared is asked of the system that decides."""
    reading = read_state(builder, count)
    state = reading.state
    if state is None or state.prepared is None:
        return reading
    token = newest(found.metadata for found in committed(builder, state.prepared.row.epoch).values())
    if token is None or (token.state_id, token.epoch) != (state.state_id, state.prepared.row.epoch):
        return reading
    return Reading(StateReading(state.state_id, state.kept, state.prepared), reading.is_running)


def final_row(builder: JobBuilder) -> tuple[EpochRow | None, bool]:
    """The last final epoch of a state that is that of the job's query, and whether a worker runs. Raises StateError, as
    `read_state`; another query's is E5002."""
    reading = read_final(builder)
    state = reading.state
    if state is None:
        return None, reading.is_running
    require_same_query(builder, state.kept, state.last or state.prepared)
    return state.last.row if state.last is not None else None, reading.is_running


def _read(builder: JobBuilder, request: ReadState | ReadStatus) -> Reading:
    folder, clock = builder.state_folder(), SystemClock()
    if not (folder / STATE_FILE).exists():
        raise no_state(builder)
    until_ms = clock.monotonic_ms() + _BETWEEN_MS
    while True:
        try:
            return _understood(ask(folder, request))
        except NoDoorError as closed:
            try:
                return Reading(read_file(folder, isinstance(request, ReadState) and request.count), False)
            except StateError as error:
                if error.code != "E5001":
                    raise
                if clock.monotonic_ms() >= until_ms:
                    raise StateError(
                        f"job {builder.plan.name} runs, and does not answer reads: {closed}",
                        "E5001",
                        "its log says why (reads_unavailable); reads work again when it is restarted",
                    ) from error
        clock.sleep_ms(_NAP_MS)


def no_state(builder: JobBuilder) -> StateError:
    return StateError(
        f"job {builder.plan.name} has no state at {builder.state_folder() / STATE_FILE}",
        "E5003",
        "run it first, or give --state-dir",
    )


def _understood(answer: StateAnswer | StatusAnswer) -> Reading:
    last = None
    if answer.epoch:
        rows = tuple(answer.rows) if isinstance(answer, StateAnswer) else ()
        last = AtEpoch(EpochRow.from_json(answer.epoch, answer.content, confirmed=True), rows)
    if isinstance(answer, StatusAnswer):
        return Reading(StateReading("", KeptIdentity(), last), True, answer)
    if not answer.state_id:
        return Reading(None, True)
    return Reading(StateReading(answer.state_id, KeptIdentity(answer.identity), last), True)


# --- the door ---------------------------------------------------------------------------------------------------------


def ask(folder: Path, request: ReadState | ReadStatus) -> StateAnswer | StatusAnswer:
    """The answer of the worker that runs over the state in a folder. Raises NoDoorError where nobody gives one,
    StateError E5009 where it does not."""
    with closing(connect(folder)) as door:
        answer = exchange(door, request)
    if isinstance(answer, Refusal):
        raise StateError(
            f"the worker that runs over {folder} did not answer: {answer.reason}", "E5009", "ask again, or stop the job"
        )
    if not isinstance(answer, (StateAnswer, StatusAnswer)):
        raise NoDoorError("the answer is a question")
    if answer.file != file_number(folder):
        raise NoDoorError("the worker there runs over another state, of which this one is a copy")
    return answer


def exchange(door: socket.socket, request: Request) -> Request | Answer:
    """One answer on a connection that stays. Raises NoDoorError."""
    try:
        door.sendall(encode(request))
        length = int.from_bytes(_taken(door, LENGTH_BYTES), "big")
        if length > ANSWER_BYTES_MAX:
            raise NoDoorError(f"an answer of {length:,} bytes")
        return decode(_taken(door, length))
    except OSError as error:
        raise NoDoorError(f"{error.strerror or error}") from error
    except MessageError as error:
        raise NoDoorError(str(error)) from error


def _taken(door: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        piece = door.recv(length - len(found))
        if not piece:
            raise NoDoorError("it closed without an answer")
        found += piece
    return bytes(found)
