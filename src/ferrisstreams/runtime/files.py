"""From a job's settings to those of its files: how a source's are read, and how a sink's can be read again."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisstreams.clock import Clock
from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.base import Sink
from ferrisstreams.connectors.compression import compression_of
from ferrisstreams.connectors.file_content import ENCODINGS, Encoding
from ferrisstreams.connectors.file_settings import FileSourceSettings, framing_of
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.output_names import OutputNames, is_pattern
from ferrisstreams.connectors.rotating_sink import RotatingSink, RotatingSinkSettings, Rotation
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.settings import FormatName

#: The names of formats, the predecessor's among them.
_FORMATS: dict[str, FormatName] = {
    "json": "json",
    "jsonl": "json",
    "jsonlines": "json",
    "ndjson": "json",
    "json_array": "json",
    "csv": "csv",
    "csv_no_header": "csv",
}


def format_of(settings: Settings, kind: str) -> FormatName:
    """The format of a source or a sink. Raises ConfigError E3002."""
    name = settings.text("format").lower()
    known = [known for known in ("json", "json_array", "csv") if kind == "source" or known != "json_array"]
    if name not in _FORMATS or (name == "json_array" and kind != "source"):
        hint = f"one of {', '.join(known)}"
        if name == "json_array":
            hint = "a sink writes JSON lines: 'format' = 'json'"
        prop = settings.property("format")
        position = prop.position if prop else None
        raise ConfigError(f"unknown format '{name}' of a {kind}", "E3002", hint, position)
    return _FORMATS[name]


def has_header(settings: Settings) -> bool:
    """Whether a CSV file begins with the names of its columns."""
    return settings.text("format").lower() == "csv" and settings.flag("header")


def encoding_of(settings: Settings) -> Encoding:
    name = settings.text("encoding")
    return next(encoding for encoding in ENCODINGS if encoding.replace("-", "_") == name)


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


@dataclass(frozen=True, slots=True)
class SinkPlace:
    """Where a sink writes: `path` is absolute, `header` begins a file."""

    path: str
    header: bytes
    overwrite: bool


def file_sink(settings: Settings, place: SinkPlace, clock: Clock) -> Sink:
    """One file, or one after another. Raises ConfigError for a path that does not go with the rotation."""
    format_of(settings, "sink")
    compression = compression_of(place.path, settings.optional_text("compression"))
    append = settings.flag("append")
    names = output_names(settings, place.path)
    if names is None:
        return FileSink(FileSinkSettings(place.path, append, place.overwrite, place.header, compression))
    rotation = Rotation(
        settings.optional_integer("rotate.rows"),
        settings.optional_integer("rotate.bytes"),
        settings.optional_number("rotate.interval"),
    )
    framing = framing_of(sink_files(settings, place.path))
    return RotatingSink(
        RotatingSinkSettings(names, framing, rotation, append, place.overwrite, place.header, compression), clock
    )


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
