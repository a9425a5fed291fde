"""The columns of a sample of records, as the engine's readers find them; what our decoders would refuse is text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import Fetch
from ferrisstreams.duck.engine import BindError, DataError, Engine
from ferrisstreams.errors import FatalConnectorError, SqlError
from ferrisstreams.formats import registry
from ferrisstreams.formats.csv_fields import FieldSplitter
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
    """The delimiter and whether there is a header, of the file in memory at `path`; None when it is not clear."""
    sniffed = table_function("sniff_csv", text(path), alias=_SAMPLE, sample_size=number(_ALL_ROWS))
    try:
        found = engine.work.rows(exp.select("Delimiter", "HasHeader").from_(sniffed))
    except (BindError, DataError):
        return None
    return CsvShape(str(found[0][0]), bool(found[0][1])) if found else None


def sampled_schema(
    engine: Engine, fetch: Fetch, settings: DecodeSettings, is_reserved: Callable[[str], bool]
) -> Schema | None:
    """The columns of the fetch's records, of a format that is JSON or CSV; None when there are none to be found.

    Columns without a name, or with one that `is_reserved`, are left out: nothing could name them. Raises
    FatalConnectorError E4005 for names that differ in case only, or not at all.
    """
    block = fetched_block(fetch)
    reader = _reader(block.path, settings)
    try:
        found = engine.work.types(exp.select("*").from_(reader))
        names = _names(engine, fetch, settings, [name for name, _ in found])
    except (BindError, DataError):
        return None
    usable = [(name, kind) for name, (_, kind) in zip(names, found, strict=False) if name and not is_reserved(name)]
    schema = Schema(tuple(Column(name, _plain(kind), True) for name, kind in usable))
    return _held(engine, fetch, settings, schema) if usable else None


def _names(engine: Engine, fetch: Fetch, settings: DecodeSettings, found: list[str]) -> list[str]:
    """The names of the columns as the records have them: the engine's reader gives some of them others."""
    if settings.format == "csv":
        if fetch.header is None:
            return found
        header = FieldSplitter(settings.delimiter, settings.quote).split(fetch.header.decode(errors="replace"))
        names = [field.text.strip() for field in header or ()]
        written = names
    else:
        objects = table_function("read_json_objects", text(fetched_block(fetch).path), alias=_SAMPLE, **_json_options())
        keys = exp.select(
            exp.func("UNNEST", exp.Anonymous(this="json_keys", expressions=[exp.column("json")])).as_("k")
        )
        rows = engine.work.rows(exp.select("k").distinct().from_(keys.from_(objects).subquery("keys")))
        names, written = found, [str(row[0]) for row in rows]
    _refuse_ambiguous(fetch.origin, written)
    return names


def _refuse_ambiguous(origin: str, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name) if name else name
        if name and (other != name or names.count(name) > 1):
            raise FatalConnectorError(
                f'{origin} has two columns that SQL cannot tell apart: "{other}" and "{name}"',
                "E4005",
                "declare the columns: CREATE STREAM name (columns) WITH (…), with one of the two, or rename one",
            )


def _json_options() -> dict[str, exp.Expr]:
    return {"format": text("newline_delimited"), "compression": text("none"), "ignore_errors": exp.true()}


def _reader(path: str, settings: DecodeSettings) -> exp.Table:
    """The engine's reader that finds out types; what it cannot read it passes over."""
    common: dict[str, exp.Expr] = {
        "compression": text("none"),
        "sample_size": number(_ALL_ROWS),
        "ignore_errors": exp.true(),
    }
    if settings.format == "csv":
        csv: dict[str, exp.Expr] = {
            "header": exp.false(),
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
