"""What is said of functions by name is what the engine lists."""

from __future__ import annotations

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.sql.functions import TAKES_LAMBDA


def test_the_functions_that_take_lambdas_are_those_of_the_engine() -> None:
    engine = Engine(EngineSettings())
    try:
        rows = engine.work.rows(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE list_contains(parameter_types, 'LAMBDA')"
        )
    finally:
        engine.close()
    assert {str(name) for (name,) in rows} == TAKES_LAMBDA
