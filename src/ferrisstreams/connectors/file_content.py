"""The bytes of a file as its records see them: unpacked, in UTF-8, a JSON array as lines. Offsets count these bytes."""

from __future__ import annotations

import mmap
import os
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from ferrisstreams.connectors.compression import BrokenContentError, Compression, MemberUnpacker, Unpacker, broken
from ferrisstreams.connectors.file_errors import read_error, shrank
from ferrisstreams.connectors.json_array import ArrayScanner
from ferrisstreams.connectors.output_claim import final_length
from ferrisstreams.memory_file import MemoryFile

Encoding: TypeAlias = Literal["utf-8", "latin-1", "windows-1252"]

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "latin-1", "windows-1252")

#: Bytes of a file that are taken at once to be unpacked, and the most that one step makes of them.
_RAW_BYTES = 256 * 1024
_STEP_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestartPoint:
    """Unpacking can begin at byte `raw` of the file, which gives the content from `offset` on."""

    raw: int = 0
    offset: int = 0


class Content(Protocol):
    """`load` and `part` give fewer bytes than asked for only where the content ends (for now)."""

    path: str
    fd: int

    def load(self, block: MemoryFile, start: int, length: int) -> int:
        """Put the bytes from `start` on into the block; how many there were."""

    def part(self, start: int, stop: int) -> bytes:
        """A copy of a part."""

    def ends_at(self, stop: int) -> bool:
        """Whether nothing more is there behind `stop` now."""

    def check(self) -> None:
        """Raise what keeps the content from going on behind its end: FatalConnectorError E4007."""

    def raw_bytes(self, offset: int) -> int:
        """How many bytes of the file were read for the content before `offset`."""

    def restart_point(self, offset: int) -> RestartPoint:
        """The last point at or before `offset`, which is where the last `load` began or behind it."""

    def size(self) -> int:
        """Bytes of the file that are final: of the output of a job that writes it, those of decided epochs."""

    def close(self) -> None: ...


class PlainContent:
    """The file as it is."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._real_path = os.path.realpath(path)

    def load(self, block: MemoryFile, start: int, length: int) -> int:
        wanted = max(0, min(length, self.size() - start))
        with memoryview(block.view(length)) as view:
            done = 0
            while done < wanted:
                with view[done:wanted] as rest:
                    try:
                        count = os.preadv(self.fd, [rest], start + done)
                    except OSError as error:
                        raise read_error(self.path, error) from error
                if count == 0:
                    raise shrank(self.path)
                done += count
        return wanted

    def part(self, start: int, stop: int) -> bytes:
        try:
            return os.pread(self.fd, max(0, min(stop, self.size()) - start), start)
        except OSError as error:
            raise read_error(self.path, error) from error

    def ends_at(self, stop: int) -> bool:
        return self.size() <= stop

    def check(self) -> None:
        """The end of the file is the end."""

    def raw_bytes(self, offset: int) -> int:
        return offset

    def restart_point(self, offset: int) -> RestartPoint:
        return RestartPoint()

    def close(self) -> None:
        os.close(self.fd)

    def size(self) -> int:
        return final_size(self._real_path, self.fd)


class MappedContent(PlainContent):
    """The file as it is, through a memory map.

    Only the system reads the map, as the source of a write into the block: a file that shrinks under it is an error of
    that call, where touching the map ourselves would kill the process.
    """

    def __init__(self, path: str, fd: int) -> None:
        super().__init__(path, fd)
        self._map: mmap.mmap | None = None

    def load(self, block: MemoryFile, start: int, length: int) -> int:
        size = self.size()
        wanted = max(0, min(length, size - start))
        block.view(length)
        if not wanted:
            return 0
        with memoryview(self._mapped(size)) as view, view[start : start + wanted] as part:
            try:
                done = block.take(part)
            except OSError as error:
                raise shrank(self.path) from error
        if done < wanted:
            raise shrank(self.path)
        return wanted

    def close(self) -> None:
        self._unmap()
        super().close()

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) != size:
            self._unmap()
            try:
                self._map = mmap.mmap(self.fd, size, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise shrank(self.path) from error
        return self._map

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
        self._map = None


class PlainUnpacker:
    """Nothing is packed."""

    begun = False
    unread = 0

    def __init__(self) -> None:
        self._input = b""

    def give(self, data: bytes) -> None:
        self._input += data

    def take(self, most: int) -> bytes:
        data, self._input = self._input, b""
        return data


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What is done to the bytes of a file. `growing`: it may go on later, so an end within a member is not an error."""

    compression: Compression = "none"
    encoding: Encoding = "utf-8"
    array: bool = False
    growing: bool = False


