"""The folder of a job's state: made, opened, and given back when the job was refused before it kept anything."""

from __future__ import annotations

from pathlib import Path

from ferrisstreams.clock import SystemClock
from ferrisstreams.connectors.set_aside import SetAside
from ferrisstreams.duck.engine import STATE_SCHEMA, Engine, EngineSettings
from ferrisstreams.errors import FerrisError, StateError
from ferrisstreams.runtime.door import READ_MS
from ferrisstreams.runtime.door_name import is_answered
from ferrisstreams.runtime.identity import STATE_FILE

#: How long a start waits for those who read a state that no job holds, and the nap between two attempts.
_READERS_MS, _NAP_MS = 1_000, 20


class StateFolder:
    """Remembers what of it was not there before."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._file = folder / STATE_FILE
        self._files = (self._file, self._file.with_name(self._file.name + ".wal"))
        self._aside = SetAside(str(self._file))
        self._made: list[Path] = []
        self._replaces = False
        self.is_new = False

    def open(self, memory_limit_bytes: int | None, allowed_paths: tuple[str, ...], overwrite: bool) -> Engine:
        """The engine with its state here; `overwrite` begins with an empty one, and sets aside what there is. Raises
        StateError."""
        self._make()
        self.is_new = not self._file.exists()
        spill = str(self.path / "spill")
        settings = EngineSettings(str(self._file), 1, memory_limit_bytes, spill, allowed_paths, reader_ms=READ_MS)
        try:
            engine = self._opened(settings)
            if overwrite:
                # Opened first: a state in use by another process is not moved away under it.
                engine.close()
                if self.is_new:
                    self._delete_file()
                for file in self._files:
                    self._aside.take(str(file))
                self.is_new = self._replaces = True
                engine = Engine(settings)
        except FerrisError as error:
            if self.is_new and error.code != "E5001":
                self._take_back()
            raise
        return engine

    def _opened(self, settings: EngineSettings) -> Engine:
        """Whoever only reads the state of a job that does not run is waited for."""
        clock = SystemClock()
        for _ in range(int(_READERS_MS / _NAP_MS)):
            try:
                return Engine(settings)
            except StateError as error:
                if error.code != "E5001" or is_answered(self.path):
                    raise
            clock.sleep_ms(_NAP_MS)
        return Engine(settings)

    def give_back(self, engine: Engine) -> None:
        """Delete what `open` has made, when `is_new`: nothing of the state is wanted. Closes the engine."""
        if not self.is_new:
            engine.close()
            return
        try:
            # While it is open no other process has it. Without a log of its own it takes none away when it is closed.
            engine.state.execute(f"CHECKPOINT {STATE_SCHEMA}")
            self._delete_file()
            engine.close()  # takes the folder of what was spilled with it
        except FerrisError:  # no memory for a checkpoint
            engine.close()
        self._take_back()

    def replaced(self) -> tuple[SetAside, ...]:
        """Where the state lies that this one replaces."""
        return (self._aside,)

    def _take_back(self) -> None:
        self._delete_file()
        if self._replaces:
            self._aside.put_back()
        self._remove_folders()

    def _remove_folders(self) -> None:
        for folder in reversed(self._made):
            try:
                folder.rmdir()
            except OSError:
                return  # Someone else keeps something there by now.

    def _make(self) -> None:
        self._made = [each for each in (*reversed(self.path.parents), self.path) if not each.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"the state folder {self.path} cannot be created: {error.strerror}",
                "E5005",
                "give --state-dir a folder",
            ) from error

    def _delete_file(self) -> None:
        for file in self._files:
            file.unlink(missing_ok=True)
