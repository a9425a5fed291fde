"""The connectors, by name."""

from __future__ import annotations

from collections.abc import Mapping

from ferrisstreams.config.values import Property
from ferrisstreams.connectors.blackhole import BlackholeConnector
from ferrisstreams.connectors.connector import Connector
from ferrisstreams.connectors.datagen import DatagenConnector
from ferrisstreams.connectors.file import FileConnector
from ferrisstreams.connectors.kafka.connector import KafkaConnector
from ferrisstreams.connectors.memory import MemoryConnector
from ferrisstreams.connectors.stdout_sink import StdoutConnector

#: In the order in which messages name them.
_ALL: tuple[Connector, ...] = (
    FileConnector(),
    KafkaConnector(),
    DatagenConnector(),
    StdoutConnector(),
    MemoryConnector(),
    BlackholeConnector(),
)

CONNECTORS: Mapping[str, Connector] = {connector.name: connector for connector in _ALL}


def connector_of(properties: Mapping[str, Property]) -> Connector | None:
    """The connector that the properties of a stream name; None when they name none, or one that does not exist."""
    name = next((prop.value for key, prop in properties.items() if key.lower() == "connector"), None)
    return CONNECTORS.get(str(name).lower())
