"""A rotated output under random writes, commits, crashes and ends holds the decided rows, each once, in order."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisstreams.batch import JsonValue, Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.compression import COMPRESSIONS
from ferrisstreams.connectors.file_content import RestartPoint, StreamContent, StreamSettings
from ferrisstreams.connectors.framing import LineFraming
from ferrisstreams.connectors.output_names import PENDING, OutputNames
from ferrisstreams.connectors.rotating_sink import RotatingSink, RotatingSinkSettings, Rotation

STEPS = ("write", "write", "write", "commit", "crash", "crash prepared", "crash decided", "rollback", "end", "wait")


class World:
    """A sink, its last decided mark, and the rows up to there and behind it."""

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self.chance = chance
        self.clock = ManualClock()
        self.names = OutputNames(str(folder / "%H" / "part-{n:03}"))
        rotation = Rotation(chance.choice([None, 1, 2, 5]), chance.choice([None, 10, 37]), chance.choice([None, 50.0]))
        self.settings = RotatingSinkSettings(
            self.names,
            LineFraming(),
            rotation,
            header=chance.choice([b"", b"head\n"]),
            compression=chance.choice(COMPRESSIONS),
        )
        self.decided: list[bytes] = []
        self.behind: list[bytes] = []
        self.mark: JsonValue = None
        self.begin()
        self.decide()
        self.sink.confirm(self.mark)

    def die(self) -> None:
        """What the system does for a process that is killed: its locks are freed, and nothing else is done."""
        descriptor = self.sink._claim._fd
        assert descriptor is not None
        os.close(descriptor)
        self.begin()

    def begin(self) -> None:
        self.behind = []
        self.sink = RotatingSink(self.settings, self.clock)
        self.sink.open(self.mark)

    def decide(self) -> None:
        self.mark = self.sink.flush()
        self.decided += self.behind
        self.behind = []

    def step(self, name: str) -> None:
        match name:
            case "write":
                first = len(self.decided) + len(self.behind)
                rows = [b"%d\n" % row for row in range(first, first + self.chance.randrange(1, 7))]
                self.behind += rows
                self.sink.write(Payload(b"".join(rows), len(rows)))
            case "commit":
                self.decide()
                self.sink.confirm(self.mark)
            case "crash":
                self.die()
            case "crash prepared":
                self.sink.flush()
                self.die()
            case "crash decided":
                self.decide()
                self.die()
            case "rollback":
                self.sink.rollback(self.mark)
                self.behind = []
            case "end":
                self.sink.close()
                self.begin()
            case "wait":
                self.clock.advance_ms(self.chance.choice([10, 60]))

    def content(self) -> list[bytes]:
        """The rows of all files; every file is whole and has its name."""
        found: list[bytes] = []
        for path in self.names.existing():
            assert not path.endswith(PENDING)
            fd = os.open(path, os.O_RDONLY)
            file = StreamContent(path, fd, StreamSettings(self.settings.compression), RestartPoint())
            data = file.part(0, 1 << 20)
            file.check()
            file.close()
            assert data.startswith(self.settings.header)
            rows = data.removeprefix(self.settings.header).splitlines(keepends=True)
            assert rows
            assert len(rows) <= (self.settings.rotation.rows or len(rows))
            found += rows
        return found


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_decided_rows_are_there_once_in_order(seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(chance, Path(folder))
        for _ in range(chance.randrange(1, 25)):
            world.step(chance.choice(STEPS))
        world.sink.close()
        assert world.content() == world.decided
