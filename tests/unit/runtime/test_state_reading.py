"""What is read of a state is that of its last final epoch, whatever is prepared behind it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ferrisstreams.duck.engine import CutError, DataError, Engine, EngineSettings
from ferrisstreams.errors import InternalError
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.identity import STATE_FILE
from ferrisstreams.runtime.state_reading import read_beside, read_file
from ferrisstreams.runtime.state_store import StateStore


def opened(folder: Path, reader_ms: int = 10_000) -> Engine:
    return Engine(EngineSettings(str(folder / STATE_FILE), reader_ms=reader_ms))


def commit(engine: Engine, store: StateStore, epoch: int, confirmed: bool) -> EpochRow:
    """Two ticks an epoch, a row in each of two operators' panes."""
    store.begin()
    for tick in (2 * epoch - 1, 2 * epoch):
        for pane in ("pane_0_1_0_9", "pane_0_2_9_18", "pane_1_1_0_9"):
            engine.state.execute(f"CREATE TABLE IF NOT EXISTS state.{pane} (_t BIGINT)")
            engine.state.execute(f"INSERT INTO state.{pane} VALUES ({tick})")
    row = EpochRow(epoch=epoch, at_us=epoch, pipeline={"tick": 2 * epoch, "decided_tick": 2 * epoch - 2})
    store.write(replace(row, confirmed=confirmed))
    store.commit(epoch)
    return row


def begun(engine: Engine) -> StateStore:
    store = StateStore(engine.state)
    assert store.kept() is None
    store.create("[]")
    return store


def test_epoch_that_is_prepared_is_not_read(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as engine:
        store = begun(engine)
        assert engine.reader is not None
        assert read_beside(engine.reader, lambda: None, True) is None
        decided = commit(engine, store, 1, confirmed=False)
        commit(engine, store, 2, confirmed=False)
        found = read_beside(engine.reader, lambda: decided, True)
        assert found is not None
        assert found.last is not None
        assert (found.last.row.epoch, found.last.rows, found.prepared) == (1, (4, 2), None)
    kept = read_file(tmp_path, True)
    assert kept is not None
    assert kept.last is not None
    assert kept.prepared is not None
    assert (kept.last.row.epoch, kept.last.rows) == (1, (4, 2))
    assert (kept.prepared.row.epoch, kept.prepared.rows) == (2, (8, 4))
    assert kept.state_id == store.state_id


def test_epoch_that_is_decided_while_it_is_read_is_not_read(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as engine:
        store = begun(engine)
        commit(engine, store, 1, confirmed=True)
        assert engine.reader is not None

        def decided() -> EpochRow:
            """The moment that is read is fixed: the job goes on, and compacts what it has."""
            row = commit(engine, store, 2, confirmed=True)
            engine.state.execute("DELETE FROM state.pane_0_1_0_9")
            return row

        found = read_beside(engine.reader, decided, True)
        assert found is not None
        assert found.last is not None
        assert (found.last.row.epoch, found.last.rows) == (1, (4, 2))


def test_read_is_cut_and_cannot_change_anything(tmp_path: Path) -> None:
    with closing(opened(tmp_path, reader_ms=50)) as engine:
        commit(engine, begun(engine), 1, confirmed=True)
        reader = engine.reader
        assert reader is not None
        with pytest.raises(CutError), reader.reading():
            reader.rows("SELECT count(*) FROM range(100000000) a, range(1000) b WHERE a.range % 7 = b.range % 3")
        with pytest.raises((InternalError, DataError), match="read-only"), reader.reading():
            reader.execute("INSERT INTO state.pane_0_1_0_9 VALUES (7)")
        assert reader.rows("SELECT count(*) FROM state.pane_0_1_0_9") == [(2,)]
        # The job's own statements have no such limit.
        assert engine.work.rows("SELECT count(*) FROM range(30000000) t(i) WHERE i % 7 = 3") == [(4285714,)]
