from __future__ import annotations

from threading import Thread

import duckdb
import pytest

from ferrisstreams.duck.engine import BindError, DataError, Engine
from ferrisstreams.duck.scratch import keep_scratch, memory_engine, scratch_engine
from ferrisstreams.errors import InternalError
from ferrisstreams.memory_file import MemoryFile


def given() -> Engine:
    with scratch_engine() as engine:
        assert engine.work.rows("SELECT 1") == [(1,)]
        return engine


def in_a_thread() -> list[Engine]:
    found: list[Engine] = []
    thread = Thread(target=lambda: found.append(given()))
    thread.start()
    thread.join()
    return found


def test_engine_is_kept_for_all_that_is_asked_within() -> None:
    with keep_scratch():
        first = given()
        with keep_scratch():
            assert given() is first
        assert given() is first


def test_kept_engine_that_has_failed_is_opened_anew() -> None:
    with keep_scratch():
        first = given()
        first.close()
        assert given() is not first


def test_another_thread_has_an_engine_of_its_own() -> None:
    with keep_scratch():
        first = given()
        (other,) = in_a_thread()
        assert other is not first
        with pytest.raises(duckdb.ConnectionException):
            other.work._raw.execute("SELECT 1")


def test_engine_that_a_job_has_closed_is_empty_for_the_next_one() -> None:
    with keep_scratch():
        first = memory_engine(None, ())
        first.state.execute("CREATE TABLE state.results (x INTEGER)")
        first.work.execute("CREATE TABLE memory.main.delta (x INTEGER)")
        first.work.execute("CREATE TEMPORARY TABLE batch (x INTEGER)")
        first.work.execute("CREATE TEMPORARY MACRO twice(x) AS 2 * x")
        first.state.execute("BEGIN")
        first.state.execute("INSERT INTO state.results VALUES (1)")
        first.close()
        first.close()
        second, third = memory_engine(None, ()), memory_engine(None, ())
        assert second is first
        assert third is not second
        for made in ("FROM state.results", "FROM memory.main.delta", "FROM batch", "SELECT twice(1)"):
            with pytest.raises(BindError):
                second.work.execute(made)
        second.state.execute("CREATE TABLE state.results (x INTEGER)")


def test_engine_that_is_kept_reads_files_in_memory_and_no_others() -> None:
    with keep_scratch():
        engine = memory_engine(None, ())
        file = MemoryFile()
        file.write(b"one")
        assert engine.work.rows(f"SELECT content FROM read_text('{file.path}')") == [("one",)]
        for path in (__file__, f"{MemoryFile.folder()}../environ"):
            with pytest.raises((BindError, DataError, InternalError), match="disabled by configuration"):
                engine.work.rows(f"SELECT content FROM read_text('{path}')")
        engine.close()


def test_both_connections_compute_alike() -> None:
    wanted = {("TimeZone", "UTC"), ("error_on_division_by_zero", "false"), ("ieee_floating_point_ops", "false")}
    with scratch_engine() as engine:
        for connection in (engine.work, engine.state):
            assert wanted <= set(connection.rows("SELECT name, value FROM duckdb_settings()"))
