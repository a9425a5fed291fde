"""Every form of a file gives the records of the plain one, however it is cut, and from every position."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisstreams.batch import JsonValue, Limit
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.compression import Compression
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.connectors.output_file import packed
from ferrisstreams.memory_file import MemoryFile

TEXTS = ("", 'a"b', "\\", "x,]}", "{[", "é\u2028", '\\"')
FORMS = ("gzip", "zstd", "array", "packed array", "mapped", "latin-1")


@pytest.fixture(scope="module")
def block() -> Iterator[MemoryFile]:
    block = MemoryFile()
    yield block
    block.close()


def value(chance: random.Random, depth: int = 0) -> JsonValue:
    """Deeper than the scanner's fast way goes."""
    kind = chance.randrange(7 if depth < 8 else 4)
    if kind < 4:
        return (None, chance.randrange(-9, 9), chance.choice(TEXTS), 1.5)[kind]
    if kind == 4:
        return [value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice('ab"]'): value(chance, depth + 1) for _ in range(chance.randrange(3))}


def write(chance: random.Random, form: str, rows: list[JsonValue], path: Path) -> FileSourceSettings:
    """The rows in one form, and the settings that read it."""
    lines = ("\n".join(json.dumps(row, ensure_ascii=form == "latin-1") for row in rows)).encode()
    if form in ("gzip", "zstd"):
        kind: Compression = "gzip" if form == "gzip" else "zstd"
        cuts = sorted(chance.randrange(len(lines) + 1) for _ in range(chance.randrange(6)))
        ends = [*cuts, len(lines)]
        path.write_bytes(b"".join(packed(lines[a:b], kind) for a, b in zip([0, *cuts], ends, strict=True)))
        return FileSourceSettings(str(path), compression=kind)
    if "array" in form:
        text = json.dumps(rows, indent=chance.choice([None, 1]), ensure_ascii=False).encode()
        path.write_bytes(packed(text, "gzip") if form == "packed array" else text)
        return FileSourceSettings(str(path), array=True, compression="gzip" if form == "packed array" else "none")
    path.write_bytes(lines.decode().encode("latin-1") if form == "latin-1" else lines)
    if form == "latin-1":
        return FileSourceSettings(str(path), encoding="latin-1")
    return FileSourceSettings(str(path), mapped=True)


@given(st.integers(0, 2**32), st.sampled_from(FORMS))
@settings(max_examples=200, deadline=None)
def test_form_gives_the_rows_through_cuts_and_restarts(block: MemoryFile, seed: int, form: str) -> None:
    chance = random.Random(seed)
    rows: list[JsonValue] = [{"a": value(chance), "b": value(chance)} for _ in range(chance.randrange(30))]
    with tempfile.TemporaryDirectory() as folder:
        given_settings = write(chance, form, rows, Path(folder) / "file")
        source = FileSource(given_settings, block, ManualClock())
        source.open({})
        found: list[JsonValue] = []
        while (
            fetch := source.poll(Limit(chance.choice([1, 2, 5, 1000]), chance.choice([1, 50, 1 << 20])))
        ) is not None:
            found += [json.loads(line) for line in block.read().decode().split("\n") if line.strip()]
            if chance.random() < 0.4:
                source.close()
                source = FileSource(given_settings, block, ManualClock())
                source.open({fetch.partition: fetch.position})
        assert source.ended
        source.close()
    assert found == rows
