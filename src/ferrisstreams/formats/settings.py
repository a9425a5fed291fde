"""Settings of formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ferrisstreams.config.formats import ChangesName, FormatName
from ferrisstreams.connectors.file_content import Encoding


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How a source's records are read.

    `event_time` names the event-time column of a job that needs one: NULL there is a row error. `event_time_format` is
    for that column, `timestamp_format` for all TIMESTAMP columns: `iso8601`, `epoch_seconds`, `epoch_millis`,
    `epoch_micros` or a strptime pattern. `encoding` is that of the file, whose bytes come in UTF-8. CSV: `header` says
    that files begin with one, `nulls` are the unquoted texts that mean NULL. Datagen: `fields` by column, and `seed`.
    Of a table: its `key`, and how `changes` are written. `lacking`: no column is required, whatever is declared.
    """

    format: FormatName
    event_time: str | None = None
    event_time_format: str | None = None
    timestamp_format: str | None = None
    header: bool = True
    delimiter: str = ","
    quote: str = '"'
    nulls: tuple[str, ...] = ("",)
    fields: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    encoding: Encoding = "utf-8"
    key: tuple[str, ...] = ()
    changes: ChangesName | None = None
    lacking: bool = False


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """How rows are written. CSV: `header` asks for a header line, `null` is the unquoted text that stands for NULL."""

    format: FormatName
    header: bool = True
    delimiter: str = ","
    quote: str = '"'
    null: str = ""
