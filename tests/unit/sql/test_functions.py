"""What is said of functions by name is what the engine lists."""

from __future__ import annotations

import json

from ferrisstreams.duck.engine import ENGINE_VERSION, Engine, EngineSettings
from ferrisstreams.duck.scratch import scratch_engine
from ferrisstreams.sql.functions import LIST, TAKES_LAMBDA, Kind, ask_functions, find_functions


def test_the_functions_that_take_lambdas_are_those_of_the_engine() -> None:
    engine = Engine(EngineSettings())
    try:
        rows = engine.work.rows(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE list_contains(parameter_types, 'LAMBDA')"
        )
    finally:
        engine.close()
    assert {str(name) for (name,) in rows} == TAKES_LAMBDA


def test_the_list_is_what_the_engine_says() -> None:
    engine = Engine(EngineSettings())
    try:
        said = {"version": ENGINE_VERSION, "functions": ask_functions(engine.work)}
    finally:
        engine.close()
    assert json.loads(LIST.read_text("utf-8")) == said, "run `make docs`"


def test_another_version_of_the_engine_is_asked() -> None:
    with scratch_engine() as engine:
        engine.work.execute("CREATE TEMPORARY MACRO of_another_version(a) AS a + 1")
        listed = find_functions(engine.work, ENGINE_VERSION)
        asked = find_functions(engine.work, "another")
        engine.work.execute("DROP MACRO of_another_version")
    assert (listed.kind("of_another_version"), asked.kind("of_another_version")) == (None, Kind.SCALAR)
    assert listed.volatile == asked.volatile
