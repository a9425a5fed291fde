"""`'<name>.config_file' = 'path.yaml'`: properties of a source or sink that stand in a file. Those of WITH win."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConfigError, SqlError
from ferrisstreams.sql.inline import CONFIG_FILE, modernised_file

#: Gives the properties of a configuration file, named as in the text. Raises ConfigError.
ReadConfig: TypeAlias = Callable[[str], Mapping[str, Property]]

#: Where the predecessor puts properties, without their own name.
_ROOTS = (
    "datasource.consumer_config.", "consumer_config.", "datasink.producer_config.", "producer_config.", "datasource.",
    "datasink.", "data_source.", "data_sink.", "file.",
)  # fmt: skip
_RENAMED = {"topic.name": "topic"}

#: What only describes, and what would have to be obeyed and is not -> what to do.
_DESCRIPTIVE = ("metadata.", "description", "name", "version")
_REFUSED = {
    "performance_profiles.": "say how large a batch is with batch.strategy and its keys",
    "delivery_profiles.": "delivery is exactly once; job.mode says otherwise",
    "topic_config.": "topics are made by those who run Kafka",
    "cache.": "leave it out: there is no cache to configure",
}


def with_file(read: ReadConfig | None, properties: Mapping[str, Property], is_source: bool) -> dict[str, Property]:
    """The properties with those of their configuration file. Raises `SqlError` and `ConfigError`."""
    written = properties.get(CONFIG_FILE)
    own = {key: prop for key, prop in properties.items() if key != CONFIG_FILE}
    if written is None:
        return own
    if read is None:
        raise SqlError(
            "a configuration file cannot be read here", "E1201", "write its keys in WITH (…)", written.position
        )
    try:
        found = _named(read(str(written.value)))
    except ConfigError as error:
        raise ConfigError(error.message, error.code, error.hint, error.position or written.position) from error
    return modernised_file(found, own, is_source)


def _named(properties: Mapping[str, Property]) -> dict[str, Property]:
    """The properties without the predecessor's roots."""
    found: dict[str, Property] = {}
    for written, prop in properties.items():
        if written.startswith(_DESCRIPTIVE):
            continue
        refused = next((hint for root, hint in _REFUSED.items() if written.startswith(root)), None)
        if refused is not None:
            raise ConfigError(f"{prop.origin}: {written} has no counterpart", "E3001", refused)
        root = next((root for root in _ROOTS if written.startswith(root)), "")
        name = written[len(root) :]
        found[_RENAMED.get(name, name)] = replace(prop, origin=f"{prop.origin}: {written}")
    return found
