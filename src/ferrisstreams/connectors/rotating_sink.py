"""Rows into one file after another, exactly once: a file has its name only when the epoch that closed it is decided.

Until then it is called `<name>.pending`. What an epoch closes stands in its mark, and is renamed when the epoch is
confirmed, or by `open` after a crash; the file that is open goes on from its length in the mark.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ferrisstreams.batch import JsonValue, Payload, Rejected
from ferrisstreams.clock import Clock
from ferrisstreams.connectors.compression import Compression
from ferrisstreams.connectors.framing import Framing
from ferrisstreams.connectors.output_claim import OutputClaim
from ferrisstreams.connectors.output_file import Extent, OutputFile, make_folder, not_empty, sync_folder, write_error
from ferrisstreams.connectors.output_names import PENDING, OutputNames
from ferrisstreams.connectors.set_aside import SetAside
from ferrisstreams.errors import InternalError, StateError

_NOTHING = Extent(0, None)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is full: by rows, by bytes of rows before compression, by time since its first row."""

    rows: int | None = None
    bytes: int | None = None
    interval_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RotatingSinkSettings:
    """`header` begins every file. `append` and `overwrite` say what a new job does with files of these names."""

    names: OutputNames
    framing: Framing
    rotation: Rotation
    append: bool = False
    overwrite: bool = False
    header: bytes = b""
    compression: Compression = "none"


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its final path, what is ours of it at the mark, what was written to it, when it was begun."""

    path: str
    extent: Extent = _NOTHING
    rows: int = 0
    content_bytes: int = 0
    begun_ms: float = 0.0

    def to_json(self, names: OutputNames) -> JsonValue:
        return {
            "path": names.name(self.path),
            "length": self.extent.length,
            "head": self.extent.head,
            "rows": self.rows,
            "content_bytes": self.content_bytes,
            "begun_ms": self.begun_ms,
        }

    @staticmethod
    def from_json(value: JsonValue, names: OutputNames) -> Part:
        match value:
            case {
                "path": str(name),
                "length": int(length),
                "rows": int(rows),
                "content_bytes": int(content_bytes),
                "begun_ms": int(begun_ms) | float(begun_ms),
                **others,
            }:
                head = others.get("head")  # A mark of before has an inode in its place.
                extent = Extent(length, head if isinstance(head, str) else None)
                return Part(names.located(name), extent, rows, content_bytes, float(begun_ms))
        raise _foreign(value)


@dataclass(frozen=True, slots=True)
class RotationMark:
    """`next_number` is that of the file to begin next; `closed_bytes` counts all files closed so far; `closed` are
    those that this epoch closed, `open` the one that goes on."""

    next_number: int = 1
    closed_bytes: int = 0
    closed: tuple[Part, ...] = ()
    open: Part | None = None

    def to_json(self, names: OutputNames) -> JsonValue:
        return {
            "next_number": self.next_number,
            "closed_bytes": self.closed_bytes,
            "closed": [part.to_json(names) for part in self.closed],
            "open": self.open.to_json(names) if self.open else None,
        }

    @staticmethod
    def from_json(value: JsonValue, names: OutputNames) -> RotationMark:
        """Raises StateError for what is not a mark of a rotated output."""
        match value:
            case None:
                return RotationMark()
            case {"next_number": int(number), "closed_bytes": int(size), "closed": list(closed), "open": going}:
                parts = tuple(Part.from_json(part, names) for part in closed)
                return RotationMark(number, size, parts, Part.from_json(going, names) if going is not None else None)
        raise _foreign(value)


class RotatingSink:
    """A sink of rows as bytes. A file begins with its first row, so that none is empty.

    Errors: FatalConnectorError E4003 (cannot be written), E4004 (a new job, and files of these names), E4008 (another
    job writes them), StateError E5003 (a file is not the one that the mark was set in, or lost bytes).
    """

    def __init__(self, settings: RotatingSinkSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._file: OutputFile | None = None
        self._open: Part | None = None
        self._closed: list[Part] = []
        self._closed_bytes = 0
        self._first_number = self._next_number = 1
        self._folders: set[str] = set()
        self._last = RotationMark()
        self._undecided = False
        self._claim = OutputClaim(settings.names.claimed)

    def check(self) -> None:
        self._claim.check()
        if self._settings.append or self._settings.overwrite:
            return
        for path in self._settings.names.existing():
            if not path.endswith(PENDING):
                raise not_empty(path, os.path.getsize(path))

    def open(self, mark: JsonValue) -> None:
        names = self._settings.names
        if mark is None:
            self.check()
        make_folder(names.folder, names.pattern)
        self._claim.take(0)
        if mark is None:
            if self._settings.overwrite:
                aside = SetAside(names.claimed)
                for path in names.existing():
                    aside.take(os.path.join(os.path.realpath(names.folder), names.name(path)))
            self._first_number = names.last_number() + 1
        else:
            self._first_number = RotationMark.from_json(mark, names).next_number
        self.rollback(mark)
        self.confirm(mark)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        if not isinstance(payload.data, bytes):
            raise InternalError("a file sink takes bytes")
        self._close_when_old()
        data = payload.data
        if self._has_room(payload.rows, len(data)):
            self._append(data, payload.rows)
        else:
            self._spread(data)
        self._close_when_full()
        return ()

    def flush(self) -> JsonValue:
        self._close_when_old()
        if self._file is not None and self._open is not None:
            self._open = replace(self._open, extent=self._file.flush())
        for folder in self._folders:
            sync_folder(folder, self._settings.names.pattern)
        self._folders.clear()
        self._last = RotationMark(self._next_number, self._closed_bytes, tuple(self._closed), self._open)
        self._closed.clear()
        self._undecided = True
        return self._last.to_json(self._settings.names)

    def overdue(self) -> bool:
        """The open file is old; rows that came since its mark make the epoch end by themselves."""
        return self._is_old()

    def confirm(self, mark: JsonValue) -> None:
        """Give the files that the epoch closed their names."""
        self._undecided = False
        for part in RotationMark.from_json(mark, self._settings.names).closed:
            _publish(part)

    def rollback(self, mark: JsonValue) -> None:
        self._last = target = RotationMark.from_json(mark, self._settings.names)
        self._undecided = False
        self._close_file()
        self._closed.clear()
        self._next_number, self._closed_bytes = max(target.next_number, self._first_number), target.closed_bytes
        self._remove_pending(target)
        part = target.open
        if part is None:
            return
        if not os.path.exists(part.path + PENDING):
            # An orderly end gave it its name (and a reader may have taken it): the next row begins another file.
            self._closed_bytes += part.extent.length
            return
        self._file = OutputFile(part.path + PENDING, self._settings.compression)
        self._file.reopen(part.extent)
        self._open = part

    def client(self) -> None:
        """There is no client."""

    def close(self) -> None:
        """The open file gets its name, as long as it was at the last mark; unless it is not known whether that mark's
        epoch was decided."""
        try:
            self._publish_last()
        finally:
            self._claim.release(all_final=True)

    def _publish_last(self) -> None:
        part = self._last.open
        self._close_file()
        if self._undecided:
            return
        self._remove_pending(self._last)
        if part is None or not os.path.exists(part.path + PENDING):
            return
        file = OutputFile(part.path + PENDING, self._settings.compression)
        file.reopen(part.extent)
        file.flush()
        file.close()
        _publish(part)

    def discard(self) -> None:
        """A file begins with its first row, and one that is not final is gone when the sink is closed."""

    # --- private ----------------------------------------------------------------------------------------------------

    def _spread(self, data: bytes) -> None:
        """Cut rows where files are full. A row that fits no file has one of its own."""
        start = stop = count = 0
        for _, end in self._settings.framing.spans(data):
            if not self._has_room(count + 1, end - start):
                self._append(data[start:stop], count)
                self._close_part()
                start, count = stop, 0
            stop, count = end, count + 1
        self._append(data[start:], count)

    def _has_room(self, rows: int, size: int) -> bool:
        """Whether the open file takes so many rows more; the first row always."""
        rotation, part = self._settings.rotation, self._open
        used_rows, used_bytes = (part.rows, part.content_bytes) if part else (0, len(self._settings.header))
        if used_rows == 0 and rows == 1:
            return True
        if rotation.rows is not None and used_rows + rows > rotation.rows:
            return False
        return rotation.bytes is None or used_bytes + size <= rotation.bytes

    def _close_when_full(self) -> None:
        rotation, part = self._settings.rotation, self._open
        if part is None:
            return
        full_rows = rotation.rows is not None and part.rows >= rotation.rows
        if full_rows or (rotation.bytes is not None and part.content_bytes >= rotation.bytes):
            self._close_part()

    def _is_old(self) -> bool:
        interval_ms = self._settings.rotation.interval_ms
        return (
            self._open is not None and interval_ms is not None and self._now_ms() - self._open.begun_ms >= interval_ms
        )

    def _close_when_old(self) -> None:
        if self._is_old():
            self._close_part()

    def _append(self, data: bytes, rows: int) -> None:
        if not data:
            return
        if self._file is None or self._open is None:
            self._begin_part()
        assert self._file is not None
        assert self._open is not None
        self._file.write(data)
        part = self._open
        self._open = replace(part, rows=part.rows + rows, content_bytes=part.content_bytes + len(data))

    def _begin_part(self) -> None:
        path = self._settings.names.path(self._next_number, self._clock.now_us())
        if os.path.exists(path):
            raise not_empty(path, os.path.getsize(path))
        make_folder(os.path.dirname(path), path)
        self._file = OutputFile(path + PENDING, self._settings.compression)
        self._file.create()
        self._file.cut(0)
        self._file.write(self._settings.header)
        self._open = Part(path, content_bytes=len(self._settings.header), begun_ms=self._now_ms())
        self._next_number += 1
        self._folders.add(os.path.dirname(path))

    def _close_part(self) -> None:
        if self._file is None or self._open is None:
            return
        extent = self._file.flush()
        self._file.close()
        self._closed.append(replace(self._open, extent=extent))
        self._closed_bytes += extent.length
        self._file = self._open = None

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._open = None

    def _remove_pending(self, kept: RotationMark) -> None:
        """Files that no decided epoch knows go."""
        known = {part.path for part in (*kept.closed, kept.open) if part is not None}
        for path in self._settings.names.existing():
            if path.endswith(PENDING) and path.removesuffix(PENDING) not in known:
                _remove(path)

    def _now_ms(self) -> float:
        return self._clock.now_us() / 1000


def _publish(part: Part) -> None:
    """Rename, once: doing it again finds the file under its name, or not, when whoever reads the files took it away."""
    pending = part.path + PENDING
    if not os.path.exists(pending):
        return
    if os.path.exists(part.path):
        raise not_empty(part.path, os.path.getsize(part.path))
    try:
        os.rename(pending, part.path)
    except OSError as error:
        raise write_error(part.path, error) from error
    sync_folder(os.path.dirname(part.path), part.path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(path, error) from error


def _foreign(value: JsonValue) -> StateError:
    return StateError(f"not a mark of a rotated output: {value!r}", "E5003", "the state was written with another sink")
