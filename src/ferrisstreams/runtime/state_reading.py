"""A job's state as of one epoch, read beside whoever writes it: from the worker's own connection, or from its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ferrisstreams.batch import integer
from ferrisstreams.duck.engine import Connection, Engine, EngineSettings
from ferrisstreams.duck.state_log import count_rows
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.identity import STATE_FILE
from ferrisstreams.runtime.state_store import KeptIdentity, Meta, has_tables, read_epochs, read_meta


@dataclass(frozen=True, slots=True)
class AtEpoch:
    """An epoch, and how many rows each operator's tables have at its end; none where they were not counted."""

    row: EpochRow
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StateReading:
    """A state as of its `last` final epoch, None where nothing is final yet. `prepared`: the epoch behind it, when it
    is not known whether that is final too; a job that runs knows."""

    state_id: str
    kept: KeptIdentity
    last: AtEpoch | None
    prepared: AtEpoch | None = None


def read_beside(reader: Connection, decided: Callable[[], EpochRow | None], count: bool) -> StateReading | None:
    """What the job has decided, on a connection of its own. `decided` is asked in any thread.

    It is asked after the moment that is read was fixed: no tick behind that epoch has been compacted by then.
    """
    with reader.reading():
        meta = read_meta(reader)
        last = decided()
        if meta is None or last is None:
            return None
        rows = read_epochs(reader, 1, through=last.epoch)
        found = [_counted(reader, meta, replace(row, confirmed=True), count) for row in rows]
        return StateReading(meta.state_id, meta.kept, found[0] if found else None)


def read_file(folder: Path, count: bool) -> StateReading | None:
    """What the file in the folder of a state has; None for one that has begun nothing yet. Raises StateError: another
    process holds it (E5001), it cannot be opened (E5005) or is of another format (E5004)."""
    engine = Engine(EngineSettings(str(folder / STATE_FILE), read_only=True))
    try:
        with engine.state.reading():
            meta = read_meta(engine.state) if has_tables(engine.state) else None
            if meta is None:
                return None
            rows = read_epochs(engine.state, 2)
            # The row behind an epoch says that it is final.
            found = [_counted(engine.state, meta, row, count) for row in rows]
    finally:
        engine.close()
    if not found or found[0].row.confirmed:
        return StateReading(meta.state_id, meta.kept, found[0] if found else None)
    return StateReading(meta.state_id, meta.kept, found[1] if len(found) > 1 else None, found[0])


def _counted(state: Connection, meta: Meta, row: EpochRow, count: bool) -> AtEpoch:
    if not count:
        return AtEpoch(row)
    tick = integer(row.pipeline.get("tick", 0))
    return AtEpoch(row, tuple(count_rows(state, tick, meta.had_one_operator)))
