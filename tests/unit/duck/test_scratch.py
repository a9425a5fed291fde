from __future__ import annotations

from threading import Thread

import duckdb
import pytest

from ferrisstreams.duck.engine import Engine
from ferrisstreams.duck.scratch import keep_scratch, scratch_engine


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
