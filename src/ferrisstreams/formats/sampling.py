"""The columns of a sample of records, as the engine's readers find them; what our decoders would refuse is text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import Fetch
from ferrisstreams.duck.engine import BindError, DataError, Engine
from ferrisstreams.errors import SqlError
from ferrisstreams.formats import registry
from ferrisstreams.formats.expressions import number, table_function, text
from ferrisstreams.formats.reading import fetched_block
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.schema import Column, Schema

_SAMPLE = "_sample"
#: A column of which only NULLs were seen, or values of all kinds.
_UNKNOWN = ('"NULL"', "JSON")
_TIMESTAMPS = re.compile(r"TIMESTAMP(_NS|_MS|_S| WITH TIME ZONE)")
_COLUMN = re.compile(r'column "(.*?)"[: ]')
_ALL_ROWS = -1


@dataclass(frozen=True, slots=True)
class CsvShape:
    """How a CSV file seems to be written."""

    delimiter: str
    header: bool


def csv_shape(engine: Engine, path: str) -> CsvShape | None:
    """The delimiter and whether there is a header, of the file in memory at `path`; None when it cannot be told."""
    sniffed = table_function("sniff_csv", text(path), alias=_SAMPLE, sample_size=number(_ALL_ROWS))
    try:
        found = engine.work.rows(exp.select("Delimiter", "HasHeader").from_(sniffed))
    except (BindError, DataError):
        return None
    return CsvShape(str(found[0][0]), bool(found[0][1])) if found else None


def sampled_schema(engine: Engine, fetch: Fetch, settings: DecodeSettings) -> Schema | None:
    """The columns of the fetch's records, of a format that is JSON or CSV; None when there are none to be found."""
    block = fetched_block(fetch)
    records = block.read()
    header = fetch.header is not None
    if fetch.header is not None:
        block.write(fetch.header + b"\n" + records)
    try:
        found = engine.work.types(exp.select("*").from_(_reader(block.path, settings, header)))
    except (BindError, DataError):
        return None
    finally:
        block.write(records)
    schema = Schema(tuple(Column(name, _plain(kind), True) for name, kind in found))
    return _held(engine, fetch, settings, schema) if found else None


def _reader(path: str, settings: DecodeSettings, header: bool) -> exp.Table:
    """The engine's reader that finds out types; what it cannot read it passes over."""
    common: dict[str, exp.Expr] = {
        "compression": text("none"),
        "sample_size": number(_ALL_ROWS),
        "ignore_errors": exp.true(),
    }
    if settings.format == "csv":
        csv: dict[str, exp.Expr] = {
            "header": exp.true() if header else exp.false(),
            "delim": text(settings.delimiter),
            "quote": text(settings.quote),
            "escape": text(settings.quote),
        }
        return table_function("read_csv", text(path), alias=_SAMPLE, **common, **csv)
    json: dict[str, exp.Expr] = {
        "format": text("newline_delimited"),
        "records": text("true"),
        "map_inference_threshold": number(_ALL_ROWS),
    }
    return table_function("read_json", text(path), alias=_SAMPLE, **common, **json)


def _plain(kind: str) -> str:
    if kind in _UNKNOWN or "JSON" in kind or '"NULL"' in kind:
        return "VARCHAR" if kind in _UNKNOWN else kind.replace('"NULL"', "VARCHAR").replace("JSON", "VARCHAR")
    return _TIMESTAMPS.sub("TIMESTAMP", kind)


def _held(engine: Engine, fetch: Fetch, settings: DecodeSettings, schema: Schema) -> Schema:
    """The schema with text in the place of every column that the decoder does not take from these records."""
    while True:
        try:
            rejected = registry.decoder(engine, schema, settings).diagnose(fetch).rejected
        except SqlError as error:
            refused = _named(schema, str(error))
        else:
            refused = {name for row in rejected if row.code == "E2104" for name in _named(schema, row.message)}
        if not refused:
            return schema
        schema = Schema(tuple(replace(c, type="VARCHAR") if c.name in refused else c for c in schema))


def _named(schema: Schema, message: str) -> set[str]:
    """The column that a message is about, unless it is text already."""
    match = _COLUMN.search(message)
    return {c.name for c in schema if match is not None and c.name == match[1] and c.type != "VARCHAR"}
