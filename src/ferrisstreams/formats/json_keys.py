"""Whether the keys of JSON records are the declared columns in other capitals: those would be NULL without a word.

A key is matched exactly. A column that was declared without quotes is the same name to SQL in any capitals, so its
author hears of a key that is not. A column that was never NULL is watched by the scan itself, at no cost: its first
NULL makes all keys of the batch looked at. Of a column that may be NULL, records all over each batch are looked at,
and all keys of every batch whose number is a power of two.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column, render
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.formats.expressions import call
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.schema import Schema

_KEYS = "keys"
#: Records of a batch that are looked at, and bytes that are read for each.
_SAMPLES, _SAMPLE_BYTES = 8, 16 * 1024
#: The text of a batch is searched up to this size: a search of all costs a seventh of decoding for each column.
_SEARCHED_BYTES_MAX = 64 * 1024


class KeyWatch:
    """`never_null`: the columns whose first NULL the scan must not pass over."""

    def __init__(self, connection: Connection, schema: Schema) -> None:
        self._connection = connection
        self.never_null = frozenset(c.name for c in schema if c.folds)
        self._nullable: dict[str, str] = {}
        self._batches = 0

    def look(self, lines: exp.Select, line: str, origin: str, block: MemoryFile) -> None:
        """Look at a batch: `lines` gives the records of `block` in the column `line`.

        Raises FatalConnectorError E4009 for records that lack a column's key and have it in other capitals.
        """
        self._batches += 1
        if not self._nullable:
            return
        if not self._batches & (self._batches - 1) or self._is_suspect(block):
            self._look_at_all(lines, line, origin, self._nullable.values())

    def let_be_null(self, names: Collection[str], lines: exp.Select, line: str, origin: str) -> None:
        """These columns are NULL in a batch, for the first time: as `look`, at all of its records."""
        self._look_at_all(lines, line, origin, names)
        self.never_null = self.never_null.difference(names)
        self._nullable |= {name.lower(): name for name in names}

    def _is_suspect(self, block: MemoryFile) -> bool:
        if block.length > _SEARCHED_BYTES_MAX:
            return any(map(self._lacks_key, _some_records(block)))
        text = block.read().decode("utf-8", "replace")
        folded = text.lower()
        return any(folded.count(f'"{key}"') > text.count(f'"{name}"') for key, name in self._nullable.items())

    def _lacks_key(self, record: Mapping[str, object]) -> bool:
        """Whether a record has the key of a column in other capitals alone."""
        found = [(key, self._nullable.get(key.lower(), key)) for key in record]
        return any(name != key and name not in record for key, name in found)

    def _look_at_all(self, lines: exp.Select, line: str, origin: str, columns: Collection[str]) -> None:
        keys = exp.select(call("json_keys", column(line)).as_(_KEYS)).from_(lines.subquery("lines"), copy=False)
        read = keys.subquery("read", copy=False)
        counted = exp.select(column(_KEYS), exp.Count(this=exp.Star())).from_(read, copy=False)
        found = self._connection.rows(render(counted.group_by(_KEYS, copy=False), copy=False))
        shapes = {tuple(map(str, names)): int(str(count)) for names, count in found if isinstance(names, list)}
        for name in columns:
            others = {key for shape in shapes for key in shape if key != name and key.lower() == name.lower()}
            for key in sorted(others):
                _require_beside(name, key, shapes, origin)


def _some_records(block: MemoryFile) -> Iterator[Mapping[str, object]]:
    """Objects from all over a large block, the last one among them."""
    last = block.length - _SAMPLE_BYTES
    # The first line of what is read from the middle is the end of one.
    pieces = (block.read(at := last * place // _SAMPLES, at + _SAMPLE_BYTES) for place in range(_SAMPLES))
    chosen = [line for piece in pieces for line in piece.split(b"\n", 2)[1:2]]
    for line in [*chosen, *block.read(last).splitlines()[-1:]]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # Cut off, or one that fails.
        if isinstance(record, dict):
            yield record


def _require_beside(name: str, key: str, shapes: Mapping[tuple[str, ...], int], origin: str) -> None:
    """No record may have the key in other capitals alone. `shapes` are lists of keys and how many records have them."""
    alone = sum(count for shape, count in shapes.items() if key in shape and name not in shape)
    if not alone:
        return
    somewhere = any(name in shape for shape in shapes)
    those = "1 record has" if alone == 1 else f"{alone} records have"
    whose = f"{those} only" if somewhere else "no record has it, but there is"
    raise FatalConnectorError(
        f'{origin}: the column {name} reads the key "{name}"; {whose} "{key}"',
        "E4009",
        f'declare the column as "{key}"; or quote it, "{name}", if it may be NULL in these records',
    )
