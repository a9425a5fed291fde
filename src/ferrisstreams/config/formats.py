"""The names of formats, what the name of a file says of its format, and which settings belong to which format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from ferrisstreams.config.registry import KEYS
from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConfigError

if TYPE_CHECKING:
    from ferrisstreams.config.resolve import Settings

FormatName: TypeAlias = Literal["json", "csv", "arrow", "datagen"]

#: Other names of formats, which people bring from elsewhere.
ALIASES = {"jsonl": "json", "jsonlines": "json", "ndjson": "json", "csv_no_header": "csv", "delimited": "csv"}
#: The format of a file by the end of its name; in lower case.
FORMAT_BY_ENDING = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}
#: Endings of formats that nothing here reads or writes.
_UNKNOWN_ENDINGS = (
    ".parquet", ".avro", ".orc", ".arrow", ".feather", ".ipc", ".xlsx", ".xls", ".xml", ".msgpack", ".proto", ".pb",
    ".yaml", ".yml", ".db", ".sqlite", ".duckdb",
)  # fmt: skip
_PACKED = (".gz", ".zst")


def format_of_path(path: str) -> str | None:
    """The format that a file's name tells, whatever it is packed with; None when it tells none.

    Raises ConfigError E3005 for a format that is not supported.
    """
    name = path.lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    unknown = next((ending for ending in _UNKNOWN_ENDINGS if name.endswith(ending)), None)
    if unknown is not None:
        raise ConfigError(
            f"{path}: the format {unknown[1:]} is not supported yet",
            "E3005",
            "convert it to JSON lines or CSV; if it is one of these in spite of its name, add 'format'",
        )
    return next((form for ending, form in FORMAT_BY_ENDING.items() if name.endswith(ending)), None)


def delimiter_of_path(path: str) -> str | None:
    """The delimiter that a file's name tells."""
    return "\t" if any(path.lower().removesuffix(ending).endswith(".tsv") for ending in ("", *_PACKED)) else None


def refuse_of_other_format(form: str, given: Mapping[str, Property]) -> None:
    """Refuse settings of another format than a stream has. `given` by the key's name. Raises ConfigError E3005."""
    plain = "csv" if form.lower().startswith("csv") else form
    for key in KEYS:
        prop = given.get(key.name)
        if prop is not None and key.formats and plain not in key.formats:
            owner = " and ".join(key.formats)
            raise ConfigError(
                f"'{key.name}' is a setting of {owner}, and the format here is {plain}",
                "E3005",
                f"add 'format' = '{key.formats[0]}', or leave '{key.name}' out",
                prop.position,
            )


def format_of(settings: Settings, side: str) -> FormatName:
    """The format of a source or a sink, whose records are bytes. Raises ConfigError E3002."""
    written = settings.text("format").lower()
    match ALIASES.get(written, written):
        case "json":
            return "json"
        case "csv":
            return "csv"
        case "json_array" if side == "source":
            return "json"
        case "json_array":
            hint = "a sink writes JSON lines: 'format' = 'json'"
        case _:
            hint = f"one of json, {'json_array, ' if side == 'source' else ''}csv"
    prop = settings.property("format")
    raise ConfigError(f"unknown format '{written}' of a {side}", "E3002", hint, prop.position if prop else None)
