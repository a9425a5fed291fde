"""Formats by name. Each is imported when a job has it, because importing all costs a short run a tenth of its time."""

from __future__ import annotations

from ferrisstreams.duck.engine import Engine
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.base import Decoder, Encoder
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.schema import Schema


def decoder(engine: Engine, schema: Schema, settings: DecodeSettings) -> Decoder:
    """Raises SqlError E1102 for a column type that the format cannot hold, ConfigError for wrong settings."""
    plain = _plain_decoder(engine, schema, settings)
    if settings.encoding == "utf-8":
        return plain
    from ferrisstreams.formats.reencoded import Reencoded

    return Reencoded(plain, settings.encoding)


def _plain_decoder(engine: Engine, schema: Schema, settings: DecodeSettings) -> Decoder:
    if settings.key:
        from ferrisstreams.formats.tables import TableDecoder

        return TableDecoder(engine, schema, settings, lambda columns, own: _plain_decoder(engine, columns, own))
    match settings.format:
        case "json":
            from ferrisstreams.formats.json_lines import JsonLinesDecoder

            return JsonLinesDecoder(engine, schema, settings)
        case "csv":
            from ferrisstreams.formats.csv import CsvDecoder

            return CsvDecoder(engine, schema, settings)
        case "arrow":
            from ferrisstreams.formats.arrow import ArrowDecoder

            return ArrowDecoder(engine, schema, settings)
        case "datagen":
            from ferrisstreams.formats.datagen import DatagenDecoder

            return DatagenDecoder(engine, schema, settings)


def encoder(settings: EncodeSettings) -> Encoder:
    match settings.format:
        case "json":
            from ferrisstreams.formats.json_text import JsonLinesEncoder

            return JsonLinesEncoder()
        case "csv":
            from ferrisstreams.formats.csv import CsvEncoder

            return CsvEncoder(settings)
    raise ConfigError(f"the format {settings.format} is not written as bytes", "E3002", "one of json, csv")
