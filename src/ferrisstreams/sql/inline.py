"""Properties in the words that people bring, rewritten to ours: one vocabulary below this module.

The inline form of the predecessor configures sources and sink in the query's own WITH, by prefix: `'<name>.type'` and
`'<name>.<property>'`. The sink's become the statement's own; a source's keep their prefix, as a job's do that say more
about its source. Keys and values get the names that the registry knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import PurePath

from ferrisstreams.config.formats import ALIASES
from ferrisstreams.config.kinds import DURATION, SIZE
from ferrisstreams.config.registry import Key
from ferrisstreams.config.resolve import canonical_name, find_key
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.compression import unpacked_name
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.errors import SqlError

CONNECTOR, CONFIG_FILE, FORMAT, PATH, TOPIC = "connector", "config_file", "format", "path", "topic"

_TYPE = "type"
#: ksqlDB names no connector: there is one.
_KSQL = "kafka_topic"

_MMAP_TYPE = "file_source_mmap"
_SOURCE_TYPES = {"kafka_source": "kafka", "file_source": "file", _MMAP_TYPE: "file"}
_SINK_TYPES = {"kafka_sink": "kafka", "file_sink": "file", "stdout_sink": "stdout"}
_TYPE_ENDS = ("_source", "_sink", "_source_mmap")
_UNBUILT_TYPES = ("s3_source", "s3_sink", "database_source", "database_sink", "iceberg_sink")

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")


#: The predecessor's keys that are ours by another name, where that is not a name to give today.
_RENAMED = {
    "value.serializer": FORMAT,
    "schema.value.serializer": FORMAT,
    "serializer.format": FORMAT,
}
_TRANSACTIONS = "use_transactions"
_MODES = {"true": "exactly_once", "false": "at_least_once"}

#: Keys of the predecessor without a counterpart -> what to do.
_WITHOUT_COUNTERPART: Mapping[str, str] = {
    **dict.fromkeys(
        ("buffer_size", "buffer_size_bytes", "writer_threads", "performance_profile", "delivery_profile"),
        "leave it out: batch.strategy decides how much is read and written at a time",
    ),
    "polling_interval": "leave it out: a followed file is looked at by itself",
    "max.poll.records": "leave it out, or say how large a batch is with batch.size",
    "max_records": "run with --max-records",
    "skip_lines": "remove these lines from the file, or leave the key out",
    "recursive": "write ** into the path",
    "extension_filter": "write the extension into the path, as in data/*.csv",
    **dict.fromkeys(
        ("source_config", "sink_config", "monitoring_config", "security_config"),
        "write '<name>.config_file' = 'path.yaml' for each source and for the sink",
    ),
}

#: Units of the predecessor's bare numbers, by the key as it is written there.
_MILLISECOND_KEYS = ("retry_backoff", "batch_timeout")
_SECOND_KEYS = ("sink.batch.",)


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose properties a statement's WITH may hold: of `sink` (None without a name) and of `sources`."""

    sink: str | None
    sources: tuple[str, ...]


def modernised(properties: Mapping[str, Property], owners: Owners, topic: str | None = None) -> dict[str, Property]:
    """The properties under the registry's names. `topic` is the default that INTO gave. Raises `SqlError`."""
    inline = _is_inline(properties)
    if inline and owners.sink is not None and owners.sink.lower() in (name.lower() for name in owners.sources):
        written = next(prop for key, prop in properties.items() if _announces(key, prop))
        raise SqlError(
            f"{owners.sink} is read and written", "E1103", "name the stream that is written otherwise", written.position
        )
    names = [*([owners.sink] if owners.sink else []), *owners.sources]
    parts = _properties_by_owner(properties, [*names, *_announced(properties, names)], own=owners.sink)
    found: dict[str, Property] = {}
    for owner, own in parts.items():
        modern = _modern(own, is_source=owner is not None, inline=inline)
        if owner is None and topic is not None and _has_topic(modern) and TOPIC not in modern:
            modern[TOPIC] = Property(topic)
        for key, prop in modern.items():
            _add(found, key if owner is None else f"{owner}.{key}", prop)
    return found


def modernised_declaration(properties: Mapping[str, Property], name: str) -> dict[str, Property]:
    """The properties of a declared source, whether or not they carry its name."""
    own = _properties_by_owner(properties, [name], own=name).get(None, {})
    return _modern(own, is_source=True, inline=_TYPE in own)


def modernised_file(found: Mapping[str, Property], own: Mapping[str, Property], is_source: bool) -> dict[str, Property]:
    """The properties of a configuration file under the registry's names; `own`, those of the text, win."""
    kind = {CONNECTOR: own[CONNECTOR]} if CONNECTOR in own else {}
    known = {key: prop for key, prop in found.items() if not kind or key.lower() not in (_TYPE, CONNECTOR)}
    merged = {**_modern({**kind, **known}, is_source=is_source, inline=True), **own}
    if is_source:
        _default_format(merged)
    return merged


def _is_inline(properties: Mapping[str, Property]) -> bool:
    return any(_announces(key, prop) for key, prop in properties.items())


def _announces(key: str, prop: Property) -> bool:
    """Whether a key says what a name is connected to. `compression.type` does not."""
    name, _, suffix = key.lower().rpartition(".")
    if not name or canonical_name(key) is not None:
        return False
    return suffix in (CONNECTOR, CONFIG_FILE) or (suffix == _TYPE and str(prop.value).lower().endswith(_TYPE_ENDS))


def _announced(properties: Mapping[str, Property], known: Sequence[str]) -> list[str]:
    """Names that have a type of their own although the query does not show them (a view may)."""
    prefixes = [key.rpartition(".")[0] for key, prop in properties.items() if _announces(key, prop)]
    return [name for name in dict.fromkeys(prefixes) if name.lower() not in (other.lower() for other in known)]


