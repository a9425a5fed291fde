"""The file connector: how the files of a source are read, and how those of a sink are written and read again."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from glob import has_magic
from pathlib import Path

from ferrisstreams.batch import JsonValue
from ferrisstreams.config.batches import SourceKind
from ferrisstreams.config.formats import format_of
from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.base import Sink
from ferrisstreams.connectors.compression import compression_of
from ferrisstreams.connectors.connector import Connector, SinkContext, SourceContext
from ferrisstreams.connectors.file_content import ENCODINGS, Encoding
from ferrisstreams.connectors.file_settings import FileSourceSettings, framing_of
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.connectors.output_names import OutputNames, is_pattern
from ferrisstreams.connectors.rotating_sink import RotatingSink, RotatingSinkSettings, Rotation
from ferrisstreams.errors import ConfigError, placed_at
from ferrisstreams.memory_file import MemoryFile


class FileConnector(Connector):
    """A stream is a file, or files whose names fit a pattern."""

    name = "file"
    reads = True
    writes = True
    files = True
    follow = "watch"

    def source(self, context: SourceContext, block: MemoryFile) -> FileSource:
        return FileSource(file_source_settings(context), block, context.clock)

    def data(self, context: SourceContext) -> dict[str, JsonValue]:
        path = _place(context.settings.text("path"), context.folder)
        watched = context.settings.flag("watch") and has_magic(path)
        return {"path": path, **({"watch": True} if watched else {})}

    def is_endless(self, settings: Settings) -> bool:
        return settings.flag("watch")

    def source_kind(self, settings: Settings) -> SourceKind:
        return "other" if settings.flag("watch") else "bounded file"

    def sink(self, context: SinkContext) -> Sink:
        return file_sink(context)


#: Of an address, such as `s3://`.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def absolute(folder: Path, written: str | None, owner: str) -> Path:
    """A path of the application in `folder`, absolute. Raises ConfigError E3004 where `owner` has none, E3002
    for the address of another place."""
    if written is None:
        raise ConfigError(f"{owner} has no 'path'", "E3004", "add 'path' = 'file'")
    path = written.removeprefix("file://")
    if scheme := _SCHEME.match(path):
        raise ConfigError(
            f"{owner} names {scheme[0]}…, and 'file' knows only files of this machine",
            "E3002",
            "name a path; what is elsewhere must be copied or mounted first",
        )
    return (folder / path).absolute()


def _place(written: str, folder: Path) -> str:
    """A path as the application means it: relative to its folder, where it lies below it or is written so."""
    path, whole = os.path.normpath(written.removeprefix("file://")), os.path.abspath(folder)
    return os.path.relpath(path, whole) if os.path.isabs(path) and Path(path).is_relative_to(whole) else path


def has_header(settings: Settings) -> bool:
    """Whether a CSV file begins with the names of its columns; a message has none."""
    return settings.has("header") and settings.text("format").lower() == "csv" and settings.flag("header")


def encoding_of(settings: Settings) -> Encoding:
    """That of a file; messages are in UTF-8."""
    if not settings.has("encoding"):
        return "utf-8"
    name = settings.text("encoding")
    return next(encoding for encoding in ENCODINGS if encoding.replace("-", "_") == name)


def file_source_settings(context: SourceContext) -> FileSourceSettings:
    """Of a source of files. Raises ConfigError."""
    settings = context.settings
    with placed_at(context.position):
        path = absolute(context.folder, settings.optional_text("path"), f"source {context.name}")
        return replace(source_files(settings, str(path)), while_open=context.while_open)


def source_files(settings: Settings, path: str) -> FileSourceSettings:
    """How the files of a source are read. Raises ConfigError E3005 for settings that its files cannot obey."""
    array = settings.text("format").lower() == "json_array"
    sequence = settings.flag("watch") and "{n" in path
    path = _readable(settings, path)
    compression = settings.optional_text("compression")
    mapped = settings.flag("mmap")
    encoding = encoding_of(settings)
    if mapped and (array or encoding != "utf-8" or compression_of(path, compression) != "none"):
        what = "a JSON array" if array else "a text in another encoding" if encoding != "utf-8" else "a compressed file"
        raise _contradiction(settings, "mmap", f"{what} is not read as it is: 'mmap' is not possible", "leave mmap out")
    if array and settings.flag("watch"):
        what = "a JSON array has an end: it cannot be followed with 'watch'"
        raise _contradiction(settings, "watch", what, "leave watch out, or write JSON lines")
    return FileSourceSettings(
        path=path,
        framing="csv" if format_of(settings, "source") == "csv" else "lines",
        header=has_header(settings),
        delimiter=settings.text("delimiter"),
        quote=settings.text("quote"),
        watch=settings.flag("watch") and not sequence,
        sequence=sequence,
        record_bytes_max=settings.integer("max.record.bytes"),
        array=array,
        compression=compression,
        encoding=encoding,
        mapped=mapped,
    )


def _readable(settings: Settings, path: str) -> str:
    """The path of a source; of one that is a rotated output, its files as a glob."""
    if "{n" not in path:
        return path
    try:
        names = OutputNames(path)
    except ValueError:
        return path
    if not names.sorts:
        what = f"the files of {path} would not be read in the order of their numbers"
        raise _contradiction(settings, "path", what, "give the numbers a width: {n:06}")
    return names.wild


def sink_files(settings: Settings, path: str) -> FileSourceSettings:
    """How the files of a sink can be read again."""
    return FileSourceSettings(
        path=path,
        framing="csv" if format_of(settings, "sink") == "csv" else "lines",
        header=has_header(settings),
        delimiter=settings.text("delimiter"),
        quote=settings.text("quote"),
        compression=compression_of(path, settings.optional_text("compression")),
    )


def file_sink(context: SinkContext) -> Sink:
    """One file, or one after another. Raises ConfigError for a path that does not go with the rotation."""
    settings, header = context.settings, context.header
    format_of(settings, "sink")
    path = str(sink_path(context))
    compression = compression_of(path, settings.optional_text("compression"))
    append, overwrite = settings.flag("append"), context.overwrite
    names = output_names(settings, path)
    if names is None:
        return FileSink(FileSinkSettings(path, append, overwrite, header, compression))
    rotation = Rotation(
        settings.optional_integer("rotate.rows"),
        settings.optional_integer("rotate.bytes"),
        settings.optional_number("rotate.interval"),
    )
    framing = framing_of(sink_files(settings, path))
    return RotatingSink(
        RotatingSinkSettings(names, framing, rotation, append, overwrite, header, compression), context.clock
    )


def sink_path(context: SinkContext) -> Path:
    """The file of a sink, or the pattern of its files."""
    with placed_at(context.position):
        return absolute(context.folder, context.settings.optional_text("path"), f"sink {context.name}")


def output_names(settings: Settings, path: str) -> OutputNames | None:
    """The names of a rotated output; None for a sink of one file. Raises ConfigError E3002 or E3004."""
    if not any(settings.given(key) for key in ("rotate.rows", "rotate.bytes", "rotate.interval")):
        if is_pattern(path):
            prop = settings.property("path")
            raise ConfigError(
                f"the path {path} is a pattern, but nothing says when another file begins",
                "E3004",
                "set rotate.rows, rotate.bytes or rotate.interval, or give a plain path",
                prop.position if prop else None,
            )
        return None
    try:
        return OutputNames(path)
    except ValueError as error:
        prop = settings.property("path")
        raise ConfigError(
            f"the path {path} cannot rotate: {error}",
            "E3002",
            "such as out/%Y-%m-%d/part-{n:06}.jsonl",
            prop.position if prop else None,
        ) from error


def _contradiction(settings: Settings, key: str, what: str, hint: str) -> ConfigError:
    prop = settings.property(key)
    return ConfigError(what, "E3005", hint, prop.position if prop else None)
