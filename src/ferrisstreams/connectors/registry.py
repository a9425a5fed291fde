"""Connectors by name."""

from __future__ import annotations

SOURCES = ("file", "datagen", "memory")
SINKS = ("file", "stdout", "memory", "blackhole")
