"""Counts the records of files again, without anything that a job counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ferrisstreams.connectors.file_content import RestartPoint
from ferrisstreams.connectors.file_identity import FilePosition
from ferrisstreams.connectors.file_moves import Folders
from ferrisstreams.connectors.file_settings import FileSourceSettings, framing_of, open_content, source_paths
from ferrisstreams.connectors.framing import Framing
from ferrisstreams.connectors.output_names import OutputNames
from ferrisstreams.connectors.rotating_sink import RotationMark
from ferrisstreams.errors import FatalConnectorError

#: Bytes of content that are looked at in one piece.
_PIECE_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


def count_records(path: str, stop: int | None, settings: FileSourceSettings) -> int:
    """Records before byte `stop` of a file's content (None: all), blank ones left out, a header not counted.

    Raises FatalConnectorError when the file cannot be read or unpacked.
    """
    content = open_content(path, settings, RestartPoint())
    try:
        framing, count, at, rest = framing_of(settings), 0, 0, b""
        while True:
            end = at + _PIECE_BYTES if stop is None else min(at + _PIECE_BYTES, stop)
            piece = content.part(at, end)
            data = rest + (piece.removeprefix(_BOM) if at == 0 else piece)
            at += len(piece)
            found, rest = _spans(framing, data, not piece)
            count += found
            if not piece:
                content.check()
                return count - (1 if settings.header and count else 0)
    finally:
        content.close()


def files_read(
    positions: Mapping[str, FilePosition], settings: FileSourceSettings
) -> list[tuple[str, int | None]] | None:
    """Every file that a source has read, up to where in its content (None: whole); None when one of them is gone."""
    files: list[tuple[str, int | None]] = []
    for position in positions.values():
        if not settings.watch:
            earlier = [path for path in source_paths(settings) if path < position.path]
            if len(earlier) < position.done.count:
                return None
            files += ((path, None) for path in earlier)
        found = Folders().find(position) or position
        files.append((found.path, position.offset))
    return files if all(os.path.exists(path) for path, _ in files) else None


def files_written(mark: RotationMark, names: OutputNames) -> dict[str, int | None]:
    """The files of a rotated output, the one that is still open among them; how much of that one counts (None: all)."""
    found = [path for path in names.existing() if not path.endswith(".pending") or _is_open(mark, path)]
    return {path: _length_of(mark, path) for path in found}


def size_of(paths: list[str]) -> int:
    return sum(count_written(path, lambda found: Path(found).stat().st_size) for path in paths)


def count_written(path: str, counted: Callable[[str], int]) -> int:
    """What is `counted` of a file of an output. The job may rename it meanwhile, once, as it closes it."""
    try:
        return counted(path)
    except (FileNotFoundError, FatalConnectorError):
        final = path.removesuffix(".pending")
        if final == path or not os.path.exists(final):
            raise
        return counted(final)


def _length_of(mark: RotationMark, path: str) -> int | None:
    return mark.open.extent.length if mark.open is not None and path == f"{mark.open.path}.pending" else None


def _is_open(mark: RotationMark, path: str) -> bool:
    return any(path == f"{part.path}.pending" for part in (*mark.closed, mark.open) if part is not None)


def _spans(framing: Framing, data: bytes, whole: bool) -> tuple[int, bytes]:
    """How many records `data` holds, and the beginning of the one that comes after it."""
    spans = list(framing.spans(data))
    if whole or not spans:
        return len(spans), b"" if whole else data
    return len(spans) - 1, data[spans[-1][0] :]
