"""Appends bytes to a file, once, also when the process is killed in the middle.

What is to be appended, and where, is in the journal before the file is touched. After a crash the file tells what
became of it: nothing, a part, all, or that another program has written there too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.session.dlq_journal import Append, Journal, Replayed
from ferrisstreams.session.dlq_letters import LetterState

#: How far behind the place of an append its bytes are looked for, when another program has written there.
_LOOK_BYTES_MAX = 64 * 1024 * 1024


def append_once(journal: Journal, append: Append, letters: Sequence[Replayed], faults: Faults) -> None:
    """Write `append.data` behind `append.target`, which has `append.start` bytes. Raises FatalConnectorError E4003."""
    journal.begin_append(append, letters)
    faults.reach("after_replay_intent")
    if write_behind(Path(append.target), append.data) != append.start:
        # Another program appended between our look and our write; the bytes are there, at another place.
        settle(journal)
        return
    faults.reach("after_replay_write")
    journal.end_append(LetterState.REPLAYED)


def settle(journal: Journal) -> None:
    """Bring an append that was cut off to its end. Raises FatalConnectorError where the file cannot be read."""
    append = journal.open_append()
    if append is None:
        # A replay into a topic that a version without a journal there began: what came of it is not known here.
        journal.end_append(LetterState.UNSURE)
        return
    path = Path(append.target)
    try:
        with path.open("rb") as file:
            cut = file.seek(0, os.SEEK_END) < append.start
            file.seek(append.start)
            behind = file.read(len(append.data) + _LOOK_BYTES_MAX)
    except FileNotFoundError:
        cut, behind = append.start > 0, b""
    except OSError as error:
        raise _cannot_write(path, error) from error
    if not cut and append.data.startswith(behind):
        write_behind(path, append.data[len(behind) :])
        journal.end_append(LetterState.REPLAYED)
    else:
        journal.end_append(LetterState.REPLAYED if append.data in behind else LetterState.UNSURE)


def write_behind(path: Path, data: bytes) -> int:
    """Append and make durable; where the data begins."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
            return os.lseek(fd, 0, os.SEEK_CUR) - len(data) if data else os.fstat(fd).st_size
        finally:
            os.close(fd)
    except OSError as error:
        raise _cannot_write(path, error) from error


def length_and_end(path: Path) -> tuple[int, bytes]:
    """How long a file is (0 when there is none) and its last byte. Raises FatalConnectorError E4003."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - 1))
            return length, file.read()
    except FileNotFoundError:
        return 0, b""
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> FatalConnectorError:
    hint = "check the disk's free space and the permissions of the file and its folder; then replay again"
    return FatalConnectorError(f"{path} cannot be written: {error.strerror}", "E4003", hint)
