"""What a job answers at its door: its last decided epoch, and how its run is doing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.duck.engine import Connection
from ferrisstreams.runtime.door_messages import (
    Answer,
    ReadState,
    ReadStatus,
    Refusal,
    Request,
    StateAnswer,
    StatusAnswer,
)
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.identity import STATE_FILE
from ferrisstreams.runtime.reports import JobReports
from ferrisstreams.runtime.state_reading import read_beside


def file_number(folder: Path) -> str:
    """Which file the state in a folder is, to the system: a copy of the folder has another one. Raises OSError."""
    status = os.stat(folder / STATE_FILE)
    return f"{status.st_dev}:{status.st_ino}"


@dataclass(frozen=True, slots=True)
class Answers:
    """Called in the thread of the door. `decided` gives the last decided epoch, `file` is the state's."""

    file: str
    reader: Connection
    decided: Callable[[], EpochRow | None]
    reports: JobReports

    def answer(self, request: Request | Answer) -> Answer:
        match request:
            case ReadState(count):
                return self._state(count)
            case ReadStatus():
                return self._status()
        return Refusal("not a question")

    def _state(self, count: bool) -> StateAnswer:
        found = read_beside(self.reader, self.decided, count)
        if found is None:
            return StateAnswer(self.file)
        last = found.last
        return StateAnswer(
            file=self.file,
            state_id=found.state_id,
            identity=found.kept.identity,
            epoch=last.row.epoch if last is not None else 0,
            content=last.row.to_json() if last is not None else None,
            rows=list(last.rows) if last is not None else [],
        )

    def _status(self) -> StatusAnswer:
        last, now = self.decided(), self.reports.now()
        epoch, content = (last.epoch, last.to_json()) if last is not None else (0, None)
        if now is None:
            return StatusAnswer(self.file, os.getpid(), epoch, content)
        waits = now.waits_for
        return StatusAnswer(
            file=self.file,
            pid=os.getpid(),
            epoch=epoch,
            content=content,
            rows=now.rows,
            seconds=now.seconds,
            rate=self.reports.rate(),
            lag=dict(now.source.lag),
            watermark_us=now.watermark_us,
            behind_seconds=now.behind_seconds,
            commit_seconds=now.commit_seconds,
            waits_for=waits.partition if waits is not None else None,
            silent_seconds=waits.silent_ms / 1000 if waits is not None else None,
            breakers=dict(now.breakers),
        )
