"""The records of a table: rows with `_deleted`, which says that the row of the key goes, and `_repeated`.

    record ──▶ decoder of its format ──▶ changes: the row, and what becomes of it ──▶ message key ──▶ checks

A record is the new row of its key, or an object of Debezium's, or it has an `op` beside the columns. A message without
a value deletes the row that its key names.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, Messages, RawRecord, Rejected, integer
from ferrisstreams.duck.engine import Engine, arrow_table, column, render
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.base import ROW, Decoder
from ferrisstreams.formats.changes import KEY, NO_VALUE, OP, WITHOUT_ROW, ChangesForm, changes_form
from ferrisstreams.formats.diagnosis import Fault, create_table, shortened, undecoded
from ferrisstreams.formats.expressions import alias, both, call, either, number, select_from
from ferrisstreams.formats.message_key import KeyReader, key_text
from ferrisstreams.formats.reading import fetched_block
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.plan.nodes import DELETED, REPEATED
from ferrisstreams.schema import Column, Schema

_FAULT = "_fault\x7f"
#: Scans whose statements are kept.
_SCANS_KEPT = 8
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class _Check:
    """What fails a record: a condition over its changes, the code, and what it says of `op`, message key and row."""

    condition: exp.Expr
    code: str
    said: Callable[[str, str, str], str]


@dataclass(frozen=True, slots=True)
class _Way:
    """How records are read. `checks` are those of lines, and those of messages."""

    form: ChangesForm
    decoder: Decoder
    checks: tuple[list[_Check], ...]


class TableDecoder:
    """`inner` makes the decoder of the records as they are written."""

    def __init__(
        self,
        engine: Engine,
        schema: Schema,
        settings: DecodeSettings,
        inner: Callable[[Schema, DecodeSettings], Decoder],
    ) -> None:
        if settings.changes == "debezium" and settings.format != "json":
            raise ConfigError("Debezium's records are JSON, and this source has none", "E3005", "leave 'changelog' out")
        if settings.changes == "debezium" and settings.event_time_format is not None:
            raise ConfigError(
                "'event.time.format' of Debezium's records: all their times are written alike",
                "E3005",
                "write 'timestamp.format'",
            )
        self._schema = schema
        self._keys = [next(c for c in schema if c.name == name) for name in settings.key]
        self._settings = settings
        self._make = inner
        self._ways: dict[bool, _Way] = {}
        self._reader = KeyReader(self._keys, settings, engine.work)
        self._connection = engine.work
        count = next(_numbers)
        self._beside, self._judged, self._good = (f"_table_{part}_{count}" for part in ("keys", "judged", "good"))
        self._scans: list[tuple[exp.Select, bool, exp.Select]] = []
        self._way_of(False)  # A type that cannot be read is refused before anything is.

    def scan(self, fetch: Fetch) -> exp.Select:
        way = self._way(fetch)
        records = way.decoder.scan(fetch)
        of_messages = fetch.messages is not None
        if fetch.messages is not None:
            self._register(fetch.messages)
        for known, kind, made in self._scans:
            if known is records and kind is of_messages:
                return made
        raises = exp.cast(call("error", exp.cast(column(_FAULT), "VARCHAR")), "BOOLEAN")
        sound = exp.Case(ifs=[exp.If(this=column(_FAULT).is_(exp.null()), true=exp.true())], default=raises)
        rows = self._faults(way, self._with_keys(records, "POSITIONAL") if of_messages else records, of_messages)
        made = select_from(rows, "rows", *self._columns()).where(sound, copy=False)
        self._scans = [*self._scans[1 - _SCANS_KEPT :], (records, of_messages, made)]
        return made

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        way = self._way(fetch)
        found = way.decoder.diagnose(fetch)
        records, of_messages = exp.select("*").from_(found.relation), fetch.messages is not None
        if fetch.messages is not None:
            self._register(fetch.messages)
            records = self._with_keys(records, "")
        judged = create_table(
            self._judged, self._faults(way, records, of_messages).order_by(ROW, column(DELETED).desc())
        )
        self._connection.execute(render(judged))
        good = exp.select(*self._columns()).from_(self._judged).where(column(_FAULT).is_(exp.null()))
        self._connection.execute(render(create_table(self._good, good)))
        failed = self._failed(way, fetch)
        return Diagnosis(self._good, sorted([*found.rejected, *failed], key=lambda rejected: rejected.row))

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        return self._way(fetch).decoder.raw(fetch, rows)

    # --- private ----------------------------------------------------------------------------------------------------

    def _way(self, fetch: Fetch) -> _Way:
        """Looking for a payload in every record costs twice as much where there is none."""
        return self._way_of(self._settings.changes == "debezium" and fetched_block(fetch).holds(b'"payload"'))

    def _way_of(self, with_payload: bool) -> _Way:
        if with_payload not in self._ways:
            form = changes_form(self._schema, self._settings, with_payload)
            decoder = self._make(form.schema, replace(self._settings, key=(), changes=None, lacking=True))
            checks = tuple(self._possible(form, of_messages) for of_messages in (False, True))
            self._ways[with_payload] = _Way(form, decoder, checks)
        return self._ways[with_payload]

    def _columns(self) -> list[exp.Expr]:
        return [column(ROW), *(column(c.name) for c in self._schema), column(DELETED), column(REPEATED)]

    def _register(self, messages: Messages) -> None:
        keys = messages.keys()
        gone = [0] * len(keys)
        for row in messages.gone:
            gone[row] = 1
        values = {ROW: ("int64", range(len(keys))), KEY: ("binary", keys), NO_VALUE: ("int64", gone)}
        self._connection.register(self._beside, arrow_table(values))

    def _with_keys(self, records: exp.Select, method: str) -> exp.Select:
        """The records beside the keys of their messages: one by one, or, without a method, by their ordinals."""
        no_value = alias(column(NO_VALUE).eq(number(1)), NO_VALUE)
        rows: list[exp.Expr] = [] if method else [alias(column(ROW), "_message\x7f")]
        # Bytes that are no text stand as the engine shows them.
        decoded = exp.func("COALESCE", exp.Try(this=call("decode", column(KEY))), exp.cast(column(KEY), "VARCHAR"))
        keys = exp.select(*rows, alias(decoded, KEY), no_value).from_(self._beside).subquery("beside")
        made = exp.select("read.*", column(KEY), column(NO_VALUE)).from_(records.subquery("read"))
        if method:
            made.append("joins", exp.Join(this=keys, method=method))
            return made
        return made.join(keys, on=column("_message\x7f").eq(column(ROW, "read")))

    def _faults(self, way: _Way, records: exp.Select, of_messages: bool) -> exp.Select:
        """The rows that the records are about, with what is wrong with them."""
        rows = way.form.rows(records, of_messages)
        if of_messages:
            key, own = column(KEY), key_text(self._keys)
            same = exp.func("COALESCE", key.copy().eq(own), exp.false())
            wanted = both(exp.not_(key.copy().is_(exp.null())), exp.not_(same), exp.not_(column(REPEATED)))
            rows = self._reader.add_values(rows, key, wanted)
            filled = [
                alias(exp.func("COALESCE", column(c.name), self._reader.value(place)), c.name)
                for place, c in enumerate(self._keys)
            ]
            rows = select_from(rows, "rows", exp.Star(replace=filled))
        checks = way.checks[of_messages]
        cases = [exp.If(this=check.condition.copy(), true=number(place)) for place, check in enumerate(checks)]
        return select_from(rows, "rows", exp.Star(), alias(exp.Case(ifs=cases), _FAULT))

    def _possible(self, form: ChangesForm, of_messages: bool) -> list[_Check]:
        """What can be wrong with a record, in the order in which it is asked."""
        checks = [_Check(fault.condition, fault.code, fault.said) for fault in form.faults()]
        missing = either(*(column(c.name).is_(exp.null()) for c in self._keys))
        nothing_named = both(missing, column(WITHOUT_ROW), column(DELETED).copy())
        checks.append(_Check(nothing_named, "E2111", lambda *_: form.nameless_delete(of_messages)))
        for place, c in enumerate(self._keys):
            if of_messages:
                other = exp.NullSafeNEQ(this=self._reader.value(place), expression=column(c.name))
                checks.append(_Check(both(self._reader.names(place), other), "E2111", _other_key))
            checks.append(_Check(column(c.name).is_(exp.null()), "E2111", _missing(c, "it is in the PRIMARY KEY")))
        stays = exp.func("COALESCE", exp.not_(column(DELETED)), exp.false())
        for c in self._schema:
            if c in self._keys or (c.nullable and c.name != self._settings.event_time):
                continue
            timed = c.name == self._settings.event_time
            why = "it is the event time" if timed else "it is declared NOT NULL"
            lacks = both(stays.copy(), column(c.name).is_(exp.null()))
            checks.append(_Check(lacks, "E2109" if timed else "E2105", _missing(c, why)))
        return checks

    def _failed(self, way: _Way, fetch: Fetch) -> list[Rejected]:
        checks = way.checks[fetch.messages is not None]
        key: exp.Expr = column(KEY) if fetch.messages is not None else exp.null()
        shown = [exp.cast(each, "VARCHAR") for each in (column(OP), key, key_text(self._keys))]
        query = exp.select(column(ROW), column(_FAULT), *shown).from_(self._judged)
        found = self._connection.rows(query.where(exp.not_(column(_FAULT).is_(exp.null()))).order_by(ROW))
        # The old and the new row of one record can both fail; it is one record.
        failing = {integer(row): (checks[integer(fault)], said) for row, fault, *said in reversed(found)}
        rows = sorted(failing)
        records = way.decoder.raw(fetch, rows)
        return [
            undecoded(fetch, row, Fault(check.code, check.said(*(shortened(str(text)) for text in said))), record)
            for (check, said), row, record in zip((failing[row] for row in rows), rows, records, strict=True)
        ]


def _missing(c: Column, why: str) -> Callable[[str, str, str], str]:
    return lambda *_: f'column "{c.name}" is missing or null, but {why}'


def _other_key(_op: str, key: str, row: str) -> str:
    return f"the message key {key} is not that of the row, {row}"
