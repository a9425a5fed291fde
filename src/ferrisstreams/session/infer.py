"""`ferris infer` and sources without columns: a sample of the records tells the columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ferrisstreams.batch import Limit, Rejected
from ferrisstreams.clock import SystemClock
from ferrisstreams.compile.compiler import is_reserved
from ferrisstreams.connectors.compression import unpacked_name
from ferrisstreams.connectors.connector import SourceContext
from ferrisstreams.connectors.file_content import RestartPoint
from ferrisstreams.connectors.file_settings import FileSourceSettings, open_content, source_paths
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.formats.changes import columns_in_envelopes
from ferrisstreams.formats.sampling import Sample, csv_shape, read_sample
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Schema

#: The sample: the first records of the first file that has some.
_SAMPLE = Limit(rows=20_000, bytes=4 * 1024 * 1024)
_TOPIC_SAMPLE = replace(_SAMPLE, wait_ms=500)
_PEEK_BYTES = 64 * 1024
_CHARACTER_BYTES_MAX = 4
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names that read as something else in a declaration.
_RESERVED = frozenset(
    ("order", "group", "by", "from", "to", "in", "is", "not", "null", "select", "where", "watermark", "primary", "key")
)
_JSON_NAMES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class Inferred:
    """A stream as it would be declared, or a `table`. `left_out` says what of the file is not in it, or fails when it
    is read."""

    name: str
    schema: Schema
    properties: dict[str, str]
    left_out: tuple[str, ...]
    table: bool = False

    def ddl(self) -> str:
        """The declaration. What may be the event time is proposed in a comment: that is not for us to decide."""
        lines = [f"    {_quoted(column.name)} {column.type}" for column in self.schema]
        if self.table:
            key = _quoted(self.schema.names[0])
            lines.append(f"    PRIMARY KEY ({key})   -- if {key} tells its rows apart")
        text = ",\n".join(lines)
        time = next((column.name for column in self.schema if column.type == "TIMESTAMP"), None)
        if time is not None:
            name = _quoted(time)
            text += f"\n    -- , WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND   -- if {name} is the event time"
        given = ", ".join(f"'{key}' = {_text(value)}" for key, value in self.properties.items())
        kind = "TABLE" if self.table else "STREAM"
        return f"CREATE {kind} {_quoted(self.name)} (\n{text}\n) WITH ({given});\n"


def infer_file(path: Path, written: str, form: str | None = None) -> Inferred:
    """What `path` holds, found from its name and its first records; `written` is the path for the declaration.

    Raises FatalConnectorError E4001 when it cannot be read or holds no records, E4007 when it cannot be unpacked.
    """
    settings = FileSourceSettings(str(path))
    head = _head(settings)
    form = form or _form(path.name, head)
    properties = {"connector": "file", "path": written, "format": form}
    decode = DecodeSettings("json" if form != "csv" else "csv")
    settings = replace(settings, array=form == "json_array")
    if form == "csv":
        with _bench() as (engine, block):
            block.write(head[: head.rfind(b"\n") + 1] or head)
            shape = csv_shape(engine, block.path)
        if shape is not None and len(shape.delimiter) == 1:
            decode = replace(decode, delimiter=shape.delimiter, header=shape.header)
            properties |= {"delimiter": shape.delimiter} if shape.delimiter != "," else {}
            properties |= {} if shape.header else {"header": "false"}
        settings = replace(settings, framing="csv", header=decode.header, delimiter=decode.delimiter)
    sample = sample_files(settings, decode)
    left_out = (*map(_left_out_column, sample.unusable), *_left_out_records(settings, sample.rejected))
    with _bench() as (engine, _):
        rows = columns_in_envelopes(sample.schema, engine.work)
    if form == "json" and len(rows):
        return Inferred(_stream_name(path.name), rows, {**properties, "format": "debezium_json"}, left_out, table=True)
    return Inferred(_stream_name(path.name), sample.schema, properties, left_out)


def sample_files(settings: FileSourceSettings, decode: DecodeSettings) -> Sample:
    """What the first records of these files tell. Raises FatalConnectorError, as `infer_file`."""
    with _bench() as (engine, block):
        source = FileSource(replace(settings, watch=False), block, SystemClock())
        try:
            source.open({})
            fetch = source.poll(_SAMPLE)
            oversized: list[Rejected] = []
            while fetch is not None and fetch.oversized:
                oversized += fetch.oversized
                fetch = source.poll(_SAMPLE)
            sample = read_sample(engine, fetch, decode, is_reserved) if fetch is not None else None
        finally:
            source.close()
    sample = sample or Sample(Schema(()), (), ())
    sample = replace(sample, rejected=(*oversized, *sample.rejected))
    if not sample.schema:
        why = [*map(_left_out_column, sample.unusable), *_left_out_records(settings, sample.rejected)]
        raise FatalConnectorError(
            f"{settings.path} holds no records that columns could be inferred from" + "".join(f"; {w}" for w in why),
            "E4001",
            "declare the columns: CREATE STREAM name (columns) WITH (…), or check the format",
        )
    return sample


def _left_out_column(what: str) -> str:
    return f"left out column {what}"


def _left_out_records(settings: FileSourceSettings, rejected: Sequence[Rejected]) -> Iterator[str]:
    """How many records of the sample do not decode, and where and why the first."""
    if rejected:
        first = rejected[0]
        count = "1 record" if len(rejected) == 1 else f"{len(rejected)} records"
        line = _line(settings, first)
        yield f"{count} of the sample cannot be read, the first in line {line} ({first.position}): {first.message}"


def _line(settings: FileSourceSettings, record: Rejected) -> int:
    """The number of the line that a record of the first file with records begins in."""
    at = record.offset
    name = record.position.rpartition(" byte ")[0]
    path = next(path for path in source_paths(settings) if settings.names.name(path) == name)
    content = open_content(path, settings, RestartPoint())
    try:
        return 1 + sum(
            content.part(start, min(start + _PEEK_BYTES, at)).count(b"\n") for start in range(0, at, _PEEK_BYTES)
        )
    finally:
        content.close()


def infer_topic(context: SourceContext, decode: DecodeSettings) -> Sample | None:
    """What the first records of a topic tell, of a partition that has some; None when there are none.

    Nothing is committed. Raises ConnectorError when the topic cannot be read.
    """
    # Imported here: it brings the client, which few applications need.
    from ferrisstreams.connectors.kafka.settings import kafka_source_settings
    from ferrisstreams.connectors.kafka.source import KafkaSource
    from ferrisstreams.connectors.kafka.startup import Startup

    settings = kafka_source_settings(context)
    with _bench() as (engine, block):
        source = KafkaSource(replace(settings, startup=Startup(), bounded=True), block, SystemClock())
        try:
            source.open({})
            fetch = source.poll(_TOPIC_SAMPLE)
            while (fetch is None or fetch.is_empty) and not source.ended:
                fetch = source.poll(_TOPIC_SAMPLE)
        finally:
            source.close()
        if fetch is None or fetch.messages is None:
            return None
        # A message is one record whatever newlines it holds.
        lines = [value.replace(b"\n", b" ") for value in fetch.messages.values if value]
        block.write(b"".join(line + b"\n" for line in lines))
        return read_sample(engine, replace(fetch, messages=None), decode, is_reserved)


@contextmanager
def _bench() -> Iterator[tuple[Engine, MemoryFile]]:
    block = MemoryFile()
    engine = Engine(EngineSettings(allowed_paths=(block.path,)))
    try:
        yield engine, block
    finally:
        engine.close()
        block.close()


def _head(settings: FileSourceSettings) -> bytes:
    """The first bytes of the first file."""
    paths = source_paths(settings)
    if not paths:
        raise FatalConnectorError(f"no file matches {settings.path}", "E4001", "check the path")
    content = open_content(paths[0], settings, RestartPoint())
    try:
        head = content.part(0, _PEEK_BYTES)
        if not head:
            content.check()
        head[:-_CHARACTER_BYTES_MAX].decode()
        return head
    except UnicodeDecodeError as error:
        raise FatalConnectorError(
            f"{content.path} is not UTF-8 text (byte {error.start})",
            "E4001",
            "declare its columns, with its 'encoding', such as latin-1",
        ) from error
    finally:
        content.close()


def _form(name: str, head: bytes) -> str:
    plain = unpacked_name(name)
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if plain.endswith((".csv", ".tsv")):
        return "csv"
    if first == b"[":
        return "json_array"
    return "json" if first == b"{" or plain.endswith(_JSON_NAMES) else "csv"


def _stream_name(file: str) -> str:
    name = re.sub(r"\W+", "_", file.split(".")[0]).strip("_") or "stream"
    return name if _IDENTIFIER.fullmatch(name) else f"s_{name}"


def _quoted(name: str) -> str:
    if _IDENTIFIER.fullmatch(name) and name.lower() not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return value if value in ("true", "false") else "'" + value.replace("'", "''") + "'"
