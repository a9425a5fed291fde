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
            reader.scan(bench.fetch(batch))
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


@pytest.mark.parametrize("after", [1, 3, 7])
def test_key_that_comes_late_is_told_too(bench: Bench, after: int) -> None:
    heartbeats = [b'{"beat":1}\n'] * after
    assert refusal(bench, unquoted("ID"), *heartbeats, b'{"id":1}\n') is not None


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


def test_key_of_another_column_is_not_taken_for_a_lookalike(bench: Bench) -> None:
    assert refusal(bench, Schema((Column("ID", "BIGINT", folds=True), Column("id", "BIGINT"))), b'{"id":1}\n') is None
