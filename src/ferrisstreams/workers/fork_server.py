"""A fork server: one warm process that has imported everything and forks for each piece of work.

    caller --(arguments, folder, environment, three streams)--> fork server --fork--> process running the entry point
    caller <------------------(process id, then how it ended)-- fork server

Importing the engine costs most of a short run; a fork pays for none of it, and shares the modules' memory with its
siblings. The server itself opens no connection, client or thread, so that a fork starts as clean as a new process. A
forked process is an ordinary one in all that it does: it can be killed, it owns its streams, and before it ends its
threads are waited for, its exit functions run and its output is flushed. Only its modules are not taken to pieces,
which would copy all the memory that it shares.
"""

from __future__ import annotations

import atexit
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
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import NoReturn

from ferrisstreams.errors import FatalConnectorError

#: A request begins with the length of its text, in this many bytes.
_LENGTH_BYTES = 4

#: Standard input, output and error of the process, and the socket on which its caller hears of it.
_DESCRIPTORS = 4

_STREAMS = (0, 1, 2)

#: The interpreter's exit code when its output could not be written.
_NOT_FLUSHED = 120


@dataclass(frozen=True, slots=True)
class Request:
    """What a forked process is to be: its arguments (with the program's name), its folder and its environment."""

    arguments: Sequence[str]
    folder: str
    environment: Mapping[str, str]


class ForkedProcess:
    """A process that a fork server has forked. `returncode` is as in `subprocess`: negative for a signal."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._lines = status.makefile("rb")
        self.returncode: int | None = None
        self.pid = self._next_number()

    def poll(self) -> int | None:
        """How it ended; None while it runs. Does not wait."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None:
            if not self._lines.closed and not _readable(self._status, timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = self._next_number()
            self._close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Does nothing to a process that has ended."""
        if self.poll() is None:
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
    its forks are asked to end (SIGTERM)."""

    def __init__(self, entry: str, modules: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), entry, *modules]
        self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), start_new_session=True)
        theirs.close()

    def fork(self, request: Request, streams: tuple[int, int, int]) -> ForkedProcess:
        """A process that runs the entry point with `streams` as standard input, output and error.

        Raises FatalConnectorError when the server has ended.
        """
        ours, theirs = socket.socketpair()
        text = json.dumps(asdict(request)).encode()
        try:
            with theirs:
                length = len(text).to_bytes(_LENGTH_BYTES, "big")
                socket.send_fds(self._control, [length], [*streams, theirs.fileno()])
                self._control.sendall(text)
        except OSError as error:
            ours.close()
            raise FatalConnectorError(f"the fork server does not answer: {error}", "E6004") from error
        return ForkedProcess(ours)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


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
                    return message

    def _fork(self, descriptors: list[int]) -> bool:
        """True in the new process."""
        status = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for inherited in (self._control, self._woken, self._wake, status, *self._running.values()):
                inherited.close()
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
    begin, descriptors, _, _ = socket.recv_fds(control, _LENGTH_BYTES, _DESCRIPTORS)
    if not begin:
        return None, []
    text = b""
    while len(text) < int.from_bytes(begin, "big"):
        text += control.recv(1 << 16)
    return Request(**json.loads(text)), descriptors


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
    sys.argv = list(request.arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    _import_all(modules)
    run = _entry_point(entry)
    gc.collect()
    gc.freeze()
    request = _Server(socket.socket(fileno=int(descriptor))).serve()
    if request is None:
        os._exit(0)  # The server has nothing to flush, and its frozen modules are not to be taken apart.
    gc.enable()
    _become(request)
    _leave(_exit_code(run))


def _exit_code(run: Callable[[], object]) -> int:
    """Run the entry point; what the interpreter would exit with."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    """End the process as the interpreter does, except for its modules."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = _NOT_FLUSHED
    os._exit(code)


if __name__ == "__main__":
    main()
