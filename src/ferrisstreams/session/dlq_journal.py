"""What was done with the letters of a file: replayed, purged, and the append that is under way.

A file of SQLite beside the letters, because each step must be whole or absent after a crash. One process works with it
at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.batch import integer
from ferrisstreams.errors import StateError
from ferrisstreams.session.dlq_letters import LetterState

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS replayed"
    " (letter TEXT PRIMARY KEY, place TEXT, digest TEXT, replays INTEGER, state TEXT)",
    "CREATE INDEX IF NOT EXISTS replayed_to ON replayed (place, digest)",
    "CREATE TABLE IF NOT EXISTS purged"
    " (letter TEXT PRIMARY KEY, kind TEXT, start INTEGER, length INTEGER, erased INTEGER)",
    "CREATE TABLE IF NOT EXISTS append (target TEXT, start INTEGER, data BLOB)",
)

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
    """A letter to erase: bytes `start` to `start + length` of the file. `kind` is `input`, `output` or `late`."""

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
