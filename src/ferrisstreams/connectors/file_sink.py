"""Rows into one file, exactly once: what lies behind the last mark is cut off."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from ferrisstreams.batch import JsonValue, Payload, Rejected, integer
from ferrisstreams.connectors.compression import Compression
from ferrisstreams.connectors.output_claim import OutputClaim, claim_path
from ferrisstreams.connectors.output_file import (
    Extent,
    OutputFile,
    lost,
    make_folder,
    not_empty,
    packed,
    sync_folder,
    write_error,
)
from ferrisstreams.connectors.set_aside import SetAside
from ferrisstreams.errors import FerrisError, InternalError, StateError


@dataclass(frozen=True, slots=True)
class FileSinkSettings:
    """`path` is absolute; its folder must exist. `append` and `overwrite` say what a new job does with what is there.

    `header` is written first into a file that is empty. A packed file ends a member or frame at each mark.
    `letters`: these are dead letters, whose folder is made, and which may be blanked by a purge. What is overwritten is
    set aside, and with it the files that are called as it and one of `companions`.
    """

    path: str
    append: bool = False
    overwrite: bool = False
    header: bytes = b""
    compression: Compression = "none"
    letters: bool = False
    companions: tuple[str, ...] = ()


class FileSink:
    """A mark is `{"length": bytes, "head": hash of the first ones}`; without the hash when they may be purged. `found`
    is how many bytes were there before the job, where it appends.

    Take a mark right after the first `open` and keep it, before the first `write`: a crash before there is a mark
    leaves at most the header, which counts as empty.

    Errors: FatalConnectorError E4003 (cannot be written), E4004 (a new job, and a target that is not empty) and E4008
    (another job writes it),
    StateError E5003 (the file is not the one that the mark was set in, or lost bytes).
    """

    def __init__(self, settings: FileSinkSettings) -> None:
        self._settings = settings
        self._file = OutputFile(settings.path, settings.compression)
        self._claim = OutputClaim(settings.path)
        self._final = 0
        self._first = 0
        self._is_new = False
        self._found: int | None = None
        self._begun = False
        self._renews_header = False

    def check(self) -> None:
        settings = self._settings
        self._claim.check()
        size = self._foreign_bytes()
        if size and not (settings.append or settings.overwrite):
            raise not_empty(settings.path, size)

    def open(self, mark: JsonValue) -> None:
        settings = self._settings
        if mark is not None:
            extent = self._extent(mark)
            self._take(extent.length)
            try:
                if self._renews_header:
                    self._file.create()
                    self._begin()
                else:
                    self._file.reopen(extent)
            except FerrisError:
                self._claim.release(all_final=True)  # nothing was written
                raise
            return
        self.check()
        size = self._foreign_bytes()
        if settings.letters:
            make_folder(os.path.dirname(settings.path), settings.path)
        self._take(size if settings.append else 0)
        if settings.overwrite and not settings.append:
            self._set_aside(size)
        self._found = size if os.path.exists(settings.path) else None
        self._file.create()
        self._begun = True
        self._first = size if settings.append else 0
        self._begin()
        sync_folder(os.path.dirname(settings.path), settings.path)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        if not isinstance(payload.data, bytes):
            raise InternalError("a file sink takes bytes")
        self._file.write(payload.data)
        return ()

    def flush(self) -> JsonValue:
        extent = self._file.flush(member=self._is_new)  # a packed file without a row is a whole one too
        self._is_new = False
        if self._settings.letters:
            return {"length": extent.length}
        begins = {"found": self._first} if self._first else {"header": self._settings.header.decode()}
        return {"length": extent.length, "head": extent.head, **begins}

    def overdue(self) -> bool:
        return False

    def confirm(self, mark: JsonValue) -> None:
        """The rows are in their place already; from now on readers may have them."""
        self._mark(_extent(mark).length)

    def rollback(self, mark: JsonValue) -> None:
        if mark is None:
            self._begin()
            return
        extent = _extent(mark)
        self._file.check(extent)
        self._file.cut(extent.length)

    def client(self) -> None:
        """There is no client."""

    def close(self) -> None:
        """What was not flushed is dropped: no mark covers it."""
        all_final = self._file.size == self._final
        self._file.close()
        self._claim.release(all_final)

    def _take(self, length: int) -> None:
        """Keep other jobs off. Where there is no folder, there is no file to be kept from."""
        if os.path.isdir(os.path.dirname(os.path.realpath(self._settings.path))):
            self._claim.take(length)
            self._final = length

    def _extent(self, mark: JsonValue) -> Extent:
        """Of the mark. Raises StateError where it is not that of this file, or of rows with other columns."""
        extent, settings = _extent(mark), self._settings
        assert isinstance(mark, dict)
        self._first = integer(mark.get("found", 0))
        header = settings.header.decode()
        kept = str(mark.get("header", header))
        lengths = [len(packed(each.encode(), settings.compression)) for each in (kept, header)]
        if self._first:
            return extent
        if extent.length > lengths[0]:
            if kept != header:
                raise _other_header(settings.path, kept, header)
            return extent
        self._renews_header = kept != header
        path = os.path.realpath(settings.path)
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        # Nothing of a file without rows tells it from another one; but rows that a crash has left there have a claim.
        if size > max(lengths) and not os.path.exists(claim_path(path)):
            raise lost(settings.path, f"has {size} bytes, and the job has not written a row yet")
        return extent

    def _set_aside(self, size: int) -> None:
        path = os.path.realpath(self._settings.path)
        aside = SetAside(path)
        for suffix in self._settings.companions:
            aside.take(path + suffix)
        if size:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            aside.take(path)
            self._file.create()
            os.chmod(path, mode)
            self._file.close()

    def _mark(self, length: int) -> None:
        self._claim.mark(length)
        self._final = length

    def discard(self) -> None:
        if not self._begun:
            return
        try:
            self._claim.take(self._first)
        except FerrisError:
            return  # another job writes it by now
        try:
            self._put_back()
        finally:
            self._claim.release(all_final=True)

    def _put_back(self) -> None:
        try:
            if self._found is None:
                os.unlink(self._settings.path)
            else:
                os.truncate(self._settings.path, self._first)
        except FileNotFoundError:
            return
        except OSError as error:
            raise write_error(self._settings.path, error) from error

    def _begin(self) -> None:
        """Cut off all that is ours; what `append` found there stays."""
        self._file.cut(self._first)
        self._is_new = self._first == 0
        if self._is_new:
            self._file.write(self._settings.header)
        elif self._settings.compression == "none" and self._file.held(self._first - 1, self._first) != b"\n":
            self._file.write(b"\n")  # the last line that was found there is ended, not gone on with

    def _foreign_bytes(self) -> int:
        """Bytes in the target that are not our header alone (which a crash before the first mark leaves there)."""
        settings = self._settings
        path, header = settings.path, packed(settings.header, settings.compression)
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        if header and size == len(header):
            self._file.create()
            held = self._file.held(0, size)
            self._file.close()
            return 0 if held == header else size
        return size


def _other_header(path: str, kept: str, header: str) -> StateError:
    was, now = (each.rstrip() or "(none)" for each in (kept, header))
    return StateError(
        f"{path} begins with the header {was}, and the query writes the header {now} now",
        "E5003",
        "undo the change, or start over with --overwrite; or give the edited query another name (-- @name:) and path",
    )


def _extent(mark: JsonValue) -> Extent:
    """A state of before has an inode in place of the hash, which is another one in a copy of the folder."""
    match mark:
        case {"length": int(length), "head": str(head)}:
            return Extent(length, head)
        case {"length": int(length)}:
            return Extent(length, None)
    raise StateError(f"not a mark of a file sink: {mark!r}", "E5003", "the state was written with another sink")
