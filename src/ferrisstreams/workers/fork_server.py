"""A fork server: one warm process that has imported everything and forks for each piece of work.

    caller --(arguments, folder, environment, three streams)--> fork server --fork--> process running the entry point
    caller <------------------(process id, then how it ended)-- fork server

Importing the engine costs most of a short run; a fork pays for none of it, and shares the modules' memory with its
siblings. The server itself opens no connection, client or thread, so that a fork starts as clean as a new process. A
forked process is an ordinary one in all that it does: it can be killed, it owns its streams, and it leaves nothing
undone (`leaving.py`).

A server is a new interpreter, or itself a fork of a process that has the modules already and has opened nothing yet.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from threading import Lock
from typing import NoReturn

from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.workers.leaving import exit_code, leave

#: A request begins with the length of its text, in this many bytes.
_LENGTH_BYTES = 4

#: Standard input, output and error of the process, those of its arguments, and the socket on which its caller hears.
_DESCRIPTORS_MAX = 16

_STREAMS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Request:
    """What a forked process is to be: its arguments (with the program's name), its folder and its environment.

    A number among the arguments is a descriptor of the caller, which the process has under a number of its own.
    """

    arguments: Sequence[str | int]
    folder: str
    environment: Mapping[str, str]


class ForkedProcess:
    """A process that a fork server has forked. `returncode` is as in `subprocess`: negative for a signal. One thread
    may wait for it while another, or a signal handler, sends it a signal."""

    def __init__(self, status: socket.socket) -> None:
        self._waiting = Lock()
        self._status = status
        self._lines = status.makefile("rb")
        self.returncode: int | None = None
        self.pid = self._next_number()

    def poll(self) -> int | None:
        """How it ended; None while it runs. Does not wait."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        expired = subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        if not self._waiting.acquire(timeout=-1 if timeout is None else timeout):
            raise expired
        try:
            if self.returncode is None:
                if not self._lines.closed and not _readable(self._status, timeout):
                    raise expired
                self.returncode = self._next_number()
                self._close()
            return self.returncode
        finally:
            self._waiting.release()

    def send_signal(self, number: int) -> None:
        """Does nothing to a process that has ended. Reaches one whose server is gone, too, which says so to `wait`."""
        with suppress(FatalConnectorError):
            if self.poll() is not None:
                return
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _next_number(self) -> int:
        line = b"" if self._lines.closed else self._lines.readline()
        if not line:
            self._close()
            raise FatalConnectorError("the fork server ended before the process that it forked", "E6004")
        return int(line)

    def _close(self) -> None:
        self._lines.close()
        self._status.close()


def _readable(status: socket.socket, timeout: float | None) -> bool:
    with selectors.DefaultSelector() as waiting:
        waiting.register(status, selectors.EVENT_READ)
        return bool(waiting.select(timeout))


class ForkServer:
    """Starts the server process, and asks it to fork. `entry` is `module:function`, called without arguments in each
    fork. `modules`, and everything inside those that are packages, are imported beforehand. When the server is closed,
    its forks are asked to end (SIGTERM). Threads may share it."""

    def __init__(self, entry: str, modules: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair()
        self._asking = Lock()
        self._end = self._start(theirs, entry, modules)
        theirs.close()

    def _start(self, control: socket.socket, entry: str, modules: Sequence[str]) -> Callable[[], object]:
        """Start the process; what waits for its end."""
        command = [sys.executable, "-m", __name__, str(control.fileno()), entry, *modules]
        return subprocess.Popen(command, pass_fds=(control.fileno(),), start_new_session=True).wait

    def fork(self, request: Request, streams: tuple[int, int, int]) -> ForkedProcess:
        """A process that runs the entry point with `streams` as standard input, output and error.

        Raises FatalConnectorError when the server has ended.
        """
        ours, theirs = socket.socketpair()
        text = json.dumps(asdict(request)).encode()
        given = [part for part in request.arguments if isinstance(part, int)]
        try:
            with theirs, self._asking:
                length = len(text).to_bytes(_LENGTH_BYTES, "big")
                socket.send_fds(self._control, [length], [*streams, *given, theirs.fileno()])
                self._control.sendall(text)
        except OSError as error:
            ours.close()
            raise FatalConnectorError(f"the fork server does not answer: {error}", "E6004") from error
        return ForkedProcess(ours)

    def close(self) -> None:
        """Can be called again."""
        self._control.close()
        self._end()


class ForkedServer(ForkServer):
    """A server that is itself a fork of this process, which must have no connection, client or thread yet."""

    def __init__(self, entry: str) -> None:
        super().__init__(entry, ())

    def _start(self, control: socket.socket, entry: str, modules: Sequence[str]) -> Callable[[], object]:
        pid = os.fork()
        if pid == 0:
            self._control.close()
            os.setsid()
            _serve(control, entry)
        return cache(lambda: os.waitpid(pid, 0))


# --- the server process -----------------------------------------------------------------------------------------------


class _Server:
    """The loop of the server process."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._woken, self._wake = socket.socketpair()
        self._running: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> Request | None:
        """Forks until the caller is gone. Returns the request in a forked process, None in the server at its end."""
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake.fileno())
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._reap()
                    continue
                message, descriptors = _receive(self._control)
                if message is None:
                    self._end_forks()
                    return None
                if self._fork(descriptors):
                    return _with_own(message, descriptors[len(_STREAMS) :])

    def _fork(self, descriptors: list[int]) -> bool:
        """True in the new process, which keeps those that its arguments name."""
        status = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for inherited in (self._control, self._woken, self._wake, status, *self._running.values()):
                inherited.close()
            descriptors = descriptors[: len(_STREAMS)]
            for stream, descriptor in zip(_STREAMS, descriptors, strict=True):
                os.dup2(descriptor, stream)
        else:
            self._running[pid] = status
            _send(status, pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return pid == 0

    def _reap(self) -> None:
        """Tell the callers of the forks that have ended."""
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._running.pop(pid) as caller:
                _send(caller, os.waitstatus_to_exitcode(status))

    def _end_forks(self) -> None:
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _send(caller: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # a caller that no longer listens
        caller.sendall(b"%d\n" % number)


def _receive(control: socket.socket) -> tuple[Request | None, list[int]]:
    """The next request with its descriptors; None when the caller is gone."""
    begin, descriptors, _, _ = socket.recv_fds(control, _LENGTH_BYTES, _DESCRIPTORS_MAX)
    if not begin:
        return None, []
    text = b""
    length = int.from_bytes(begin, "big")
    while len(text) < length:
        # What is behind it is the next request, with its descriptors.
        piece = control.recv(length - len(text))
        if not piece:
            return None, []
        text += piece
    return Request(**json.loads(text)), descriptors


def _with_own(request: Request, descriptors: Sequence[int]) -> Request:
    """The request with the numbers that the descriptors have here."""
    own = iter(descriptors)
    arguments = [part if isinstance(part, str) else str(next(own)) for part in request.arguments]
    return Request(arguments, request.folder, request.environment)


def _import_all(modules: Sequence[str]) -> None:
    for name in modules:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            importlib.import_module(found.name)


def _become(request: Request) -> None:
    """Make the forked process look as if it had been started with this request."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [str(part) for part in request.arguments]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name, descriptor, mode in zip(("stdin", "stdout", "stderr"), _STREAMS, "rww", strict=True):
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream = open(descriptor, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    # What runs is the entry point and not this module: libraries ask it for the program's name.
    sys.modules["__main__"] = types.ModuleType("__main__")


def _entry_point(entry: str) -> Callable[[], object]:
    module, _, function = entry.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), function)
    return found


def main() -> None:
    """The server process: descriptor of the control socket, entry point, modules to import."""
    descriptor, entry, *modules = sys.argv[1:]
    gc.disable()
    _import_all(modules)
    _entry_point(entry)
    gc.collect()
    _serve(socket.socket(fileno=int(descriptor)), entry)


def _serve(control: socket.socket, entry: str) -> NoReturn:
    """Be the server until the caller is gone; in a fork, run the entry point."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    request = _Server(control).serve()
    if request is None:
        os._exit(0)  # The server has nothing to flush, and its frozen modules are not to be taken apart.
    gc.enable()
    _become(request)
    leave(exit_code(_entry_point(entry)))


if __name__ == "__main__":
    main()
