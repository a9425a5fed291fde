"""The columns of a sample of records, as the engine's readers find them; what our decoders would refuse is text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import Fetch, Rejected
from ferrisstreams.connectors.framing import CsvFraming, LineFraming
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
    options = {"sample_size": number(_ALL_ROWS), "ignore_errors": exp.true()}
    sniffed = table_function("sniff_csv", text(path), alias=_SAMPLE, **options)
    try:
        found = engine.work.rows(exp.select("Delimiter", "HasHeader").from_(sniffed))
    except (BindError, DataError):
        return None
    return CsvShape(str(found[0][0]), bool(found[0][1])) if found else None


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample of records tells: its columns, the columns that nothing could name, the records that fail."""

    schema: Schema
    unusable: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def read_sample(
    engine: Engine, fetch: Fetch, settings: DecodeSettings, is_reserved: Callable[[str], bool]
) -> Sample | None:
    """The columns of the fetch's records, of a format that is JSON or CSV; None when there are none to be found.

    What the decoder rejects tells nothing of the columns. Columns without a name, or with one that `is_reserved`, are
    left out: nothing could name them. The schema is empty where no column or no record is left. Raises
    FatalConnectorError E4005 for names that differ in case only, or not at all.
    """
    try:
        names = _names(engine, fetch, settings)
    except (BindError, DataError):
        return None
    usable = [name for name in names if name and not is_reserved(name)]
    unusable = tuple(_unusable(place, name) for place, name in enumerate(names, 1) if name not in usable)
    if not usable:
        return Sample(Schema(()), unusable, ()) if names else None
    as_text = Schema(tuple(Column(name, "VARCHAR", True) for name in usable))
    records, (good, rejected) = fetched_block(fetch).read(), _decodable(engine, fetch, settings, as_text)
    if not good:
        return Sample(Schema(()), unusable, rejected) if rejected else None
    fetched_block(fetch).write(good)
    try:
        found = engine.work.types(exp.select("*").from_(_reader(fetched_block(fetch).path, settings)))
    except (BindError, DataError):  # such as an empty key, of which the engine's reader makes no column
        return Sample(Schema(()), unusable, rejected)
    if settings.format != "csv" or fetch.header is None:
        names = [name for name, _ in found]
    kinds = zip(names, (kind for _, kind in found), strict=False)
    columns = (Column(name, _plain(kind), True) for name, kind in kinds if name in usable)
    schema = _held(engine, fetch, settings, Schema(tuple(columns)))
    fetched_block(fetch).write(records)
    decoded = registry.decoder(engine, schema, settings).diagnose(fetch)
    return Sample(schema, unusable, tuple(decoded.rejected))


def _unusable(place: int, name: str) -> str:
    return f'"{name}", a name that is reserved for the engine' if name else f"number {place}, which has no name"


def _decodable(
    engine: Engine, fetch: Fetch, settings: DecodeSettings, schema: Schema
) -> tuple[bytes, tuple[Rejected, ...]]:
    """The records that decode, and the others."""
    rejected = registry.decoder(engine, schema, settings).diagnose(fetch).rejected
    data = fetched_block(fetch).read()
    if not rejected:
        return data, ()
    framing = CsvFraming(settings.delimiter, settings.quote) if settings.format == "csv" else LineFraming()
    failed = {row.row for row in rejected}
    spans = (span for row, span in enumerate(framing.spans(data)) if row not in failed)
    return b"".join(data[start:end] for start, end in spans), tuple(rejected)


def _names(engine: Engine, fetch: Fetch, settings: DecodeSettings) -> list[str]:
    """The names of the columns as the records have them: the engine's reader gives some of them others."""
    if settings.format == "csv":
        if fetch.header is None:
            found = engine.work.types(exp.select("*").from_(_reader(fetched_block(fetch).path, settings)))
            return [name for name, _ in found]
        header = FieldSplitter(settings.delimiter, settings.quote).split(fetch.header.decode(errors="replace"))
        names = [field.text.strip() for field in header or ()]
    else:
        objects = table_function("read_json_objects", text(fetched_block(fetch).path), alias=_SAMPLE, **_json_options())
        keys = exp.select(
            exp.func("UNNEST", exp.Anonymous(this="json_keys", expressions=[exp.column("json")])).as_("k")
        )
        rows = engine.work.rows(exp.select("k").distinct().from_(keys.from_(objects).subquery("keys")))
        names = [str(row[0]) for row in rows]
    _refuse_ambiguous(fetch.origin, names)
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
