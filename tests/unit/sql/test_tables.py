"""Tables as plans: their key, the hidden column, and the columns found in records of changes."""

import pytest

from ferrisstreams.duck.scratch import scratch_engine
from ferrisstreams.plan.nodes import DELETED, Facts, Latest, Scan, Sink, SinkSpec, SourceSpec
from ferrisstreams.plan.system_columns import system_columns, used_system_columns
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import bind_script
from ferrisstreams.sql.catalog import Catalog, Stream
from ferrisstreams.sql.statements import parse_statements
from ferrisstreams.sql.tables import table_of

_FILE = "connector = 'file', path = 'users.jsonl'"


def _source(text: str, name: str, found: Schema | None = None) -> SourceSpec:
    catalog = Catalog(None, lambda _: found)
    with scratch_engine() as engine:
        bind_script(parse_statements(text, "app.sql"), engine.work, catalog)
    entry = catalog.entries[name]
    assert isinstance(entry, Stream)
    return entry.source


def _scan(source: SourceSpec) -> Scan:
    return Scan(source, Schema((*source.schema.columns, *system_columns(source.schema, source.properties))))


def test_a_table_is_the_newest_row_of_each_key_of_a_scan() -> None:
    source = _source(f"CREATE TABLE users (ID INT, name VARCHAR, PRIMARY KEY (id)) WITH ({_FILE})", "users")
    table = table_of(_scan(source))
    assert isinstance(table, Latest)
    assert table.key == source.key == ("ID",)
    assert table.schema == Schema((Column("ID", "INTEGER", False, folds=True), Column("name", "VARCHAR", folds=True)))
    assert table.input.schema.columns[-1] == Column(DELETED, "BOOLEAN", False, hidden=True)
    assert table.facts == Facts(changes=True, key=("ID",))


def test_a_stream_is_its_scan() -> None:
    scan = _scan(_source(f"CREATE STREAM users (id INT) WITH ({_FILE})", "users"))
    assert table_of(scan) is scan


def test_what_is_deleted_is_no_system_column() -> None:
    table = table_of(_scan(_source("CREATE TABLE users (id INT PRIMARY KEY) WITH (connector = 'kafka')", "users")))
    assert isinstance(table, Latest)
    assert isinstance(table.input, Scan)
    assert used_system_columns(Sink(table, SinkSpec("out", {}), None), table.input) == ()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", (("id", "BIGINT"), ("name", "VARCHAR"))),
        (", changelog = 'retract'", (("op", "VARCHAR"), ("id", "BIGINT"), ("name", "VARCHAR"))),
        (
            ", format = 'debezium_json'",
            (("before", "VARCHAR"), ("after", 'STRUCT(id BIGINT, "name" VARCHAR)'), ("op", "VARCHAR")),
        ),
        (
            ", changelog = 'debezium'",
            (("schema", "VARCHAR"), ("payload", 'STRUCT("before" STRUCT(id BIGINT, "name" VARCHAR), op VARCHAR)')),
        ),
    ],
)
def test_columns_are_found_in_records_of_changes(given: str, found: tuple[tuple[str, str], ...]) -> None:
    sample = Schema(tuple(Column(name, kind) for name, kind in found))
    source = _source(f"CREATE TABLE users (PRIMARY KEY (id)) WITH ({_FILE}{given})", "users", sample)
    assert source.schema == Schema((Column("id", "BIGINT", False), Column("name", "VARCHAR")))


def test_the_result_of_a_query_is_a_table() -> None:
    text = (
        "CREATE STREAM orders (who VARCHAR) WITH (connector = 'file', path = 'orders.jsonl');"
        " CREATE TABLE totals WITH (connector = 'file', path = 'totals.jsonl', changelog = 'retract') AS"
        " SELECT who AS name, count(*) AS n FROM orders GROUP BY who"
    )
    source = _source(text, "totals")
    assert source.key == ("name",)
    assert source.properties["changelog"].value == "retract"
