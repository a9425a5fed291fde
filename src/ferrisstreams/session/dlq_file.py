"""Letters in a file of JSON lines. The job appends to it; nothing here moves a byte that the job's mark counts.

A letter's identity is the byte where its line begins and a digest of the line. A letter that is purged is overwritten
with blanks of the same length.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.runtime.letter_mark import LetterMark
from ferrisstreams.session.dlq_journal import (
    Append,
    Journal,
    Purged,
    Replayed,
    append_once,
    length_and_end,
    settle,
)
from ferrisstreams.session.dlq_letters import REPLAYS_HEADER, Letter, LetterState, chunked, parse_letter
from ferrisstreams.session.dlq_topic import TopicJournal

#: Letters, and bytes of them, that are handled in one step: what is in memory, and in the journal, at a time.
_CHUNK_LETTERS = 1000
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """The file that records go to, and its name in the positions of the job's source."""

    path: Path
    origin: str


class FileLetters:
    """To read; to replay to a file (`target`) or purge when `writing`, then held alone until it is closed.

    `sent` opens the journal of the records that go to a topic, which are those of a job that reads one; they do where
    no file is the target.
    """

    def __init__(
        self,
        path: Path,
        mark: LetterMark,
        faults: Faults,
        writing: bool = False,
        target: ReplayTarget | None = None,
        sent: Callable[[], TopicJournal] | None = None,
    ) -> None:
        self.place = str(path)
        self._path = path
        self._mark = mark
        self._faults = faults
        self._target = target
        self.bytes_not_final = os.path.getsize(path) - mark.length()
        self._journal = Journal(mark.journal_path, writing)
        try:
            if writing:
                settle(self._journal)
                self._erase()
            # Behind the lock of the other journal: who only waits for that one must not fence this one off.
            self._sent = sent() if sent is not None else None
        except BaseException:
            self._journal.close()
            raise

    def refusal(self, letter: Letter) -> str | None:
        in_file = self._target is not None and letter.value is None
        return "a record without a value: it has no line in a file" if in_file else None

    def letters(self) -> Iterator[Letter]:
        end = self._mark.length()
        with self._path.open("rb") as file:
            start = 0
            while start < end:
                line = file.readline()
                if line.strip():
                    letter = self._letter(line, start)
                    if letter is not None:
                        yield letter
                start += len(line)

    def replay(self, letters: Iterable[Letter]) -> int:
        if self._target is None:
            assert self._sent is not None, "a store without a target only reads"
            return self._sent.replay(letters)
        return sum(self._append(self._target, chunk) for chunk in chunked(letters, _CHUNK_LETTERS, _CHUNK_BYTES))

    def purge(self, letters: Iterable[Letter]) -> int:
        count = 0
        for chunk in chunked(letters, _CHUNK_LETTERS, _CHUNK_BYTES):
            self._journal.purge([self._purged(letter) for letter in chunk])
            count += len(chunk)
            self._faults.reach("after_purge")
        self._erase()
        return count

    def close(self) -> None:
        if self._sent is not None:
            self._sent.close()
        self._journal.close()

    # --- private ----------------------------------------------------------------------------------------------------

    def _letter(self, line: bytes, start: int) -> Letter | None:
        letter_id = f"{start}.{hashlib.sha256(line).hexdigest()[:8]}"
        state = self._journal.state(letter_id)
        if state is None:
            return None
        if self._sent is not None and self._sent.state(letter_id) is LetterState.REPLAYED:
            state = LetterState.REPLAYED
        letter = parse_letter(line, letter_id, f"{self.place} byte {start}")
        position = letter.header("ferris.position")
        replays = self._journal.replays(letter_id, position, _digest(letter.value))
        # A record that came back from a topic says itself how often it was there.
        counted = max((_number(value) for name, value in letter.original if name == REPLAYS_HEADER), default=0)
        own = tuple(header for header in letter.original if header[0] != REPLAYS_HEADER)
        return replace(letter, state=state, replays=max(replays, counted), original=own)

    def _purged(self, letter: Letter) -> Purged:
        start = int(letter.id.partition(".")[0])
        with self._path.open("rb") as file:
            file.seek(start)
            length = len(file.readline())
        return Purged(letter.id, "late" if letter.stage == "late" else letter.kind, start, length)

    def _append(self, target: ReplayTarget, letters: Sequence[Letter]) -> int:
        start, last = length_and_end(target.path)
        data = bytearray() if last in (b"", b"\n") else bytearray(b"\n")
        sent = []
        for letter in letters:
            place = f"{target.origin} byte {start + len(data)}"
            sent.append(Replayed(letter.id, place, _digest(letter.value), letter.replays + 1))
            data += (letter.value or b"") + b"\n"
        append_once(self._journal, Append(str(target.path), start, bytes(data)), sent, self._faults)
        return len(letters)

    def _erase(self) -> None:
        """Overwrite purged letters; those of a run that was cut off too."""
        purged = self._journal.unerased()
        if not purged:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY)
            try:
                for one in purged:
                    os.pwrite(fd, b" " * (one.length - 1), one.start)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise FatalConnectorError(
                f"{self._path} cannot be written: {error.strerror}", "E4003", "check its permissions; then purge again"
            ) from error
        self._journal.erased()


def _number(text: bytes | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0


def _digest(value: bytes | None) -> str:
    return hashlib.sha256(value or b"").hexdigest()[:16]
