"""Connectors by name: which are sources, which are sinks, and which formats each takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectorKind:
    """`formats` are names that a user may give; empty when rows travel typed."""

    source: bool
    sink: bool
    formats: tuple[str, ...] = ()


CONNECTORS: Mapping[str, ConnectorKind] = {
    "file": ConnectorKind(source=True, sink=True, formats=("json", "csv")),
    "memory": ConnectorKind(source=True, sink=True),
    "datagen": ConnectorKind(source=True, sink=False),
    "stdout": ConnectorKind(source=False, sink=True, formats=("json", "csv")),
    "blackhole": ConnectorKind(source=False, sink=True),
}
