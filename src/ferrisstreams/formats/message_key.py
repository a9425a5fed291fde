"""The key of a message as text: how the columns of a row are written in it, and read from it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.formats.expressions import alias, both, call, data_type, select_from, text
from ferrisstreams.formats.json_columns import Form, json_columns
from ferrisstreams.formats.json_marks import marked
from ferrisstreams.formats.json_text import JsonLinesEncoder, json_text
from ferrisstreams.formats.nested import CONTAINERS
from ferrisstreams.formats.reading import RAW
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.schema import Column, Schema

_TEXTS = (exp.DType.TEXT, exp.DType.VARCHAR)
#: In Debezium's envelope the key is a part of the object, unless a column is called so.
_PAYLOAD = "payload"
#: Names that no column can have by accident: with a control character.
_OBJECT, _MARKED, _READ = "_object\x7f", "_marked\x7f", "_read\x7f"


def key_text(columns: Sequence[Column]) -> exp.Expression:
    """The message key of a row: a single text column as it is, NULL for no key; anything else as JSON."""
    if len(columns) > 1:
        return JsonLinesEncoder().line(Schema(tuple(columns)))
    value, kind = column(columns[0].name), data_type(columns[0].type)
    if kind.this in _TEXTS:
        return value
    return exp.Case().when(exp.not_(value.copy().is_(exp.null())), json_text(kind, value))


class KeyReader:
    """Reads the columns of a table's key from message keys: from an object, or, of a single column, from its text."""

    def __init__(self, columns: Sequence[Column], settings: DecodeSettings, connection: Connection) -> None:
        self._columns = columns
        self._texts = [data_type(column.type).this in _TEXTS for column in columns]
        self._holds_objects = data_type(columns[0].type).this in (*CONTAINERS, exp.DType.JSON)
        # Under names of their own, as they stand beside the columns of the record.
        own = tuple(replace(c, name=self.value(place).name, nullable=True) for place, c in enumerate(columns))
        named = replace(settings, event_time=None, format="json")
        self._reads = json_columns(Schema(own), named, connection)

    @staticmethod
    def value(place: int) -> exp.Column:
        """What was read for the column at this place; NULL where that cannot be read as one."""
        return column(f"_key{place}\x7f")

    def names(self, place: int) -> exp.Expr:
        """Whether the message key says something of the column at this place."""
        kind = call("json_type", column(_OBJECT), text(_pointer(self._columns[place].name)))
        return exp.func("COALESCE", kind.neq(text("NULL")), exp.false())

    def add_values(self, rows: exp.Select, key: exp.Expr, wanted: exp.Expr) -> exp.Select:
        """The rows with `value` of each column, where it is `wanted`; `key` is the text of their message key."""
        asked = exp.Case(ifs=[exp.If(this=wanted, true=self._object(key))])
        rows = select_from(rows, "rows", exp.Star(), alias(exp.cast(asked, "JSON"), _OBJECT))
        rows = select_from(rows, "rows", exp.Star(), alias(marked(column(_OBJECT)), _MARKED))
        shape = {c.name: r.raw_type(Form.EXACT) for c, r in zip(self._columns, self._reads, strict=True)}
        read = call("from_json", column(_MARKED), text(json.dumps(shape, ensure_ascii=False)))
        rows = select_from(rows, "rows", exp.Star(), alias(read, _READ))
        raws = [
            alias(call("struct_extract", column(_READ), text(c.name)), r.name)
            for c, r in zip(self._columns, self._reads, strict=True)
        ]
        rows = select_from(rows, "rows", exp.Star(), *raws)
        early = [alias(found, r.early_name) for r in self._reads if (found := r.early(Form.EXACT)) is not None]
        if early:
            rows = select_from(rows, RAW, exp.Star(), *early)
        values = []
        for read_column in self._reads:
            failed, value = read_column.failure(Form.EXACT), read_column.value(Form.EXACT)
            sound = value if failed is None else exp.Case(ifs=[exp.If(this=failed, true=exp.null())], default=value)
            values.append(alias(sound, read_column.name))
        return select_from(rows, RAW, exp.Star(replace=values))

    def _object(self, key: exp.Expr) -> exp.Expr:
        """The message key as an object of columns; NULL where it is none and there are several."""
        valid = call("json_valid", key.copy())
        found: exp.Expr = key.copy()
        if all(c.name != _PAYLOAD for c in self._columns):
            inside = call("json_type", key.copy(), text("$.payload")).eq(text("OBJECT"))
            payload = exp.cast(call("json_extract", key.copy(), text("$.payload")), "VARCHAR")
            found = exp.Case(ifs=[exp.If(this=inside, true=payload)], default=found)
        is_object = both(call("starts_with", call("ltrim", key.copy()), text("{")), valid)
        if len(self._columns) > 1:
            return exp.Case(ifs=[exp.If(this=is_object, true=found)])
        name = text("{" + json.dumps(self._columns[0].name, ensure_ascii=False) + ":")
        quoted = call("concat", name, exp.cast(call("to_json", key.copy()), "VARCHAR"), text("}"))
        plain: exp.Expr = quoted
        if not self._texts[0]:
            bare = call("concat", name.copy(), key.copy(), text("}"))
            # An object of other columns says nothing of this one, unless the column holds objects.
            other = [] if self._holds_objects else [exp.If(this=is_object.copy(), true=exp.null())]
            plain = exp.Case(ifs=[*other, exp.If(this=valid.copy(), true=bare)], default=quoted)
        named = call("json_type", found.copy(), text(_pointer(self._columns[0].name)))
        has_column = exp.Case(ifs=[exp.If(this=is_object, true=exp.not_(named.is_(exp.null())))], default=exp.false())
        return exp.Case(ifs=[exp.If(this=has_column, true=found)], default=plain)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