def _properties_by_owner(
    properties: Mapping[str, Property], names: Sequence[str], own: str | None
) -> dict[str | None, dict[str, Property]]:
    """Properties without their prefix, by the name that it is. Under None those without one, and those of `own`."""
    found: dict[str | None, dict[str, Property]] = {}
    for key, prop in properties.items():
        owner = None if canonical_name(key) is not None else _owner(key, names)
        plain = key if owner is None else key[len(owner) + 1 :]
        if owner is not None and own is not None and owner.lower() == own.lower():
            owner = None
        _add(found.setdefault(owner, {}), plain, prop)
    return found


def _owner(key: str, names: Sequence[str]) -> str | None:
    """The longest of the names that the key begins with."""
    lower = key.lower()
    return max((name for name in names if lower.startswith(f"{name.lower()}.")), key=len, default=None)


def _modern(properties: Mapping[str, Property], is_source: bool, inline: bool) -> dict[str, Property]:
    """The properties of one source, or of the sink and job, under the registry's names."""
    connector = next((prop for key, prop in properties.items() if key.lower() in (_TYPE, CONNECTOR)), None)
    kind = str(_connector(connector, is_source).value).lower() if connector is not None else None
    found: dict[str, Property] = {}
    for written, prop in properties.items():
        lower = written.lower()
        if lower in (_TYPE, CONNECTOR):
            _add(found, CONNECTOR, _connector(prop, is_source))
            if lower == _TYPE and str(prop.value).lower() == _MMAP_TYPE:
                _add(found, "mmap", replace(prop, value=True))
        elif inline and lower in _WITHOUT_COUNTERPART and find_key(lower, kind) is None:
            raise SqlError(f"{written} has no counterpart", "E1204", _WITHOUT_COUNTERPART[lower], prop.position)
        else:
            for key, value in _translated(written, prop, kind, inline):
                _add(found, key, value)
    if inline and is_source and CONFIG_FILE not in found:
        _default_format(found)
    topic = next((prop for key, prop in properties.items() if key.lower() == _KSQL), None)
    if topic is not None:
        found.setdefault(CONNECTOR, replace(topic, value="kafka"))
    return found


def _connector(written: Property, is_source: bool) -> Property:
    """A type of the predecessor as the name of a connector; other names stay for the settings to judge."""
    name = str(written.value).lower()
    own, other = (_SOURCE_TYPES, _SINK_TYPES) if is_source else (_SINK_TYPES, _SOURCE_TYPES)
    if name in own:
        return replace(written, value=own[name])
    if name in other:
        side = "source" if is_source else "sink"
        near = next((known for known, kind in own.items() if kind == other[name]), None)
        raise SqlError(
            f"{written.value} is not a type of a {side}",
            "E3002",
            f"did you mean {near}?" if near else f"the types of a {side} are {', '.join(own)}",
            written.position,
        )
    if name in _UNBUILT_TYPES:
        raise SqlError(f"the type {written.value} is not supported", "E1201", "use a file or Kafka", written.position)
    if name.endswith(_TYPE_ENDS):
        close = get_close_matches(name, list(own), 1, 0.6)
        hint = f"did you mean {close[0]}?" if close else f"the types are {', '.join(own)}"
        raise SqlError(f"there is no type {written.value}", "E3002", hint, written.position)
    return written


def _translated(written: str, prop: Property, kind: str | None, inline: bool) -> list[tuple[str, Property]]:
    """One property under the registry's name; some of the predecessor's values say two things."""
    lower = written.lower()
    if inline and lower == _TRANSACTIONS:
        return [("job.mode", replace(prop, value=_MODES.get(str(prop.value).lower(), prop.value)))]
    name = _RENAMED.get(lower, lower) if inline else lower
    key = find_key(name, kind)
    if name == FORMAT or (key is not None and key.name == FORMAT):
        format_ = str(prop.value).lower()
        header = [("header", replace(prop, value=False))] if format_ == "csv_no_header" else []
        return [(FORMAT, replace(prop, value=ALIASES.get(format_, prop.value))), *header]
    if key is None:
        passed = f"kafka.{lower}" if inline and kind is not None and "." in lower else None
        if passed is not None and find_key(passed, kind) is not None:
            return [(passed, prop)]
        return [(written, prop)]
    value = _with_unit(key, lower, prop.value) if inline else prop.value
    return [(canonical_name(name, kind) or written, replace(prop, value=value))]


def _with_unit(key: Key, written: str, value: str | bool | int | float) -> str | bool | int | float:
    """The predecessor's bare numbers with the unit that they have there."""
    if isinstance(value, bool) or not str(value).strip().isdecimal():
        return value
    if key.kind is SIZE:
        return f"{value}B"
    if key.kind is DURATION and written in _MILLISECOND_KEYS:
        return f"{value}ms"
    if key.kind is DURATION and written.startswith(_SECOND_KEYS):
        return f"{value}s"
    return value


def _default_format(found: dict[str, Property]) -> None:
    """A file of the inline form is CSV, unless its name says otherwise."""
    path = found.get(PATH)
    if FORMAT in found or path is None:
        return
    is_json = PurePath(unpacked_name(str(path.value))).suffix in _JSON_SUFFIXES
    found[FORMAT] = Property("json" if is_json else "csv", path.position)


def _has_topic(properties: Mapping[str, Property]) -> bool:
    connector = connector_of(properties)
    return connector is not None and find_key(TOPIC, connector.name) is not None


def _add(found: dict[str, Property], key: str, prop: Property) -> None:
    if key in found:
        raise SqlError(f"{key} is given twice", "E1103", "keep one of them", prop.position)
    found[key] = prop
