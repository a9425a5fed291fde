"""Whether the keys of JSON records are the declared columns in other capitals: those would be NULL without a word.

A key is matched exactly. A column that was declared without quotes is the same name to SQL in any capitals, so its
author is told of a key that is not. All keys of a batch are looked at: of the first one, and then of every one whose
number is a power of two, so that it costs nothing in the long run.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.formats.expressions import call
from ferrisstreams.schema import Schema

_KEYS = "keys"


class KeyWatch:
    def __init__(self, connection: Connection, schema: Schema) -> None:
        self._connection = connection
        self._names = schema.names
        self._folding = [c.name for c in schema if c.folds]
        self._batches = 0

    def look(self, lines: exp.Select, line: str, origin: str) -> None:
        """Look at a batch: `lines` gives its records in the column `line`.

        Raises FatalConnectorError E4009 for records that lack a column's key and have it in other capitals.
        """
        self._batches += 1
        if not self._folding or self._batches & (self._batches - 1):
            return
        keys = exp.select(call("json_keys", column(line)).as_(_KEYS)).from_(lines.subquery("lines"))
        counted = exp.select(column(_KEYS), exp.Count(this=exp.Star())).from_(keys.subquery("read")).group_by(_KEYS)
        found = self._connection.rows(counted)
        shapes = {tuple(map(str, names)): int(str(count)) for names, count in found if isinstance(names, list)}
        for name in self._folding:
            others = {key for shape in shapes for key in shape if key != name and key.lower() == name.lower()}
            for key in sorted(others.difference(self._names)):
                _require_beside(name, key, shapes, origin)


def _require_beside(name: str, key: str, shapes: Mapping[tuple[str, ...], int], origin: str) -> None:
    """No record may have the key in other capitals alone. `shapes` are lists of keys and how many records have them."""
    alone = sum(count for shape, count in shapes.items() if key in shape and name not in shape)
    if not alone:
        return
    somewhere = any(name in shape for shape in shapes)
    whose = f"{alone} records have only" if somewhere else "no record has it, but there is"
    raise FatalConnectorError(
        f'{origin}: the column {name} reads the key "{name}"; {whose} "{key}"',
        "E4009",
        f'declare the column as "{key}"; or quote it, "{name}", if it may be NULL in these records',
    )
