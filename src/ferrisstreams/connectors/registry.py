"""Connectors by name."""

from __future__ import annotations

SOURCES = ("file", "kafka", "datagen", "memory")
SINKS = ("file", "kafka", "stdout", "memory", "blackhole")
