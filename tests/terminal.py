"""A terminal of a given size, as text: what a program writes to it is drawn by an emulator."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyte

LINES = 24
SECONDS_MAX = 20


class Terminal:
    """`stream` is what a program takes for its terminal."""

    def __init__(self, columns: int) -> None:
        self._screen = pyte.Screen(columns, LINES)
        self._emulator = pyte.ByteStream(self._screen)
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        self._closed: set[int] = set()
        self.stream: IO[str] = os.fdopen(os.dup(self.theirs), "w", 1, "utf-8")

    def close(self) -> None:
        for end in (self.theirs, self._ours):
            if end not in self._closed:
                os.close(end)
        self.stream.close()

    def hang_up(self) -> None:
        """Close the window: the kernel sends SIGHUP, and nothing can be written to the terminal any more."""
        os.close(self._ours)
        self._closed.add(self._ours)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def picture(self) -> str:
        """What is on the screen by now, without the ends of lines and the empty lines below."""
        while select.select([self._ours], [], [], 0)[0]:
            self._emulator.feed(os.read(self._ours, 65536))
        lines = [line.rstrip() for line in self._screen.display]
        return "\n".join(lines).rstrip() + "\n"

    @property
    def cursor_is_hidden(self) -> bool:
        self.picture()
        return self._screen.cursor.hidden

    def wait_for(self, wanted: Callable[[str], bool]) -> str:
        """The first picture that is as wanted."""
        for _ in range(SECONDS_MAX * 10):
            if wanted(shown := self.picture()):
                return shown
            select.select([self._ours], [], [], 0.1)
        raise AssertionError(f"not seen after {SECONDS_MAX} s:\n{self.picture()}")

    def start(self, command: Sequence[str], folder: Path, **environment: str) -> subprocess.Popen[bytes]:
        """A program with this terminal as its own, so that Ctrl-C reaches it."""

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        return subprocess.Popen(
            command,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            cwd=folder,
            env=_environment() | environment,
            start_new_session=True,
            preexec_fn=take_terminal,
        )

    def run(self, command: Sequence[str], folder: Path, **environment: str) -> str:
        """A program to its end; the picture that it leaves."""
        with self.start(command, folder, **environment) as process:
            while process.poll() is None:
                self.picture()
                select.select([self._ours], [], [], 0.05)
        return self.picture()


def _environment() -> Mapping[str, str]:
    """That of the tests, with a terminal that has colours, and whose size is asked of itself."""
    left_out = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    return {name: value for name, value in os.environ.items() if name not in left_out} | {"TERM": "xterm-256color"}


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    made = Terminal(columns)
    try:
        yield made
    finally:
        made.close()
