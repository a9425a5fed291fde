"""Compressed files: members (gzip) and frames (zstd) one after another, unpacked and packed in steps of bounded size.

The zstd library is imported where a job uses it, and nowhere else.
"""

from __future__ import annotations

import sys
import zlib
from typing import Literal, Protocol, TypeAlias

from ferrisstreams.errors import FatalConnectorError

Compression: TypeAlias = Literal["none", "gzip", "zstd"]

COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "zstd")
_ENDINGS: tuple[tuple[str, Compression], ...] = ((".gz", "gzip"), (".zst", "zstd"))
#: zlib's window size with the mark "a gzip member, header and checksum included".
_GZIP_WINDOW = 31
#: Fast enough to keep up with the engine, and most of what more effort would gain.
_GZIP_LEVEL, _ZSTD_LEVEL = 3, 3
_HINT = "check that the file is whole and that 'compression' names the codec that it was compressed with"


def compression_of(path: str, given: str | None) -> Compression:
    """As the setting says; without one as the file's name ends."""
    found = next((kind for kind in COMPRESSIONS if kind == given), None)
    if found is not None:
        return found
    return next((kind for ending, kind in _ENDINGS if path.lower().endswith(ending)), "none")


def unpacked_name(path: str) -> str:
    """A file's name in lower case without the ending that says the codec that it was compressed with."""
    name = path.lower()
    return next((name.removesuffix(ending) for ending, _ in _ENDINGS if name.endswith(ending)), name)


class BrokenContentError(Exception):
    """Compressed bytes, or a JSON array, that go on in a way that they cannot."""

    def __init__(self, what: str, hint: str = _HINT) -> None:
        super().__init__(what)
        self.hint = hint


class Unpacker(Protocol):
    """Bytes of a file in, content out.

    `take` gives at most `most` bytes, and none when it needs more input. `begun` is true within a member or frame;
    `unread` counts the bytes that were given and not used.
    """

    @property
    def begun(self) -> bool: ...

    @property
    def unread(self) -> int: ...

    def give(self, data: bytes) -> None: ...

    def take(self, most: int) -> bytes:
        """Raises BrokenContentError."""


class _Member(Protocol):
    """One gzip member or zstd frame being unpacked."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class MemberUnpacker:
    """Members one after another. One `take` never goes over the end of a member, so that its end can be seen."""

    def __init__(self, compression: Compression) -> None:
        self._kind = compression
        self._input = b""
        self._member: _Member | None = None
        self._ended_one = False

    @property
    def begun(self) -> bool:
        return self._member is not None

    @property
    def unread(self) -> int:
        return len(self._input)

    def give(self, data: bytes) -> None:
        self._input += data

    def take(self, most: int) -> bytes:
        while True:
            if self._member is None:
                if self._ended_one and self._kind == "gzip":
                    self._input = self._input.lstrip(b"\0")  # padding, which gzip tools pass over too
                if not self._input:
                    return b""
                self._member = _new_member(self._kind)
            found = self._step(self._member, most)
            if self._member.eof:
                self._input = self._member.unused_data
                self._member = None
                self._ended_one = True
                if not found and self._input:
                    continue
            return found

    def _step(self, member: _Member, most: int) -> bytes:
        data, self._input = self._input, b""
        try:
            found = member.decompress(data, most)
        except _errors(self._kind) as error:
            raise BrokenContentError(f"is not whole {self._kind} data: {error}") from error
        if isinstance(member, _GzipMember):
            self._input = member.left
        return found


class _GzipMember:
    """zlib keeps what it did not get to in an attribute; the zstd library keeps it inside."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._unpacker.eof

    @property
    def unused_data(self) -> bytes:
        return self._unpacker.unused_data

    @property
    def left(self) -> bytes:
        return self._unpacker.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._unpacker.decompress(data, max_length)


def _new_member(kind: Compression) -> _Member:
    if kind == "gzip":
        return _GzipMember()
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor
    else:
        from backports.zstd import ZstdDecompressor
    return ZstdDecompressor()


def _errors(kind: Compression) -> tuple[type[Exception], ...]:
    if kind == "gzip":
        return (zlib.error,)
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError
    else:
        from backports.zstd import ZstdError
    return (ZstdError,)


class Packer(Protocol):
    """Content in, bytes of a file out; `finish` ends the member or frame, and the next bytes begin another."""

    def pack(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class PlainPacker:
    def pack(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class GzipPacker:
    """Members without a time, so that the same rows are the same bytes."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def pack(self, data: bytes) -> bytes:
        return self._packer.compress(data)

    def finish(self) -> bytes:
        rest = self._packer.flush(zlib.Z_FINISH)
        self._packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        return rest


class ZstdPacker:
    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression.zstd import ZstdCompressor
        else:
            from backports.zstd import ZstdCompressor
        self._packer = ZstdCompressor(level=_ZSTD_LEVEL)

    def pack(self, data: bytes) -> bytes:
        return self._packer.compress(data)

    def finish(self) -> bytes:
        return self._packer.flush(self._packer.FLUSH_FRAME)


def new_packer(kind: Compression) -> Packer:
    match kind:
        case "gzip":
            return GzipPacker()
        case "zstd":
            return ZstdPacker()
        case "none":
            return PlainPacker()


def broken(path: str, error: BrokenContentError) -> FatalConnectorError:
    """The error for content that goes on in a way that it cannot."""
    return FatalConnectorError(f"{path} {error}", "E4007", error.hint)
