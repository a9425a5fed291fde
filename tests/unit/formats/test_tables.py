"""The records of tables: what becomes of the row of a key, in files and in messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import pytest
from sqlglot import exp

from ferrisstreams.batch import Fetch, Headers, RawRecord, Rejected
from ferrisstreams.duck.engine import DataError
from ferrisstreams.errors import ConfigError, SqlError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.changes import record_of_nulls
from ferrisstreams.formats.message_key import key_text
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.plan.nodes import DELETED, REPEATED
from ferrisstreams.schema import Schema
from tests.unit.formats.conftest import Bench, schema

PLAIN = DecodeSettings("json", key=("id",))
OPS = replace(PLAIN, changes="retract")
DEBEZIUM = replace(PLAIN, changes="debezium")
_NAMELESS = "a message without a value deletes a row, and its key does not say which"
USERS = schema(id="INTEGER NOT NULL", name="VARCHAR")


@dataclass(frozen=True)
class Messages:
    """Messages as a source gives them that was told what stands for no value: key and value of each."""

    records: Sequence[tuple[str | None, str | None]]
    stand_in: bytes
    value_bytes_max: int = 1 << 20

    def __len__(self) -> int:
        return len(self.records)

    @property
    def values(self) -> list[bytes]:
        return [self.stand_in if value is None else value.encode() for _, value in self.records]

    @property
    def gone(self) -> list[int]:
        return [row for row, (_, value) in enumerate(self.records) if value is None]

    @property
    def joined(self) -> bytes:
        return b"".join(value + b"\n" for value in self.values)

    @property
    def single_lines(self) -> bool:
        return all(b"\n" not in value for value in self.values)

    def record(self, row: int) -> RawRecord:
        key, value = self.records[row]
        return RawRecord(None if value is None else value.encode(), row, f"t-0 offset {row}", key and key.encode())

    def has_keys(self) -> bool:
        return True

    def has_headers(self) -> bool:
        return False

    def keys(self) -> list[bytes | None]:
        return [None if key is None else key.encode() for key, _ in self.records]

    def offsets(self) -> list[int]:
        return list(range(len(self)))

    def timestamps_ms(self) -> list[int | None]:
        return [0] * len(self)

    def headers(self) -> list[Headers]:
        return [()] * len(self)


Row = tuple[object, ...]


def _read(bench: Bench, columns: Schema, settings: DecodeSettings, fetch: Fetch) -> tuple[list[Row], list[Rejected]]:
    """The rows with what becomes of them, in front; and what failed. Decoded twice: later scans may take other ways."""
    decoder = bench.decoder(columns, settings)
    data = bench.block.read()
    results = []
    for _ in range(2):
        bench.block.write(data)
        rows, rejected = bench.decode(decoder, fetch)
        results.append(([_row(row) for row in rows], rejected))
    assert results[0] == results[1]
    return results[0]


def _row(found: dict[str, object]) -> Row:
    """What is said of a repeated row is that it is deleted."""
    repeated, deleted = found.pop(REPEATED), found.pop(DELETED)
    assert deleted or not repeated
    return (deleted, *found.values())


def _file(
    bench: Bench, settings: DecodeSettings, *records: object, columns: Schema = USERS
) -> tuple[list[Row], list[str]]:
    data = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in records)
    rows, rejected = _read(bench, columns, settings, bench.fetch(data.encode()))
    return rows, [f"{one.position}: {one.code} {one.message}" for one in rejected]


def _messages(
    bench: Bench, settings: DecodeSettings, *records: tuple[str | None, object], columns: Schema = USERS
) -> tuple[list[Row], list[str]]:
    texts = [(key, value if value is None or isinstance(value, str) else json.dumps(value)) for key, value in records]
    messages = Messages(texts, record_of_nulls(columns, settings))
    fetch = replace(bench.fetch(messages.joined), messages=messages)
    rows, rejected = _read(bench, columns, settings, fetch)
    for one in rejected:
        value = texts[one.row][1]
        assert one.value == (None if value is None else value.encode())
    return rows, [f"{one.position}: {one.code} {one.message}" for one in rejected]


def test_each_record_of_a_file_is_a_new_row(bench: Bench) -> None:
    rows, failed = _file(bench, PLAIN, {"id": 1, "name": "a"}, {"name": "b"}, {"id": None}, {"id": "x"}, {"id": 1})
    assert rows == [(False, 1, "a"), (False, 1, None)]
    assert failed == [
        'file byte 23: E2111 column "id" is missing or null, but it is in the PRIMARY KEY',
        'file byte 37: E2111 column "id" is missing or null, but it is in the PRIMARY KEY',
        'file byte 50: E2104 column "id": "x" is not of type INTEGER',
    ]


def test_columns_of_a_row_that_stays_are_checked(bench: Bench) -> None:
    columns = schema(id="INTEGER NOT NULL", name="VARCHAR NOT NULL", ts="TIMESTAMP")
    settings = replace(PLAIN, event_time="ts")
    at = "2024-01-01T00:00:00Z"
    rows, failed = _messages(
        bench,
        settings,
        ("1", {"id": 1, "name": "a", "ts": at}),
        ("2", {"id": 2, "ts": at}),
        ("3", {"id": 3, "name": "c"}),
        ("4", None),
        columns=columns,
    )
    assert rows == [(False, 1, "a", datetime(2024, 1, 1)), (True, 4, None, None)]
    assert failed == [
        't-0 offset 1: E2105 column "name" is missing or null, but it is declared NOT NULL',
        't-0 offset 2: E2109 column "ts" is missing or null, but it is the event time',
    ]


def test_csv_is_read_like_json(bench: Bench) -> None:
    settings = DecodeSettings("csv", key=("id",), header=False, nulls=("-",))
    assert _file(bench, settings, "1,a", "-,b", "2,-") == (
        [(False, 1, "a"), (False, 2, None)],
        ['file byte 4: E2111 column "id" is missing or null, but it is in the PRIMARY KEY'],
    )
    rows, failed = _messages(bench, settings, ("1", "1,a"), ("7", None), (None, None), ("2", "-,b"))
    assert rows == [(False, 1, "a"), (True, 7, None), (False, 2, "b")]
    assert failed == [f"t-0 offset 2: E2111 {_NAMELESS}"]


def test_a_record_of_one_column_in_csv_deletes_nothing() -> None:
    columns, settings = schema(id="INTEGER NOT NULL"), DecodeSettings("csv", key=("id",), header=False)
    with pytest.raises(ConfigError, match="no message could delete a row"):
        record_of_nulls(columns, settings)
    assert record_of_nulls(columns, replace(settings, nulls=("x",))) == b"x"


def test_a_message_key_that_is_a_number(bench: Bench) -> None:
    rows, failed = _messages(
        bench,
        PLAIN,
        ("1", {"id": 1, "name": "a"}),
        (None, {"id": 2, "name": "b"}),
        ("3", {"name": "c"}),
        ('{"id": 4}', {"name": "d"}),
        ("5", {"id": 6, "name": "e"}),
        ("x", {"id": 7}),
        ('{"id": 8}', {"id": 9}),
        ("1.5", None),
        ("10", None),
        ('{"id": 11}', None),
        ('{"no": 1}', None),
        (None, None),
        ("12", '{"id": 12,\n "name": "f"}'),
        ('{"no": 1}', {"id": 13}),
    )
    assert rows == [
        (False, 1, "a"),
        (False, 2, "b"),
        (False, 3, "c"),
        (False, 4, "d"),
        (True, 10, None),
        (True, 11, None),
        (False, 12, "f"),
        (False, 13, None),
    ]
    assert failed == [
        "t-0 offset 4: E2111 the message key 5 is not that of the row, 6",
        "t-0 offset 5: E2111 the message key x is not that of the row, 7",
        't-0 offset 6: E2111 the message key {"id": 8} is not that of the row, 9',
        *(f"t-0 offset {offset}: E2111 {_NAMELESS}" for offset in (7, 10, 11)),
    ]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("VARCHAR", ["a", "", "a b", '"', "é", "12", "[1]"]),
        ("BIGINT", [1, -(2**63), 2**63 - 1]),
        ("HUGEINT", [Decimal(10**30)]),
        ("DECIMAL(30,10)", [Decimal("12345678901234567890.0123456789")]),
        ("DOUBLE", [0.1, 1e300]),
        ("BOOLEAN", [True, False]),
        ("TIMESTAMP", [datetime(2024, 1, 2, 3, 4, 5), datetime(2024, 1, 2, 3, 4, 5, 60)]),
        ("DATE", [datetime(2024, 1, 2).date()]),
        ("TIME", [datetime(2024, 1, 2, 3, 4, 5, 6).time()]),
        ("UUID", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("BLOB", [b"\x00\xff"]),
    ],
)
def test_keys_are_read_as_they_are_written(bench: Bench, kind: str, values: list[object]) -> None:
    work = bench.engine.work
    for names in (("k",), ("k", "a\tb")):
        columns = Schema(tuple(replace(USERS.columns[0], name=name, type=kind) for name in names))
        for value in values:
            given = [exp.alias_(exp.cast(exp.convert(value), kind), name, quoted=True) for name in names]
            if isinstance(value, bytes):
                given = [exp.alias_(exp.cast(exp.Literal.string(r"\x00\xFF"), "BLOB"), n, quoted=True) for n in names]
            key = str(work.rows(exp.select(key_text(columns.columns)).from_(exp.select(*given).subquery("r")))[0][0])
            settings = DecodeSettings("json", key=names)
            rows, failed = _messages(bench, settings, (key, None), columns=columns)
            assert (rows, failed) == ([(True, *[value] * len(names))], [])


def test_a_key_of_several_columns(bench: Bench) -> None:
    columns = schema(a="INTEGER NOT NULL", b="VARCHAR NOT NULL", c="INTEGER")
    settings = DecodeSettings("json", key=("a", "b"))
    rows, failed = _messages(
        bench,
        settings,
        ('{"a":1,"b":"x"}', {"a": 1, "b": "x", "c": 2}),
        ('{"b": "x", "a": 2}', {"c": 3}),
        ('{"a": 3}', {"b": "x"}),
        ("x", {"a": 4, "b": "x"}),
        ('{"a": 5, "b": "y"}', {"a": 5, "b": "x"}),
        ('{"a": 6}', None),
        ('{"a": 7, "b": "z"}', None),
        columns=columns,
    )
    assert rows == [
        (False, 1, "x", 2),
        (False, 2, "x", 3),
        (False, 3, "x", None),
        (False, 4, "x", None),
        (True, 7, "z", None),
    ]
    assert failed == [
        't-0 offset 4: E2111 the message key {"a": 5, "b": "y"} is not that of the row, {"a":5,"b":"x"}',
        f"t-0 offset 5: E2111 {_NAMELESS}",
    ]


def test_ops_as_our_own_sink_writes_them(bench: Bench) -> None:
    rows, failed = _file(
        bench,
        OPS,
        {"op": "+I", "id": 1, "name": "a"},
        {"op": "-U", "id": 1, "name": "a"},
        {"op": "+U", "id": 1, "name": "b"},
        {"op": "-D", "id": 1, "name": "b"},
        {"op": "d", "id": 2},
        {"id": 3},
        {"op": "-D", "name": "b"},
    )
    assert rows == [(False, 1, "a"), (None, 1, "a"), (False, 1, "b"), (True, 1, "b")]
    assert [one.partition(": ")[2] for one in failed] == [
        'E2104 column "op": d is not one of +I, +U, -U, -D',
        'E2104 column "op": None is not one of +I, +U, -U, -D',
        'E2111 column "id" is missing or null, but it is in the PRIMARY KEY',
    ]


def test_ops_in_csv(bench: Bench) -> None:
    settings = replace(OPS, format="csv")
    data = b"+I,1,a\n-U,1,a\n+U,1,b\n-D,1,b\n"
    rows, failed = _read(bench, USERS, settings, bench.fetch(data, header=b"op,id,name"))
    assert rows == [(False, 1, "a"), (None, 1, "a"), (False, 1, "b"), (True, 1, "b")]
    assert not failed


def _change(op: str, before: object = None, after: object = None) -> dict[str, object]:
    return {"before": before, "after": after, "source": {"table": "users"}, "op": op, "ts_ms": 1}


@pytest.mark.parametrize("enveloped", [False, True])
def test_changes_of_debezium_are_rows_and_deletes(bench: Bench, enveloped: bool) -> None:
    a, b, c = ({"id": 1, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"})
    changes = [
        _change("c", None, a),
        _change("u", a, b),
        _change("u", None, b),
        _change("r", None, c),
        _change("u", b, c),
        _change("d", c),
        _change("d"),
        _change("t"),
        _change("c"),
        _change("c", None, {"name": "x"}),
        _change("d", {"name": "x"}),
        {},
    ]
    given = [{"schema": {"type": "struct"}, "payload": change} for change in changes] if enveloped else changes
    rows, failed = _file(bench, DEBEZIUM, *given)
    assert rows == [
        (False, 1, "a"),
        (False, 1, "b"),
        (False, 1, "b"),
        (False, 2, "c"),
        (True, 1, "b"),
        (False, 2, "c"),
        (True, 2, "c"),
    ]
    assert [one.partition(": ")[2] for one in failed] == [
        'E2111 "before" does not say which row is deleted',
        'E2104 column "op": t is not one of c, r, u, d',
        'E2105 "after" is missing or null, but op is c',
        'E2111 column "id" is missing or null, but it is in the PRIMARY KEY',
        'E2111 column "id" is missing or null, but it is in the PRIMARY KEY',
        'E2104 column "op": None is not one of c, r, u, d',
    ]


def test_debezium_in_messages(bench: Bench) -> None:
    a, b = {"id": 1, "name": "a"}, {"id": 2, "name": "b"}
    key = json.dumps({"schema": {}, "payload": {"id": 1}})
    rows, failed = _messages(
        bench,
        DEBEZIUM,
        (key, _change("c", None, a)),
        (key, _change("d", a)),
        (key, None),
        ('{"id": 1}', _change("d")),
        ("2", _change("u", a, b)),
        (key, _change("c", None, b)),
        (None, _change("d")),
        ("3", _change("c", None, {"name": "c"})),
        (None, None),
    )
    assert rows == [
        (False, 1, "a"),
        (True, 1, "a"),
        (True, 1, None),
        (True, 1, None),
        (True, 1, "a"),
        (False, 2, "b"),
        (False, 3, "c"),
    ]
    assert failed == [
        f"t-0 offset 5: E2111 the message key {key} is not that of the row, 2",
        't-0 offset 6: E2111 "before" does not say which row is deleted, and the message key does not either',
        't-0 offset 8: E2111 "before" does not say which row is deleted, and the message key does not either',
    ]


def test_columns_may_be_called_like_the_parts_of_a_change(bench: Bench) -> None:
    columns = schema(op="INTEGER NOT NULL", before="VARCHAR", payload="VARCHAR", after="DECIMAL(20,5)")
    row = '{"op": 1, "before": "x", "payload": "y", "after": 123456789012345.12345}'
    given = f'{{"op": "c", "before": null, "after": {row}}}'
    settings = replace(DEBEZIUM, key=("op",))
    assert _file(bench, settings, given, columns=columns) == (
        [(False, 1, "x", "y", Decimal("123456789012345.12345"))],
        [],
    )
    assert _messages(bench, settings, ("1", given), ("2", None), columns=columns)[0][1] == (True, 2, None, None, None)


def test_times_of_debezium_are_written_alike(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"event\.time\.format"):
        bench.decoder(USERS, replace(DEBEZIUM, event_time_format="epoch_millis"))


def test_a_type_that_cannot_be_read_is_refused_at_once(bench: Bench) -> None:
    for settings in (PLAIN, OPS, DEBEZIUM):
        with pytest.raises(SqlError, match="cannot hold"):
            bench.decoder(schema(id="INTEGER", x="BIT"), settings)
    with pytest.raises(ConfigError, match="Debezium's records are JSON"):
        bench.decoder(USERS, replace(DEBEZIUM, format="csv"))


def test_rows_keep_the_ordinals_of_their_records(bench: Bench) -> None:
    decoder = bench.decoder(USERS, DEBEZIUM)
    given = [_change("u", {"id": 1}, {"id": 2}), _change("x"), _change("d", {"id": 2})]
    data = "".join(json.dumps(each) + "\n" for each in given).encode()
    fetch = bench.fetch(data)
    with pytest.raises(DataError):
        bench.engine.work.rows(decoder.scan(fetch))
    relation = decoder.diagnose(fetch).relation
    found = bench.engine.work.rows(exp.select(ROW, "id", DELETED, REPEATED).from_(relation))
    assert found == [(0, 1, True, True), (0, 2, False, False), (2, 2, True, False)]
    assert [record.offset for record in decoder.raw(fetch, [0, 2])] == [0, data.rindex(b'{"before"')]


def test_the_same_scan_comes_back(bench: Bench) -> None:
    decoder = bench.decoder(USERS, PLAIN)
    scans = [decoder.scan(bench.fetch(b'{"id": 1, "name": "a"}\n')) for _ in range(3)]
    assert scans[1] is scans[2]
