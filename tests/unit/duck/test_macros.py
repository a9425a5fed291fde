from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlglot import exp

from ferrisstreams.duck.engine import Connection, Engine, EngineSettings, render

_DEFINED = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_name LIKE 'ferris%' ORDER BY 1"


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(EngineSettings())
    yield made
    made.close()


def _is_whole(text: str) -> exp.Select:
    return exp.select(exp.Anonymous(this="ferris_is_whole", expressions=[exp.Literal.string(text)]))


def _defined(connection: Connection) -> list[object]:
    return [name for (name,) in connection.rows(_DEFINED)]


def test_a_macro_is_defined_when_a_statement_first_names_it(engine: Engine) -> None:
    assert _defined(engine.work) == []
    assert engine.work.rows(_is_whole("15e-1")) == [(False,)]
    assert _defined(engine.work) == ["ferris_has_no_fraction", "ferris_is_whole"]
    assert _defined(engine.state) == []


def test_a_macro_of_a_prepared_statement_is_defined_too(engine: Engine) -> None:
    assert engine.work.rows(engine.work.prepare(render(_is_whole("1.0")))) == [(True,)]


def test_a_macro_that_a_rollback_took_away_is_defined_again(engine: Engine) -> None:
    for _ in range(2):
        engine.state.execute("BEGIN TRANSACTION")
        assert engine.state.rows(_is_whole("1e2")) == [(True,)]
        engine.state.rollback()
    assert engine.state.rows(_is_whole("1e2")) == [(True,)]


def test_a_macro_is_defined_within_a_transaction_that_writes_the_state(engine: Engine) -> None:
    engine.state.execute("BEGIN TRANSACTION")
    engine.state.execute("CREATE TABLE state.kept AS SELECT 1 AS a")
    assert engine.state.rows(_is_whole("1e2")) == [(True,)]
    engine.state.execute("COMMIT")
    assert engine.state.rows("SELECT a FROM state.kept") == [(1,)]
