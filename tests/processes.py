"""The command as a process of its own, forked from a process that has imported everything.

A fork is killed, signalled and waited for as any process; it only starts faster. `REAL` starts a new interpreter.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread
from typing import IO, Any

from ferrisstreams.workers.fork_server import ForkedProcess, ForkServer, Request

#: The command of a real start, for tests of what only a real start shows (a terminal, limits, another user's rights).
REAL = [sys.executable, "-m", "ferrisstreams"]

ENTRY = "ferrisstreams.cli.main:main"
#: What is imported before the forks: all that is ours, and what its libraries import when they are first called.
WARM = ("ferrisstreams", "pydantic.type_adapter", "typer._adapters", "rich._emoji_codes")


@cache
def _server() -> ForkServer:
    server = ForkServer(ENTRY, WARM)
    atexit.register(server.close)
    return server


class FerrisProcess:
    """A forked `ferris`. Its streams are text, as of `subprocess.Popen(text=True)`."""

    def __init__(self, process: ForkedProcess, stdin: IO[str], stdout: IO[str], stderr: IO[str]) -> None:
        self._process = process
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.pid = process.pid
        self.kill = process.kill
        self.terminate = process.terminate
        self.send_signal = process.send_signal
        self.poll = process.poll
        self.wait = process.wait

        self._found: dict[str, str] = {}
        self._readers: list[Thread] = []

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write `text` to its standard input, and read its output to the end. Can be called again after a time-out."""
        if not self._readers:
            streams = {"out": self.stdout, "err": self.stderr}
            self._readers = [Thread(target=self._read, args=item, daemon=True) for item in streams.items()]
            for reader in self._readers:
                reader.start()
        with suppress(BrokenPipeError, ValueError):  # a process that reads nothing, or whose input is closed already
            self.stdin.write(text)
            self.stdin.close()
        self.wait(timeout)
        for reader in self._readers:
            reader.join()
        return self._found["out"], self._found["err"]

    def _read(self, name: str, stream: IO[str]) -> None:
        self._found[name] = "" if stream.closed else stream.read()
        stream.close()

    def __enter__(self) -> FerrisProcess:
        return self

    def __exit__(self, *raised: object) -> None:
        self.kill()
        self.communicate()


def start(*arguments: str | Path, folder: Path | None = None, **environment: str) -> FerrisProcess:
    """`ferris` with these arguments in `folder`; `environment` is added to that of the tests."""
    stdin, input_end = os.pipe()
    output_end, stdout = os.pipe()
    error_end, stderr = os.pipe()
    request = Request(["ferris", *map(str, arguments)], str(folder or Path.cwd()), {**os.environ, **environment})
    try:
        process = _server().fork(request, (stdin, stdout, stderr))
    finally:
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
    return FerrisProcess(process, _text(input_end, "w"), _text(output_end, "r"), _text(error_end, "r"))


def _text(descriptor: int, mode: str) -> Any:
    return open(descriptor, mode, encoding="utf-8")


def run(*arguments: str | Path, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same to its end."""
    process = start(*arguments, folder=folder, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)
