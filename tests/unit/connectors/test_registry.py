"""Connectors: what each declares is true of what it makes, and another one is its file and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.config.registry import KEYS, Scope
from ferrisstreams.config.resolve import resolve
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.base import Sink, Source
from ferrisstreams.connectors.connector import Connector, SinkContext, SourceContext
from ferrisstreams.connectors.memory import MemorySink, MemorySource
from ferrisstreams.connectors.registry import CONNECTORS, connector_of
from ferrisstreams.errors import InternalError
from ferrisstreams.memory_file import MemoryFile

GIVEN = {"file": {"path": "in.jsonl"}, "kafka": {"bootstrap.servers": "localhost:9"}}
READS = [name for name, connector in CONNECTORS.items() if connector.reads]
WRITES = [name for name, connector in CONNECTORS.items() if connector.writes]


def properties(name: str) -> dict[str, Property]:
    return {key: Property(value) for key, value in {"connector": name, **GIVEN.get(name, {})}.items()}


def source_of(connector: Connector, folder: Path, block: MemoryFile) -> Source:
    settings = resolve(properties(connector.name), (Scope.SOURCE,), connector.name)
    context = SourceContext("s", settings, folder, group="g", in_memory={"s": MemorySource([])})
    assert connector.data(context)
    return connector.source(context, block)


def sink_of(connector: Connector, folder: Path) -> Sink:
    settings = resolve(properties(connector.name), (Scope.SINK, Scope.JOB), connector.name)
    return connector.sink(SinkContext("s", settings, folder, in_memory={"s": MemorySink()}))


@pytest.mark.parametrize("name", READS)
def test_connector_that_reads_makes_a_source(name: str, tmp_path: Path) -> None:
    block = MemoryFile()
    source = source_of(CONNECTORS[name], tmp_path, block)
    source.close()
    block.close()


@pytest.mark.parametrize("name", [name for name in WRITES if not CONNECTORS[name].transactions])
def test_connector_that_writes_makes_a_sink(name: str, tmp_path: Path) -> None:
    sink_of(CONNECTORS[name], tmp_path).close()


@pytest.mark.parametrize("name", CONNECTORS)
def test_connector_is_not_used_for_what_it_does_not_do(name: str, tmp_path: Path) -> None:
    connector = CONNECTORS[name]
    if not connector.reads:
        with pytest.raises(InternalError):
            source_of(connector, tmp_path, MemoryFile())
    if not connector.writes:
        with pytest.raises(InternalError):
            sink_of(connector, tmp_path)


def test_settings_are_those_of_connectors_that_exist() -> None:
    assert {name for key in KEYS for name in key.connectors} <= set(CONNECTORS)


def test_name_is_found_in_any_case() -> None:
    assert connector_of({"Connector": Property("KAFKA")}) is CONNECTORS["kafka"]
    assert connector_of({"connector": Property("carrier-pigeon")}) is None
    assert connector_of({}) is None
