"""What was done with the letters of a file: replayed, purged, and the append that is under way.

A file of SQLite beside the letters, because each step must be whole or absent after a crash. One process works with it
at a time.

What is to be appended to a file, and where, is in the journal before the file is touched. After a crash the file tells
what became of it: nothing, a part, all, or that another program has written there too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.batch import integer
from ferrisstreams.errors import FatalConnectorError, StateError
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.session.dlq_letters import LetterState

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS replayed"
    " (letter TEXT PRIMARY KEY, place TEXT, digest TEXT, replays INTEGER, state TEXT)",
    "CREATE INDEX IF NOT EXISTS replayed_to ON replayed (place, digest)",
    "CREATE TABLE IF NOT EXISTS purged"
    " (letter TEXT PRIMARY KEY, kind TEXT, start INTEGER, length INTEGER, erased INTEGER)",
    "CREATE TABLE IF NOT EXISTS append (target TEXT, start INTEGER, data BLOB)",
)

#: How far behind the place of an append its bytes are looked for, when another program has written there.
_LOOK_BYTES_MAX = 64 * 1024 * 1024

#: The state of letters whose append is under way.
_SENDING = "sending"


@dataclass(frozen=True, slots=True)
class Replayed:
    """A letter sent on: where it will stand in the words of a position, the digest of its value, and which
    replay of this record it is."""

    letter: str
    place: str
    digest: str
    replays: int


@dataclass(frozen=True, slots=True)
class Append:
    """Bytes that are to stand in a file from `start` on."""

    target: str
    start: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Purged:
    """A letter to erase: bytes `start` to `start + length` of the file. `kind` is that of the letter, or `late`."""

    letter: str
    kind: str
    start: int
    length: int


class Journal:
    """To read, or (`writing`) held alone until it is closed. Raises StateError E5001 where another process holds it."""

    def __init__(self, path: Path, writing: bool) -> None:
        self._path = path
        with self._translated():
            self._db = sqlite3.connect(path if writing or path.exists() else ":memory:", timeout=0)
            self._db.isolation_level = None
            if writing:
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("BEGIN EXCLUSIVE")
            for statement in _SCHEMA if writing or not path.exists() else ():
                self._db.execute(statement)
            if writing:
                self._db.execute("COMMIT")

    # --- reading ----------------------------------------------------------------------------------------------------

    def state(self, letter: str) -> LetterState | None:
        """None for a letter that was purged."""
        if self._rows("SELECT 1 FROM purged WHERE letter = ?", letter):
            return None
        found = self._rows("SELECT state FROM replayed WHERE letter = ?", letter)
        if not found:
            return LetterState.WAITING
        # Until an append that was cut off is settled, nobody can say.
        return LetterState.UNSURE if found[0][0] == _SENDING else LetterState(str(found[0][0]))

    def replays(self, letter: str, place: str, digest: str) -> int:
        """How often the record at `place`, which became this letter, had been replayed to get there."""
        query = "SELECT max(replays) FROM replayed WHERE letter <> ? AND place = ? AND digest = ?"
        found = self._rows(query, letter, place, digest)
        return integer(found[0][0] or 0)

    def purged_counts(self) -> Mapping[str, int]:
        """How many letters of each kind were purged."""
        return {str(kind): integer(n) for kind, n in self._rows("SELECT kind, count(*) FROM purged GROUP BY kind")}

    def open_append(self) -> Append | None:
        """The append that was begun and not ended."""
        for target, start, data in self._rows("SELECT target, start, data FROM append"):
            assert isinstance(data, bytes)
            return Append(os.path.join(self._path.parent, str(target)), integer(start), data)
        return None

    def unerased(self) -> list[Purged]:
        """Purged letters whose bytes may still be there."""
        rows = self._rows("SELECT letter, kind, start, length FROM purged WHERE erased = 0 ORDER BY start")
        return [Purged(str(a), str(b), integer(c), integer(d)) for a, b, c, d in rows]

    # --- writing ----------------------------------------------------------------------------------------------------

    def begin_append(self, append: Append, letters: Sequence[Replayed]) -> None:
        """These letters are about to be sent: from now on `open_append` says so."""
        with self._transaction():
            # Relative to the letters: both may be moved before an append that was cut off is settled.
            target = os.path.relpath(append.target, self._path.parent)
            self._db.execute("INSERT INTO append VALUES (?, ?, ?)", (target, append.start, append.data))
            self._db.executemany(
                "INSERT OR REPLACE INTO replayed VALUES (?, ?, ?, ?, ?)",
                [(one.letter, one.place, one.digest, one.replays, _SENDING) for one in letters],
            )

    def end_append(self, state: LetterState) -> None:
        """The letters that were being sent are there, or nobody can say."""
        with self._transaction():
            self._db.execute("UPDATE replayed SET state = ? WHERE state = ?", (state.value, _SENDING))
            self._db.execute("DELETE FROM append")

    def purge(self, letters: Sequence[Purged]) -> None:
        """These letters are gone from now on; their bytes are erased next."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO purged VALUES (?, ?, ?, ?, 0)",
                [(one.letter, one.kind, one.start, one.length) for one in letters],
            )

    def erased(self) -> None:
        """The bytes of all purged letters are erased."""
        with self._transaction():
            self._db.execute("UPDATE purged SET erased = 1 WHERE erased = 0")

    def close(self) -> None:
        self._db.close()

    # --- private ----------------------------------------------------------------------------------------------------

    def _rows(self, statement: str, *parameters: str) -> list[tuple[object, ...]]:
        with self._translated():
            return self._db.execute(statement, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._db.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StateError(
                    f"{self._path} is in use by another ferris dlq", "E5001", "wait for it to end"
                ) from error
            hint = "check the disk's free space and the permissions of the folder of the letters"
            raise StateError(f"{self._path} cannot be used: {error}", "E5005", hint) from error
        except sqlite3.DatabaseError as error:
            hint = "bring the file back from a copy; without it, it is not known which letters were replayed"
            raise StateError(f"{self._path} is damaged: {error}", "E5005", hint) from error


# --- appending --------------------------------------------------------------------------------------------------------


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
