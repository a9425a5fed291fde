"""A file in memory: where a source puts bytes and where the engine's readers find them, without a copy between.

It is the only path that the locked-down engine may open (`allowed_paths`), so that user SQL reaches no other file.
"""

from __future__ import annotations

import mmap
import os
import tempfile


class MemoryFile:
    """A growable file in memory with a path (`/proc/<pid>/fd/<n>`; elsewhere a temporary file).

    `view(n)` gives `n` writable bytes from the start; `truncate(n)` sets the length that a reader of `path` sees. What
    was written stays valid until the next `view`.
    """

    def __init__(self) -> None:
        folder = self.folder()
        if folder is not None:
            self._fd = os.memfd_create("ferris")
            self.path = f"{folder}{self._fd}"
        else:  # pragma: no cover - not Linux
            self._fd, self.path = tempfile.mkstemp(prefix="ferris-")
        self._map: mmap.mmap | None = None
        self.length = 0

    @staticmethod
    def folder() -> str | None:
        """How the path of each in this process begins; None where they are ordinary files."""
        return f"/proc/{os.getpid()}/fd/" if hasattr(os, "memfd_create") else None

    def view(self, size: int) -> mmap.mmap:
        """Writable bytes, at least `size` long; the file's length becomes the capacity until `truncate`."""
        if self._map is None or len(self._map) < size:
            capacity = max(size, 64 * 1024)
            if self._map is not None:
                self._map.close()
            os.ftruncate(self._fd, capacity)
            self._map = mmap.mmap(self._fd, capacity)
        else:
            os.ftruncate(self._fd, len(self._map))
        return self._map

    def truncate(self, length: int) -> None:
        """Let readers of `path` see exactly `length` bytes."""
        os.ftruncate(self._fd, length)
        self.length = length

    def take(self, data: memoryview) -> int:
        """Copy bytes to the beginning, by the system: how many there were. Raises OSError when it cannot read them."""
        done = 0
        while done < len(data):
            with data[done:] as rest:
                done += os.pwrite(self._fd, rest, done)
        return done

    def write(self, data: bytes) -> None:
        """Replace the content."""
        if data:
            self.view(len(data))[: len(data)] = data
        self.truncate(len(data))

    def append(self, data: bytes) -> None:
        """Add to the content."""
        os.pwrite(self._fd, data, self.length)
        self.length += len(data)

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """A copy of the bytes from `start` to `stop` (default: the length)."""
        stop = self.length if stop is None else stop
        return os.pread(self._fd, stop - start, start)

    def holds(self, mark: bytes) -> bool:
        """Whether the bytes occur, without a copy of all."""
        return self._map is not None and self._map.find(mark, 0, self.length) >= 0

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        os.close(self._fd)
