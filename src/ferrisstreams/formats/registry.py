"""Formats by name."""

from __future__ import annotations

from ferrisstreams.duck.engine import Engine
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.base import Decoder, Encoder
from ferrisstreams.formats.csv import CsvDecoder, CsvEncoder
from ferrisstreams.formats.datagen import DatagenDecoder
from ferrisstreams.formats.json_lines import JsonLinesDecoder
from ferrisstreams.formats.json_text import JsonLinesEncoder
from ferrisstreams.formats.reencoded import Reencoded
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.schema import Schema


def decoder(engine: Engine, schema: Schema, settings: DecodeSettings) -> Decoder:
    """Raises SqlError E1102 for a column type that the format cannot hold, ConfigError for wrong settings."""
    plain = _plain_decoder(engine, schema, settings)
    return plain if settings.encoding == "utf-8" else Reencoded(plain, settings.encoding)


def _plain_decoder(engine: Engine, schema: Schema, settings: DecodeSettings) -> Decoder:
    match settings.format:
        case "json":
            return JsonLinesDecoder(engine, schema, settings)
        case "csv":
            return CsvDecoder(engine, schema, settings)
        case "arrow":
            # Imported here: only tables in memory need Arrow from the start.
            from ferrisstreams.formats.arrow import ArrowDecoder

            return ArrowDecoder(engine, schema, settings)
        case "datagen":
            return DatagenDecoder(engine, schema, settings)


def encoder(settings: EncodeSettings) -> Encoder:
    match settings.format:
        case "json":
            return JsonLinesEncoder()
        case "csv":
            return CsvEncoder(settings)
    raise ConfigError(f"the format {settings.format} is not written as bytes", "E3002", "one of json, csv")
