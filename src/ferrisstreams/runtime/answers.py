"""What a job answers at its door: its last decided epoch, and how its run is doing. Imported when somebody asks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ferrisstreams.duck.engine import Connection, CutError
from ferrisstreams.runtime.door import READ_MS
from ferrisstreams.runtime.door_messages import (
    ANSWER_BYTES_MAX,
    Answer,
    ReadState,
    ReadStatus,
    Refusal,
    Request,
    StateAnswer,
    StatusAnswer,
    decode,
    encode,
)
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.reports import JobReports
from ferrisstreams.runtime.state_reading import read_beside


@dataclass(frozen=True, slots=True)
class Answers:
    """Called in the thread of the door. `decided` gives the last decided epoch, `file` is the state's."""

    file: str
    reader: Connection
    decided: Callable[[], EpochRow | None]
    reports: JobReports

    def reply(self, text: bytes) -> bytes:
        """The whole answer to the text of a request. Whatever it makes fail is its own answer."""
        try:
            answer = self._answer(decode(text))
        except CutError:
            answer = Refusal(f"the read took longer than {READ_MS / 1000:g} s")
        except Exception as error:
            answer = Refusal(f"{type(error).__name__}: {error}")
        made = encode(answer)
        if len(made) > ANSWER_BYTES_MAX:
            return encode(Refusal(f"the answer has {len(made):,} bytes, and may have {ANSWER_BYTES_MAX:,}"))
        return made

    def _answer(self, request: Request | Answer) -> Answer:
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
