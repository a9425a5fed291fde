from __future__ import annotations

import pytest

from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.schema import Column, Schema
from tests.unit.formats.conftest import Bench

JSON = DecodeSettings("json")


def unquoted(*names: str) -> Schema:
    return Schema(tuple(Column(name, "BIGINT", folds=True) for name in names))


def refusal(bench: Bench, columns: Schema, *batches: bytes) -> FatalConnectorError | None:
    reader = bench.decoder(columns, JSON)
    for batch in batches:
        try:
            bench.decode(reader, bench.fetch(batch))
        except FatalConnectorError as error:
            return error
    return None


def test_key_in_other_capitals_that_would_be_null_is_told_at_once(bench: Bench) -> None:
    error = refusal(bench, unquoted("ID"), b'{"id":1}\n{}\n')
    assert error is not None
    assert error.code == "E4009"
    assert error.message == 'file: the column ID reads the key "ID"; no record has it, but there is "id"'
    assert 'declare the column as "id"' in (error.hint or "")


def test_key_in_other_capitals_that_only_some_records_have_is_told_with_their_number(bench: Bench) -> None:
    error = refusal(bench, unquoted("ID"), b'{"id":1}\n{"ID":1}\n{"id":2}\n')
    assert error is not None
    assert '2 records have only "id"' in error.message


@pytest.mark.parametrize("after", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("before", [b'{"ID":1}\n', b'{"beat":1}\n', b'{"ID":null}\n', b'{"ID":"odd"}\n{"ID":null}\n'])
def test_key_that_changes_its_capitals_is_told_in_that_batch(bench: Bench, before: bytes, after: int) -> None:
    columns = Schema((Column("ID", "BIGINT", folds=True), Column("other", "BIGINT", folds=True)))
    error = refusal(bench, columns, *[before] * after, b'{"ID":1,"other":2}\n' + b'{"id":1,"other":2}\n')
    assert error is not None
    assert '1 record has only "id"' in error.message


@pytest.mark.parametrize("records", [100, 5_000])
def test_one_record_in_other_capitals_is_told_where_the_column_was_never_null(bench: Bench, records: int) -> None:
    batch = b'{"ID":1}\n' * records
    assert refusal(bench, unquoted("ID"), *[batch] * 2, batch + b'{"id":1}\n' + batch) is not None


@pytest.mark.parametrize("records", [10, 1_000])
@pytest.mark.parametrize(("name", "key"), [("ID", "Id"), ("Ä", "ä")])
def test_one_record_in_other_capitals_is_told_in_a_small_batch_where_a_column_may_be_null(
    name: str, key: str, records: int, bench: Bench
) -> None:
    batch = f'{{"{name}":null}}\n{{"{name}":1}}\n'.encode() * records
    error = refusal(bench, unquoted(name), *[batch] * 2, batch + f'{{"{key}":1}}\n'.encode() + batch)
    assert error is not None
    assert f'1 record has only "{key}"' in error.message


@pytest.mark.parametrize("records", [1, 100, 5_000])
def test_records_that_change_their_capitals_are_told_where_a_column_may_be_null(bench: Bench, records: int) -> None:
    batch = b'{"ID":null}\n' * records
    assert refusal(bench, unquoted("ID"), *[batch] * 2, batch + b'{"id":1}\n' * records) is not None


def test_null_of_a_column_is_looked_at_once(bench: Bench) -> None:
    """Then the plain scan takes it."""
    reader = bench.decoder(unquoted("ID"), JSON)
    batch = b'{"ID":1}\n{"ID":null}\n{}\n'
    expected = [{"ID": 1}, {"ID": None}, {"ID": None}]
    assert bench.decode(reader, bench.fetch(batch)) == (expected, [])
    assert bench.engine.work.table(reader.scan(bench.fetch(batch))).num_rows == 3


@pytest.mark.parametrize(
    "batch",
    [
        b'{"id":1,"ID":2}\n',
        b'{"ID":2}\n{"beat":1}\n',
        b'{"beat":1}\n',
        b'["id"]\n"id"\n{"x":{"id":1}}\n{"id":',
        b'{"ID":null}\n',
    ],
)
def test_exact_key_and_records_without_any_are_read(bench: Bench, batch: bytes) -> None:
    assert refusal(bench, unquoted("ID"), batch) is None


def test_quoted_column_is_null_where_its_key_is_missing(bench: Bench) -> None:
    assert refusal(bench, Schema((Column("ID", "BIGINT"),)), b'{"id":1}\n') is None