class StreamContent:
    """Content that must be read in order: a window of it is kept, and going back begins again at a restart point.

    Memory is bounded by what `load` asks for and one step, whatever is packed into how few bytes.
    """

    def __init__(self, path: str, fd: int, settings: StreamSettings, given: RestartPoint) -> None:
        self.path = path
        self.fd = fd
        self._settings = settings
        self._real_path = os.path.realpath(path)
        self._points: deque[RestartPoint] = deque([given])
        self._window = bytearray()
        self._begin(given)

    def load(self, block: MemoryFile, start: int, length: int) -> int:
        self._reach(start, length)
        found = max(0, min(length, self._end - start))
        view = block.view(length)
        first = start - self._base
        with memoryview(self._window) as window, window[first : first + found] as piece:
            view[:found] = piece
        return found

    def part(self, start: int, stop: int) -> bytes:
        self._reach(start, stop - start)
        first = start - self._base
        return bytes(self._window[first : first + stop - start])

    def ends_at(self, stop: int) -> bool:
        self._fill(stop + 1)
        return self._end <= stop and self._failure is None

    def check(self) -> None:
        if self._failure is not None:
            raise broken(self.path, self._failure)

    def raw_bytes(self, offset: int) -> int:
        return self._raw

    def restart_point(self, offset: int) -> RestartPoint:
        found = RestartPoint()
        while self._points and self._points[0].offset <= offset:
            found = self._points.popleft()
        self._points.appendleft(found)
        return found

    def size(self) -> int:
        return final_size(self._real_path, self.fd)

    def close(self) -> None:
        os.close(self.fd)

    @property
    def _end(self) -> int:
        return self._base + len(self._window)

    def _begin(self, point: RestartPoint) -> None:
        self._window.clear()
        self._base, self._raw = point.offset, point.raw
        self._failure: BrokenContentError | None = None
        kind = self._settings.compression
        self._unpacker: Unpacker = PlainUnpacker() if kind == "none" else MemberUnpacker(kind)
        self._scanner = ArrayScanner(inside=point.raw > 0) if self._settings.array else None

    def _reach(self, start: int, length: int) -> None:
        """Let the window begin at `start` and hold `length` bytes, when there are so many."""
        if start < self._base:
            first = self._points[0]
            self._begin(first if first.offset <= start else RestartPoint())
            self._points = deque([first] if first.offset <= start else [RestartPoint(), first])
        while self._end < start and self._more():
            self._forget(min(start, self._end))
        if self._end < start:
            self.check()
            raise shrank(self.path)
        self._forget(start)
        self._fill(start + length)

    def _fill(self, stop: int) -> None:
        while self._end < stop and self._more():
            pass

    def _forget(self, before: int) -> None:
        del self._window[: before - self._base]
        self._base = before

    def _more(self) -> bool:
        """Unpack one step; False where the content ends or cannot go on."""
        try:
            while self._failure is None:
                data = self._unpacker.take(_STEP_BYTES)
                if data:
                    self._append(data)
                    return True
                raw = self._read()
                if not raw:
                    self._check_end()
                    return False
                self._unpacker.give(raw)
        except BrokenContentError as error:
            self._failure = error
        return False

    def _read(self) -> bytes:
        try:
            raw = os.pread(self.fd, max(0, min(_RAW_BYTES, self.size() - self._raw)), self._raw)
        except OSError as error:
            raise read_error(self.path, error) from error
        self._raw += len(raw)
        return raw

    def _append(self, data: bytes) -> None:
        settings = self._settings
        before = self._end
        if settings.encoding != "utf-8":
            data = recoded(data, settings.encoding)
        if self._scanner is not None:
            data = self._scanner.scan(data)
        self._window += data
        if self._scanner is None:
            if not self._unpacker.begun:
                self._note(RestartPoint(self._raw - self._unpacker.unread, self._end))
        elif self._scanner.edge and settings.compression == "none" and settings.encoding == "utf-8":
            edge = before + self._scanner.edge
            self._note(RestartPoint(edge, edge))

    def _note(self, point: RestartPoint) -> None:
        if not self._points or point.offset > self._points[-1].offset:
            self._points.append(point)

    def _check_end(self) -> None:
        """Raises BrokenContentError when a file that will not grow ends where it cannot."""
        if self._settings.growing:
            return
        if self._unpacker.begun:
            raise BrokenContentError(f"is cut off: it ends within its {self._settings.compression} data")
        if self._scanner is not None:
            self._scanner.end()


def final_size(real_path: str, fd: int) -> int:
    """How much of an open file may be read."""
    final = final_length(real_path)
    size = os.fstat(fd).st_size
    # A job may have begun to write it in between.
    final = final if final is not None else final_length(real_path)
    return size if final is None else min(size, final)


def recoded(data: bytes, encoding: Encoding) -> bytes:
    """The text in UTF-8. A byte that the encoding does not know stays, and the row that holds it is not valid UTF-8."""
    return data.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")


def original(data: bytes, encoding: Encoding) -> bytes:
    """`recoded` undone."""
    return data.decode("utf-8", "surrogateescape").encode(encoding, "surrogateescape")
