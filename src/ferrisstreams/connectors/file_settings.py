"""The settings of a file source: which files, how their records are separated, and what is done to their bytes."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import Literal

from ferrisstreams.connectors.compression import compression_of
from ferrisstreams.connectors.file_content import (
    Content,
    Encoding,
    MappedContent,
    PlainContent,
    RestartPoint,
    StreamContent,
    StreamSettings,
)
from ferrisstreams.connectors.file_errors import open_file
from ferrisstreams.connectors.file_names import FileNames
from ferrisstreams.connectors.framing import CsvFraming, Framing, LineFraming


@dataclass(frozen=True, slots=True)
class FileSourceSettings:
    """`path` is absolute: a file or a glob. `header`: every file begins with a CSV header record.

    A fetch is never larger than `record_bytes_max`; a record that is larger is rejected and passed over. `array`: each
    file is one JSON array. `compression` None: as each file's name ends. `mapped`: through a memory map, for files that
    are read as they are. `sequence`: the files of the glob are whole, and others may come that sort last, as those of a
    rotated output. `while_open`: what goes on does so until the other end of this pipe is closed and all is read.
    """

    path: str
    framing: Literal["lines", "csv"] = "lines"
    header: bool = False
    delimiter: str = ","
    quote: str = '"'
    watch: bool = False
    record_bytes_max: int = 16 * 1024 * 1024
    array: bool = False
    compression: str | None = None
    encoding: Encoding = "utf-8"
    mapped: bool = False
    while_open: int | None = None
    sequence: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether more may come when all was read."""
        return self.watch or self.sequence

    @property
    def names(self) -> FileNames:
        """What its files are called."""
        return FileNames(self.path)


def framing_of(settings: FileSourceSettings) -> Framing:
    """How the records of these files are separated."""
    return CsvFraming(settings.delimiter, settings.quote) if settings.framing == "csv" else LineFraming()


def open_content(path: str, settings: FileSourceSettings, restart: RestartPoint) -> Content:
    """One file's content. Raises FatalConnectorError E4001."""
    compression = compression_of(path, settings.compression)
    fd = open_file(path)
    if compression != "none" or settings.encoding != "utf-8" or settings.array:
        stream = StreamSettings(compression, settings.encoding, settings.array, growing=settings.watch)
        return StreamContent(path, fd, stream, restart)
    return MappedContent(path, fd) if settings.mapped else PlainContent(path, fd)


def source_paths(settings: FileSourceSettings) -> list[str]:
    """The files that there are at this moment, in name order. One that is named is there even when it is missing."""
    path = settings.path
    if not settings.names.is_glob:
        return [path] if os.path.exists(path) or not settings.watch else []
    return sorted(found for found in glob.glob(path, recursive=True) if not os.path.isdir(found))
