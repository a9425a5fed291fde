"""Who writes a file, and how much of it is final: a small file beside it (`.out.jsonl.ferris`), locked meanwhile.

The lock is the system's and ends with the process. The small file holds the length of the output up to which no crash
takes anything back; it goes away when the job ends in order, because then all is final. Whoever reads the output stops
at that length: what lies behind it belongs to an epoch that is not decided.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from ferrisstreams.errors import FatalConnectorError, StateError

#: Digits of a length. It stands there twice: what is read while it is written shows itself by two that differ.
_DIGITS = 20
_READS_MAX = 100


@dataclass(frozen=True, slots=True)
class _Entry:
    length: int
    process: int


class OutputClaim:
    """The claim to the output at `path`, by whatever link it is named. `take` and `release` once each.

    Errors: FatalConnectorError E4008 (another job writes it) and E4003 (the folder cannot be written to).
    """

    def __init__(self, path: str) -> None:
        self._output = os.path.realpath(path)
        self._path = claim_path(self._output)
        self._fd: int | None = None

    def check(self) -> None:
        """Raises E4008 when another job writes the output. It changes nothing."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self._lock(fd)
        finally:
            os.close(fd)

    def take(self, length: int) -> None:
        """Hold the output, of which `length` bytes are final. A device or a pipe is nobody's."""
        if os.path.exists(self._output) and not stat.S_ISREG(os.stat(self._output).st_mode):
            return
        while self._fd is None:
            fd = self._open()
            try:
                self._lock(fd)
                # Another job may have ended, and taken its file away, between the two.
                if _inode(self._path) == os.fstat(fd).st_ino:
                    self._fd = fd
            finally:
                if self._fd is None:
                    os.close(fd)
        self.mark(length)

    def mark(self, length: int) -> None:
        """So many bytes are final."""
        if self._fd is not None:
            os.pwrite(self._fd, f"{length:0{_DIGITS}} {length:0{_DIGITS}} {os.getpid()}\n".encode(), 0)

    def release(self, all_final: bool) -> None:
        """Give the output back; unless all of it is final, its length stays noted."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if all_final:
            with suppress(FileNotFoundError):  # its folder may have been taken away meanwhile
                os.unlink(self._path)
        os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise FatalConnectorError(
                f"{self._output} cannot be locked: {self._path}: {error.strerror}",
                "E4003",
                "give this user permission to write to the folder: a file beside the output keeps other jobs off it",
            ) from error

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            entry = _entry(fd)
            who = f" (process {entry.process})" if entry is not None else ""
            raise FatalConnectorError(
                f"{self._output} is being written by another job{who}",
                "E4008",
                "give each job an output of its own, or stop the other one",
            ) from error
        except OSError as error:
            raise FatalConnectorError(
                f"{self._output} cannot be locked: {error.strerror}", "E4003", "write to a file system that has locks"
            ) from error


def claim_path(output: str) -> str:
    """Where the claim of an output (a real path) is. That of a rotated one is for all its files."""
    folder, name = os.path.split(output)
    return os.path.join(folder, f".{name.replace('*', '_')}.ferris")


def final_length(path: str) -> int | None:
    """How many bytes of the file at `path` (a real one) are final; None when no job has written it, or all are.

    Raises StateError E5003 when a job that has written it left that behind in a form that cannot be read.
    """
    try:
        fd = os.open(claim_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for _ in range(_READS_MAX):
            entry = _entry(fd)
            if entry is not None:
                return entry.length
            if not os.pread(fd, 1, 0):
                return 0  # It has just been made.
    finally:
        os.close(fd)
    raise StateError(
        f"{claim_path(path)} does not say how much of {path} is final", "E5003", "run the job that writes it once more"
    )


def _entry(fd: int) -> _Entry | None:
    words = os.pread(fd, 3 * _DIGITS, 0).split()
    if len(words) != 3 or words[0] != words[1] or not (words[0].isdigit() and words[2].isdigit()):
        return None
    return _Entry(int(words[0]), int(words[2]))


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
