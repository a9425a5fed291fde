from __future__ import annotations

import json

import pytest

from ferrisstreams.cli.messages import PROGRESS, pass_on, progress_message
from ferrisstreams.connectors.base import ClientFigures, SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.runtime.watermarks import Silence


class Heard:
    def __init__(self) -> None:
        self.progressed: list[ProgressEvent] = []
        self.events: list[tuple[str, dict[str, object]]] = []

    def progress(self, event: ProgressEvent) -> None:
        self.progressed.append(event)

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))


def line(name: str, **fields: object) -> str:
    return json.dumps({"time": "2024-01-01T00:00:00.000Z", "level": "info", "event": name} | fields) + "\n"


@pytest.mark.parametrize("total", [None, 10])
@pytest.mark.parametrize("watermark_us", [None, -5])
def test_progress_of_a_worker_reaches_the_observer_whole(total: int | None, watermark_us: int | None) -> None:
    client = ClientFigures(1, 2, None if total else 1.5, 2.5, 3, 4, {"committed": 5})
    source = SourceProgress(1, total, "bytes", {"t-0": 9}, client if total else None)
    behind = 0.5 if watermark_us else None
    sink, silence = (None, Silence("t-1", 70_000.5)) if total else (client, None)
    event = ProgressEvent("j", 3, source, watermark_us, 0.5, {"sink": "open"}, behind, 0.25, sink, silence)
    heard = Heard()
    assert pass_on(line(PROGRESS, **progress_message(event)), heard)
    assert heard.progressed == [event]


def test_event_of_a_worker_reaches_the_observer_with_its_fields() -> None:
    heard = Heard()
    assert pass_on(line("row_rejected", job="j", count=2), heard)
    assert heard.events == [("row_rejected", {"job": "j", "count": 2})]


@pytest.mark.parametrize("text", ["", "terminate called\n", '{"a": 1}\n'])
def test_line_that_is_no_message_is_left_alone(text: str) -> None:
    heard = Heard()
    assert not pass_on(text, heard)
    assert heard.events == []
