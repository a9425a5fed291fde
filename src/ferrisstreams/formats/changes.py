"""How the records of a table's source say what becomes of a row: the ways to write changes, as relations.

Each makes, of records as they are decoded, rows of the table's columns with `_deleted`, and what the checks ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, column
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.expressions import alias, both, call, data_type, either, select_from, text
from ferrisstreams.formats.nested import struct_fields
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.plan.nodes import DELETED, REPEATED
from ferrisstreams.schema import Column, Schema

#: Beside a record of a message: its key as text, and whether it has no value.
KEY, NO_VALUE = "_message_key\x7f", "_no_value\x7f"
#: Beside a row: what its record calls the change (NULL: it does not say); whether the record has no row, so that its
#: message key must say which goes.
OP, WITHOUT_ROW = "_op\x7f", "_without_row\x7f"

_NAMELESS = "a message without a value deletes a row, and its key does not say which"
_NEW_ROWS, _DELETE = ("c", "r", "u"), "d"


@dataclass(frozen=True, slots=True)
class ChangeFault:
    """A condition over rows that is true for a record that says no change; `said` gets its op, message key and row."""

    condition: exp.Expr
    code: str
    said: Callable[[str, str, str], str]


class ChangesForm(Protocol):
    @property
    def schema(self) -> Schema:
        """The columns of a record as it is written."""

    def rows(self, records: exp.Select, of_messages: bool) -> exp.Select:
        """`_row`, the table's columns, `_deleted` (NULL for a record that changes nothing) and `_repeated` (the row of
        another key that the record's row takes the place of), with the columns named above."""

    def faults(self) -> list[ChangeFault]:
        """What is wrong with a record itself."""

    def nameless_delete(self, of_messages: bool) -> str:
        """What is wrong with a record that deletes a row and does not say which."""


def changes_form(schema: Schema, settings: DecodeSettings, with_payload: bool = False) -> ChangesForm:
    """`with_payload`: some records of Debezium's may be the `payload` of an object."""
    match settings.changes:
        case "debezium":
            return _Envelopes(schema, settings.key, with_payload)
        case "retract":
            return _WithOp(schema)
    return _Plain(schema)


def columns_in_envelopes(found: Schema, connection: Connection) -> Schema:
    """The columns of the rows in Debezium's records, which have the columns `found`; none where these are no such."""
    parts = {c.name: c.type for c in found}
    if _PAYLOAD in parts:
        parts = {name: kind.sql("duckdb") for name, kind in _struct_fields(parts[_PAYLOAD])}
    rows = (_struct_fields(parts[name]) for name in ("after", "before") if name in parts and "op" in parts)
    nulls = [
        exp.alias_(exp.Cast(this=exp.null(), to=kind), name, quoted=True) for name, kind in next(filter(None, rows), ())
    ]
    types = connection.types(exp.select(*nulls)) if nulls else []
    return Schema(tuple(Column(name, kind) for name, kind in types))


def _struct_fields(kind: str) -> list[tuple[str, exp.DataType]]:
    tree = data_type(kind)
    return struct_fields(tree) if tree.this == exp.DType.STRUCT else []


def record_of_nulls(schema: Schema, settings: DecodeSettings) -> bytes:
    """A record whose columns are all NULL. Raises ConfigError E3005 where there is no such record."""
    if settings.format == "json":
        return b"{}"
    columns, null = len(changes_form(schema, settings).schema), settings.nulls[0]
    if columns == 1 and not null:
        raise ConfigError(
            "a record of one column in CSV is never NULL: no message could delete a row",
            "E3005",
            "write 'nulls', the text that means NULL; or 'format' = 'json'",
        )
    return settings.delimiter.join([null] * columns).encode()


