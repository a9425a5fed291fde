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
#: How records say what becomes of a table's row: an `op` beside the columns, or objects of `before`, `after` and `op`.
ChangesName: TypeAlias = Literal["retract", "debezium"]

#: Other names of formats, which people bring from elsewhere.
ALIASES = {
    "jsonl": "json", "jsonlines": "json", "ndjson": "json", "csv_no_header": "csv", "delimited": "csv",
    "debezium-json": "debezium_json",
}  # fmt: skip
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


def changes_of(properties: Mapping[str, Property]) -> ChangesName | None:
    """How the records of a table's source say what becomes of a row; None: each is the new row of its key.

    Raises ConfigError for what cannot be read so.
    """
    form, changelog = properties.get("format"), properties.get("changelog")
    path = properties.get("path")
    name = form.value if form is not None else format_of_path(str(path.value)) if path is not None else None
    name = ALIASES.get(str(name or "json").lower(), str(name or "json").lower())
    envelopes = name == "debezium_json"
    match None if changelog is None else str(changelog.value).lower():
        case None:
            return "debezium" if envelopes else None
        case "debezium" if name in ("json", "json_array", "debezium_json"):
            return "debezium"
        case "retract" | "upsert" if envelopes:
            assert changelog is not None
            message = f"'changelog' = '{changelog.value}' and 'format' = 'debezium_json' contradict one another"
            raise ConfigError(message, "E3003", "keep one of them", changelog.position)
        case "retract":
            return "retract"
        case "upsert":
            return None
    assert changelog is not None
    hint = "leave it out: each record is the new row of its key; or retract (a column op), of JSON also debezium"
    message = f"'changelog' = '{changelog.value}' is not how a source of this format writes changes"
    raise ConfigError(message, "E3002", hint, changelog.position)


def format_of(settings: Settings, side: str) -> FormatName:
    """The format of a source or a sink, whose records are bytes. Raises ConfigError E3002."""
    written = settings.text("format").lower()
    match ALIASES.get(written, written):
        case "json":
            return "json"
        case "csv":
            return "csv"
        case "json_array" | "debezium_json" if side == "source":
            return "json"
        case "json_array":
            hint = "a sink writes JSON lines: 'format' = 'json'"
        case "debezium_json":
            hint = "write 'format' = 'json', 'changelog' = 'debezium'"
        case _:
            hint = f"one of json, {'json_array, debezium_json, ' if side == 'source' else ''}csv"
    prop = settings.property("format")
    raise ConfigError(f"unknown format '{written}' of a {side}", "E3002", hint, prop.position if prop else None)
