"""The command as a user starts it: a process in a folder of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.processes import FerrisProcess

WAIT_SECONDS = 0.05
WAITS_MAX = 600


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def summary(self) -> Any:
        """The object on the last line of standard output."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def job(self) -> Any:
        """The only job of the summary."""
        (job,) = self.summary["jobs"]
        return job


@dataclass(frozen=True)
class Ferris:
    """Calls the command in `folder`. Nothing that the command writes may be a traceback."""

    folder: Path
    processes: list[FerrisProcess] = field(default_factory=list)

    def __call__(self, *arguments: str | Path, stdin: str = "", **environment: str) -> Ran:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(stdin, timeout=60)
        assert "Traceback" not in err, err
        return Ran(process.wait(), out, err)

    def start(self, *arguments: str | Path, **environment: str) -> FerrisProcess:
        process = processes.start(*arguments, folder=self.folder, **environment)
        self.processes.append(process)
        return process

    def wait_for(self, process: FerrisProcess, name: str, lines: int) -> None:
        """Until the file has so many lines; the process must go on meanwhile."""
        path = self.folder / name
        for _ in range(WAITS_MAX):
            if path.exists() and path.read_text("utf-8").count("\n") >= lines:
                return
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"ended with {process.wait(WAIT_SECONDS)}: {process.communicate()}")
        raise AssertionError(f"{name} does not get {lines} lines")

    def write(self, **files: str) -> None:
        """Files by name; a double underscore stands for the dot."""
        for name, text in files.items():
            (self.folder / name.replace("__", ".")).write_text(text, "utf-8")

    def lines(self, name: str) -> list[Any]:
        """The JSON lines of a file."""
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]


@pytest.fixture
def ferris(tmp_path: Path) -> Iterator[Ferris]:
    command = Ferris(tmp_path)
    yield command
    for process in command.processes:
        process.kill()
        process.communicate()