class _Plain:
    """Each record is the new row of its key."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def rows(self, records: exp.Select, of_messages: bool) -> exp.Select:
        return _rows(self.schema, records, of_messages, exp.cast(exp.null(), "VARCHAR"), _no_value(of_messages))

    def faults(self) -> list[ChangeFault]:
        return []

    def nameless_delete(self, of_messages: bool) -> str:
        return _NAMELESS


class _WithOp:
    """Records have an `op` as our own sinks write it: `+I` and `+U` are new rows, `-D` deletes one, and `-U`, the row
    that the next record replaces, changes nothing."""

    def __init__(self, schema: Schema) -> None:
        self._columns = schema
        self.schema = Schema((Column("op", "VARCHAR"), *schema.columns))

    def rows(self, records: exp.Select, of_messages: bool) -> exp.Select:
        op = column("op")
        ifs = [exp.If(this=op.copy().eq(text("-U")), true=exp.null())]
        deleted = exp.Case(ifs=ifs, default=exp.func("COALESCE", op.copy().eq(text("-D")), _no_value(of_messages)))
        return _rows(self._columns, records, of_messages, op, deleted)

    def faults(self) -> list[ChangeFault]:
        known = ("+I", "+U", "-U", "-D")
        return [_unknown_op(known)]

    def nameless_delete(self, of_messages: bool) -> str:
        return _NAMELESS


class _Envelopes:
    """Debezium's objects of `before`, `after` and `op`, by themselves or as the `payload` of an object.

    An update whose `before` has another key takes the place of that row as well: it is two rows.
    """

    def __init__(self, schema: Schema, key: tuple[str, ...], with_payload: bool) -> None:
        self._columns = schema
        self._key = key
        fields = ", ".join(f"{exp.to_identifier(c.name, quoted=True).sql('duckdb')} {c.type}" for c in schema)
        parts = {"op": "VARCHAR", "before": f"STRUCT({fields})", "after": f"STRUCT({fields})"}
        inside = ", ".join(f'"{name}" {kind}' for name, kind in parts.items())
        self._payload = [Column(_PAYLOAD, f"STRUCT({inside})")] if with_payload else []
        self.schema = Schema((*(Column(name, kind) for name, kind in parts.items()), *self._payload))

    def rows(self, records: exp.Select, of_messages: bool) -> exp.Select:
        beside = [column(KEY), column(NO_VALUE)] if of_messages else []
        parts: list[exp.Expr] = [column(name) for name in _PARTS]
        if self._payload:
            parts = [alias(exp.func("COALESCE", column(n), _field(column(_PAYLOAD), n)), n) for n in _PARTS]
        rows = select_from(records, "records", column(ROW), *beside, *parts)
        moved = both(column("op").isin(*map(text, _NEW_ROWS)), either(*map(_moves, self._key)))
        lists = exp.Case(
            ifs=[exp.If(this=moved, true=exp.array(exp.true(), exp.false()))], default=exp.array(exp.false())
        )
        rows = select_from(rows, "records", exp.Star(), alias(call("unnest", lists), REPEATED))
        gone = [column(REPEATED), exp.func("COALESCE", column("op").eq(text(_DELETE)), exp.false())]
        deleted = either(*gone, *([column(NO_VALUE)] if of_messages else []))
        rows = select_from(rows, "records", exp.Star(), alias(deleted, DELETED))
        image = exp.Case(ifs=[exp.If(this=column(DELETED), true=column("before"))], default=column("after"))
        rows = select_from(rows, "records", exp.Star(), alias(image, _IMAGE))
        values = [alias(_field(column(_IMAGE), c.name), c.name) for c in self._columns]
        without = alias(column(_IMAGE).is_(exp.null()), WITHOUT_ROW)
        kept = [column(ROW), *beside, column(REPEATED), column(DELETED), alias(column("op"), OP), without]
        # The columns of the table may be called like the parts.
        return select_from(rows, "records", *kept, *values)

    def faults(self) -> list[ChangeFault]:
        new = both(column(OP).isin(*map(text, _NEW_ROWS)), column(WITHOUT_ROW))
        lacks = ChangeFault(new, "E2105", lambda op, *_: f'"after" is missing or null, but op is {op}')
        return [_unknown_op((*_NEW_ROWS, _DELETE)), lacks]

    def nameless_delete(self, of_messages: bool) -> str:
        beside = ", and the message key does not either" if of_messages else ""
        return f'"before" does not say which row is deleted{beside}'


_PARTS, _PAYLOAD, _IMAGE = ("op", "before", "after"), "payload", "_image\x7f"


def _rows(columns: Schema, records: exp.Select, of_messages: bool, op: exp.Expr, deleted: exp.Expr) -> exp.Select:
    beside = [column(KEY), column(NO_VALUE)] if of_messages else []
    said = [
        alias(op, OP),
        alias(deleted, DELETED),
        alias(exp.false(), REPEATED),
        alias(_no_value(of_messages), WITHOUT_ROW),
    ]
    return select_from(records, "records", column(ROW), *beside, *said, *(column(c.name) for c in columns))


def _no_value(of_messages: bool) -> exp.Expr:
    return column(NO_VALUE) if of_messages else exp.false()


def _unknown_op(known: tuple[str, ...]) -> ChangeFault:
    """A record without a value has no op either."""
    unknown = exp.not_(exp.func("COALESCE", column(OP).isin(*map(text, known)), exp.false()))
    tombstone = both(column(OP).is_(exp.null()), column(WITHOUT_ROW), column(DELETED))
    condition = both(unknown, exp.not_(tombstone))
    return ChangeFault(condition, "E2104", lambda op, *_: f'column "op": {op} is not one of {", ".join(known)}')


def _moves(name: str) -> exp.Expr:
    """Whether the value of a column of the key is another one than before."""
    differs = _field(column("before"), name).neq(_field(column("after"), name))
    return exp.func("COALESCE", differs, exp.false())


def _field(value: exp.Expr, name: str) -> exp.Expr:
    return call("struct_extract", value, text(name))
